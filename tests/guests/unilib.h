/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes every call of Unilib-FS, right and wrong.  Whoever includes this says before how a block is
 * handed over: unilib_out(struct unilib_call *).  A folder has to be mapped to /unilibfs.
 */
#ifndef GUEST_UNILIB_H
#define GUEST_UNILIB_H

#include <stddef.h>
#include <stdint.h>

#include "../../vmm/hermit/params.h"

#define UNILIB_AT(pointer) ((uint64_t)(uintptr_t)(pointer))

static int64_t unilib(unsigned int event, uint64_t x0, uint64_t x1, uint64_t x2)
{
	static struct unilib_call c;

	c = (struct unilib_call){.mode = 0x12 << 8 | event, .x = {x0, x1, x2}, .result = -1000};
	unilib_out(&c);
	return c.result;
}

static int64_t unilib_open(const char *path, uint64_t flags)
{
	uint64_t len = 0;

	while (path[len])
		len++;
	return unilib(1, UNILIB_AT(path), len, flags);
}

#define UNILIB_CHECK(expression)                                                                   \
	do {                                                                                       \
		if (!(expression))                                                                 \
			return #expression;                                                        \
	} while (0)

/* What was not as it should be; NULL: all was. */
static const char *unilib_try(void)
{
	static char buffer[16];
	static struct file_attr attr;
	int64_t fd;

	UNILIB_CHECK(unilib_open("f", 0) == -19); /* ENODEV: before init */
	UNILIB_CHECK(unilib(0, 0, 0, 0) == 0);
	UNILIB_CHECK(unilib_open("f", 0) == -2);
	fd = unilib_open("f", 0102); /* O_CREAT | O_RDWR */
	UNILIB_CHECK(fd >= 3);
	UNILIB_CHECK(unilib(4, (uint64_t)fd, UNILIB_AT("hello"), 5) == 5);
	UNILIB_CHECK(unilib(5, (uint64_t)fd, 1, 0) == 1);
	UNILIB_CHECK(unilib(5, (uint64_t)fd, (uint64_t)-9, 0) == -22);
	UNILIB_CHECK(unilib(3, (uint64_t)fd, UNILIB_AT(buffer), sizeof(buffer)) == 4);
	UNILIB_CHECK(buffer[0] == 'e' && buffer[3] == 'o');
	UNILIB_CHECK(unilib(3, (uint64_t)fd, UNILIB_AT(buffer), sizeof(buffer)) == 0);
	UNILIB_CHECK(unilib(6, UNILIB_AT("/unilibfs/f"), 11, UNILIB_AT(&attr)) == 0);
	UNILIB_CHECK(attr.size == 5);
	UNILIB_CHECK(unilib(2, (uint64_t)fd, 0, 0) == 0 && unilib(2, (uint64_t)fd, 0, 0) == -9);
	UNILIB_CHECK(unilib(7, UNILIB_AT("f"), 1, 0) == 0 && unilib(7, UNILIB_AT("f"), 1, 0) == -2);
	UNILIB_CHECK(unilib(6, UNILIB_AT("f"), 1, UNILIB_AT(&attr)) == -2);
	UNILIB_CHECK(unilib_open("../secret", 0) == -13 && unilib_open("/etc/passwd", 0) == -2);
	UNILIB_CHECK(unilib(1, UNILIB_AT("f"), 5000, 0) == -36 && unilib(1, 0, 0, 0) == -2);
	UNILIB_CHECK(unilib(1, ~0ull - 8, 4, 0) == -14);
	UNILIB_CHECK(unilib(1, UNILIB_AT("f\0g"), 3, 0) == -22);
	UNILIB_CHECK(unilib(3, 0, UNILIB_AT(buffer), 1) == -9);
	UNILIB_CHECK(unilib(4, (uint64_t)-1, UNILIB_AT(buffer), 1) == -9);
	UNILIB_CHECK(unilib(3, 3, ~0ull - 8, 100) == -14);
	UNILIB_CHECK(unilib(8, 0, 0, 0) == -38); /* ENOSYS */
	return NULL;
}

#endif
