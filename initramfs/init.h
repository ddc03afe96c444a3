/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of PID 1 share: init.c (services), console.c (terminals), stop.c (the end),
 * util.c. */
#ifndef HYPERGEN_INIT_H
#define HYPERGEN_INIT_H

#include <stdbool.h>
#include <stddef.h>

/* Milliseconds of the monotonic clock. */
long long now_ms(void);

/* Sleep for `ms` milliseconds, whatever signals arrive. */
void sleep_ms(int ms);

/* Collect every child that has ended; true when there is no child at all. */
bool reap_all(void);

/* Write one line to the kernel's log, from where it reaches tty1 and dmesg. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Copy the first line of a small file into `text`, NUL-terminated; false when it cannot be read. */
bool read_line(const char *path, char *text, size_t size);

/* Write a string to an existing file (a sysctl, a sysfs attribute). */
bool write_file(const char *path, const char *text);

/*
 * Make `path` the controlling terminal and standard streams of this process, which must be a child
 * about to exec: new session, sane line settings (POSIX "cooked"; speed and frame are kept).
 * Returns 0, or -errno with the streams as they were.
 */
int take_terminal(const char *path);

/* Body of the process that copies the kernel's log to tty1. Never returns. */
void follow_kernel_log(void) __attribute__((noreturn));

/*
 * Open the kernel's log for follow_kernel_log(). `seen`: what has been logged so far was already
 * printed on tty1 by the kernel. `quiet`: copy warnings and worse only.
 */
void open_kernel_log(bool seen, bool quiet);

/* Write a text to every console that has a service, without waiting for any of them. */
void tell_consoles(const char *text);

/* Stop VMs and processes, flush and unmount, then reboot(2) with `command`. Never returns. */
void stop_machine(int command) __attribute__((noreturn));

#endif
