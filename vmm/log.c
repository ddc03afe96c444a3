// SPDX-License-Identifier: Apache-2.0
#include "log.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "error.h"

static int log_fd = -1;
static atomic_uint guest_lines;

int error_set(struct error *e, enum error_code code, const char *fmt, ...)
{
	va_list ap;

	e->code = code;
	va_start(ap, fmt);
	vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	return -1;
}

int log_open(const char *path)
{
	if (!path)
		return 0;
	log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	return log_fd < 0 ? -1 : 0;
}

static void write_line(const char *fmt, va_list ap)
{
	char line[700];
	struct timespec now;
	int n;

	clock_gettime(CLOCK_MONOTONIC, &now);
	n = snprintf(line, sizeof(line), "%s[%lld.%06ld] ", log_fd < 0 ? "hg-vmm: " : "",
		     (long long)now.tv_sec, now.tv_nsec / 1000);
	n += vsnprintf(line + n, sizeof(line) - n - 2, fmt, ap);
	if (n > (int)sizeof(line) - 2)
		n = sizeof(line) - 2;
	/* On a terminal in raw mode a bare newline would leave the cursor in its column. */
	if (log_fd < 0)
		line[n++] = '\r';
	line[n++] = '\n';
	/* One write a line: lines of several threads do not mix.  A full disk is not our end. */
	if (write(log_fd < 0 ? STDERR_FILENO : log_fd, line, n) < 0)
		return;
}

void log_line(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	write_line(fmt, ap);
	va_end(ap);
}

void log_guest(const char *fmt, ...)
{
	unsigned int n = atomic_fetch_add(&guest_lines, 1);
	va_list ap;

	if (n >= LOG_GUEST_MAX) {
		if (n == LOG_GUEST_MAX)
			log_line("guest: further messages of this kind are not logged");
		atomic_store(&guest_lines, LOG_GUEST_MAX + 1);
		return;
	}
	va_start(ap, fmt);
	write_line(fmt, ap);
	va_end(ap);
}
