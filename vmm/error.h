/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a failure travels: a function that can fail takes a struct error, fills it
 * once where the cause is known, and returns -1.  Only main.c prints it and exits.
 */
#ifndef HG_ERROR_H
#define HG_ERROR_H

enum error_code {
	ERROR_MACHINE = 1, /* exit 1: the machine could not do it */
	ERROR_USER = 2,	   /* exit 2: the user asked for something wrong */
};

struct error {
	enum error_code code;
	char text[512]; /* one line, no newline, no program name */
};

/* Fills *e and returns -1, so that callers can `return error_set(...)`. */
int error_set(struct error *e, enum error_code code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
