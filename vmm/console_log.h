/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The console's log on disk, bounded: PATH, and PATH.1 with what came before.  Beside each, in
 * PATH.times, when its bytes were written: records of two little-endian 64-bit numbers, an offset
 * in the log and milliseconds since 1970, at most one a second.
 */
#ifndef HG_CONSOLE_LOG_H
#define HG_CONSOLE_LOG_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"

#define CONSOLE_LOG_MAX	  (1u << 20) /* bytes of a log */
#define CONSOLE_TIMES_MAX (1u << 18) /* bytes of its times; later ones are left out */

struct console_log {
	int fd, old_fd, times_fd, old_times_fd; /* fd -1: there is no log */
	uint64_t size, times_size;
	uint64_t stamped; /* ms since 1970 of the last record */
};

/* All files are opened here: none can be once the sandbox is on.  0, or -1 and *e. */
int console_log_open(struct console_log *log, const char *path, struct error *e);

/* Appends; a full disk loses lines, never the VM. */
void console_log_write(struct console_log *log, const void *data, size_t len);

#endif
