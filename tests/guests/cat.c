// SPDX-License-Identifier: Apache-2.0
/*
 * cat [FILE]...: files, or `-` for the standard input, to the standard output; of a folder (from
 * interface 2 on) the names in it.  What cannot be opened is named with its -errno; 1 then.
 */
#include "hermit.h"

#define O_DIRECTORY 0200000
#define NAME_AT	    19 /* in struct linux_dirent64 */

static char buffer[4096];

static void say_number(int64_t n)
{
	char text[21], *at = text + sizeof(text);
	uint64_t left = (uint64_t)(n < 0 ? -n : n);

	*--at = '\0';
	do {
		*--at = (char)('0' + left % 10);
	} while (left /= 10);
	if (n < 0)
		*--at = '-';
	say(at);
}

static void copy(int fd)
{
	int64_t n;

	while ((n = guest_read(fd, buffer, sizeof(buffer))) > 0)
		guest_write(1, buffer, (uint64_t)n);
	if (n < 0) {
		say("read: ");
		say_number(n);
		say("\n");
	}
}

#if ABI == 2
static int list(const char *path)
{
	struct getdents_v2 g = {.buf = (uint64_t)buffer, .len = sizeof(buffer)};
	uint64_t at;

	g.fd = guest_open(path, O_DIRECTORY, 0);
	if (g.fd < 0)
		return -1;
	for (call(0x1160, &g); g.tag == GETDENTS_SUCCESS; call(0x1160, &g)) {
		for (at = 0; at < g.bytes; at += *(uint16_t *)(buffer + at + 16)) {
			say(buffer + at + NAME_AT);
			say("\n");
		}
	}
	return guest_close(g.fd);
}
#else
static int list(const char *path)
{
	(void)path;
	return -1;
}
#endif

static int show(const char *path)
{
	int fd;

	if (path[0] == '-' && !path[1]) {
		copy(0);
		return 0;
	}
	if (list(path) == 0)
		return 0;
	fd = guest_open(path, 0, 0);
	if (fd < 0) {
		say(path);
		say(": ");
		say_number(fd);
		say("\n");
		return 1;
	}
	copy(fd);
	return -guest_close(fd);
}

int guest_main(uint64_t boot_info)
{
	int argc = guest_arguments(boot_info), i, status = 0;

	if (argc < 2)
		show("-");
	for (i = 1; i < argc; i++)
		if (show(guest_argv[i]))
			status = 1;
	return status;
}
