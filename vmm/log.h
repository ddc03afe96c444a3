/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The VMM's own log: one line an event, seconds since start first.  Lines that a
 * guest can provoke go through log_guest(), which is bounded, so that no guest can
 * fill the host's disk or RAM.
 */
#ifndef HG_LOG_H
#define HG_LOG_H

/* Opens `path` for appending; NULL leaves the log on stderr.  Returns 0, or -1 with errno. */
int log_open(const char *path);

/* Writes one line; never fails visibly. */
void log_line(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* As log_line(), but only the first LOG_GUEST_MAX calls of the process write anything. */
void log_guest(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#define LOG_GUEST_MAX 200

#endif
