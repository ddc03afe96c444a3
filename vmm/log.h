/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The VMM's own log: one line an event, seconds since the host's start first.  Lines that a
 * guest can provoke go through log_guest(), which is bounded, so that no guest can
 * fill the host's disk or RAM.
 */
#ifndef HG_LOG_H
#define HG_LOG_H

/* Opens `path` for appending; NULL leaves the log on stderr.  Returns 0, or -1 with errno. */
int log_open(const char *path);

/* Least to most; a line is written if its level is at most the one that is set. */
enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* error, warning, info (the default) or debug.  -1: none of these. */
int log_set_level(const char *name);
const char *log_level_name(void);

/* Each writes one line; they never fail visibly. */
void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_line(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* info */
void log_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * What a guest can cause: a warning, or of level debug.  Only the first LOG_GUEST_MAX calls of
 * the process that have something to write write anything.
 */
void log_guest(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_guest_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#define LOG_GUEST_MAX 200
unsigned int log_dropped(void); /* lines past that bound */

#endif
