// SPDX-License-Identifier: Apache-2.0
#include "log.h"

#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "error.h"

static int log_fd = -1;
static atomic_uint guest_lines;
static const char *const level_names[] = {"error", "warning", "info", "debug"};
static atomic_uint level = LOG_LEVEL_INFO;

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

static bool wanted(enum log_level of)
{
	return of <= atomic_load(&level);
}

int log_set_level(const char *name)
{
	unsigned int i;

	for (i = 0; i < sizeof(level_names) / sizeof(level_names[0]); i++) {
		if (!strcmp(name, level_names[i])) {
			atomic_store(&level, i);
			return 0;
		}
	}
	return -1;
}

const char *log_level_name(void)
{
	return level_names[atomic_load(&level)];
}

#define WRITE_LINE(of)                                                                             \
	do {                                                                                       \
		va_list ap;                                                                        \
                                                                                                   \
		if (!wanted(of))                                                                   \
			return;                                                                    \
		va_start(ap, fmt);                                                                 \
		write_line(fmt, ap);                                                               \
		va_end(ap);                                                                        \
	} while (0)

void log_error(const char *fmt, ...)
{
	WRITE_LINE(LOG_LEVEL_ERROR);
}

void log_line(const char *fmt, ...)
{
	WRITE_LINE(LOG_LEVEL_INFO);
}

void log_debug(const char *fmt, ...)
{
	WRITE_LINE(LOG_LEVEL_DEBUG);
}

/* Whether a guest may have one more line; it is told once that there are no more. */
static bool guest_may(void)
{
	unsigned int n = atomic_fetch_add(&guest_lines, 1);
	static const char last[] = "guest: further messages of this kind are not logged";

	if (n == LOG_GUEST_MAX)
		log_line("%s", last);
	if (n >= UINT_MAX / 2) /* never back to the start */
		atomic_fetch_sub(&guest_lines, 1);
	return n < LOG_GUEST_MAX;
}

unsigned int log_dropped(void)
{
	unsigned int n = atomic_load(&guest_lines);

	return n > LOG_GUEST_MAX ? n - LOG_GUEST_MAX : 0;
}

void log_guest(const char *fmt, ...)
{
	if (wanted(LOG_LEVEL_WARNING) && guest_may())
		WRITE_LINE(LOG_LEVEL_WARNING);
}

void log_guest_debug(const char *fmt, ...)
{
	if (wanted(LOG_LEVEL_DEBUG) && guest_may())
		WRITE_LINE(LOG_LEVEL_DEBUG);
}
