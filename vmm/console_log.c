// SPDX-License-Identifier: Apache-2.0
#include "console_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define STAMP_MS 1000

/* Appending, so that whoever empties a file finds no hole before what comes next. */
static int open_one(const char *path, const char *tail)
{
	char name[4200];

	snprintf(name, sizeof(name), "%s%s", path, tail);
	return open(name, O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
}

int console_log_open(struct console_log *log, const char *path, struct error *e)
{
	log->fd = open_one(path, "");
	log->old_fd = open_one(path, ".1");
	log->times_fd = open_one(path, ".times");
	log->old_times_fd = open_one(path, ".1.times");
	if (log->fd < 0 || log->old_fd < 0 || log->times_fd < 0 || log->old_times_fd < 0)
		return error_set(e, ERROR_MACHINE, "%s: %s", path, strerror(errno));
	return 0;
}

/* What `from` holds becomes what `to` holds, and `from` is empty. */
static int move(int from, int to)
{
	uint8_t buf[8192];
	off_t at = 0;
	ssize_t n;

	if (ftruncate(to, 0))
		return -1;
	while ((n = pread(from, buf, sizeof(buf), at)) > 0) {
		if (write(to, buf, n) != n)
			break;
		at += n;
	}
	return ftruncate(from, 0);
}

/* The log becomes the one before it, by copying: no file gets another name in the sandbox. */
static void rotate(struct console_log *log)
{
	if (move(log->fd, log->old_fd) || move(log->times_fd, log->old_times_fd))
		return;
	log->size = log->times_size = log->stamped = 0;
}

static void stamp(struct console_log *log)
{
	uint64_t record[2] = {log->size};
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	record[1] = (uint64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
	if (record[1] - log->stamped < STAMP_MS || log->times_size >= CONSOLE_TIMES_MAX)
		return;
	if (write(log->times_fd, record, sizeof(record)) != sizeof(record))
		return;
	log->times_size += sizeof(record);
	log->stamped = record[1];
}

void console_log_write(struct console_log *log, const void *data, size_t len)
{
	const uint8_t *from = data;
	ssize_t n;

	if (log->fd < 0)
		return;
	if (log->size + len > CONSOLE_LOG_MAX)
		rotate(log);
	stamp(log);
	while (len) {
		n = write(log->fd, from, len);
		if (n <= 0)
			return;
		log->size += n;
		from += n;
		len -= n;
	}
}
