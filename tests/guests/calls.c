// SPDX-License-Identifier: Apache-2.0
/* Makes every file call, right and wrong; prints what was not as it should be. */
#include "hermit.h"

static inline void unilib_out(struct unilib_call *c)
{
	call(0x1300, c);
}

#include "unilib.h"

#define O_RDWR	 2
#define O_CREAT	 0100
#define O_EXCL	 0200
#define O_DIRECT 0200000 /* O_DIRECTORY */
#define ENOENT	 2
#define EBADF	 9
#define EACCES	 13
#define EFAULT	 14
#define EEXIST	 17
#define EINVAL	 22
#define EROFS	 30

static int failed;
static char buffer[4096];

static void check(int ok, const char *what)
{
	if (ok)
		return;
	say("FAILED ");
	say(what);
	say("\n");
	failed = 1;
}

#define CHECK(expression) check(expression, #expression)

static int same(const char *a, const char *b, size_t n)
{
	while (n--)
		if (*a++ != *b++)
			return 0;
	return 1;
}

static void use_a_file(void)
{
	int fd = guest_open("/data/new", O_RDWR | O_CREAT | O_EXCL, 0644);

	CHECK(fd >= 3);
	CHECK(guest_write(fd, "hello, file", 11) == 11 && guest_seek(fd, 7, 0) == 7);
	CHECK(guest_read(fd, buffer, 100) == 4 && same(buffer, "file", 4));
	CHECK(guest_read(fd, buffer, 100) == 0 && guest_seek(fd, -1, 0) == -EINVAL);
	CHECK(guest_close(fd) == 0 && guest_close(fd) == -EBADF);
	CHECK(guest_open("/data/new", O_RDWR | O_CREAT | O_EXCL, 0644) == -EEXIST);
	CHECK(guest_unlink("/data/new") == 0 && guest_unlink("/data/new") == -ENOENT);
}

static void leave_the_mappings(void)
{
	static const char *const out[] = {
		"/etc/passwd",	  "/data/../secret",	 "/data/link", "../secret",
		"/proc/self/mem", "/data/../../dev/kvm", "/dev/mem",   "/data/absolute",
	};
	unsigned int i;
	int fd;

	for (i = 0; i < sizeof(out) / sizeof(out[0]); i++) {
		fd = guest_open(out[i], 0, 0);
		check(fd == -ENOENT || fd == -EACCES, out[i]);
	}
	CHECK(guest_open("/ro/file", O_RDWR, 0) == -EROFS && guest_unlink("/ro/file") == -EROFS);
}

static void be_hostile(void)
{
	int fd = guest_open("/ro/file", 0, 0);

	CHECK(guest_read(-1, buffer, 1) == -EBADF && guest_write(-5, buffer, 1) == -EBADF);
	CHECK(guest_read(12345, buffer, 1) == -EBADF && guest_close(-2147483647 - 1) == -EBADF);
	CHECK(guest_read(fd, (void *)0x7ffffffff000, 1) == -EFAULT);
	CHECK(guest_read(fd, (void *)0x400000000000, 8192) == -EFAULT);
	CHECK(guest_open((const char *)0xfffffff0, 0, 0) == -EFAULT);
	call(ABI == 2 ? 0x1130 : 0x500, (void *)-64); /* parameters that are nowhere */
	CHECK(guest_read(fd, buffer, ~0ull) >= 0 || ABI == 2);
}

#if ABI == 2
static void use_what_is_new(void)
{
	struct mkdir_v2 m = {.path = (uint64_t)"/data/folder"};
	struct stat_v2 s = {.name = (uint64_t)"/ro/file", .attr = (uint64_t)buffer};
	struct getdents_v2 g = {.buf = (uint64_t)buffer, .len = sizeof(buffer)};
	struct serial_write_v2 w = {4, (uint64_t)"ser\n"};

	call(0x1190, &m);
	CHECK(m.ret.tag == CALL_SUCCESS);
	call(0x1190, &m);
	CHECK(m.ret.tag == CALL_ERROR && m.ret.error == EEXIST);
	call(0x1170, &s);
	CHECK(s.ret.tag == CALL_SUCCESS && ((struct file_attr *)buffer)->size == 9);
	g.fd = guest_open("/data/folder", O_DIRECT, 0);
	call(0x1160, &g);
	CHECK(g.tag == GETDENTS_SUCCESS && g.bytes == 48);
	call(0x1160, &g);
	CHECK(g.tag == GETDENTS_END);
	call(0x1030, &w);
}
#endif

#if ABI == 2
/* The first of what is typed comes by the serial port's calls. */
static void read_the_serial_port(void)
{
	struct serial_byte_v2 b = {-2};
	struct serial_read_v2 r = {.maxlen = 2, .len = 99, .buf = (uint64_t)buffer};

	call(0x1040, &b);
	buffer[0] = (char)b.byte;
	CHECK(b.byte == 't' && guest_write(1, buffer, 1) == 1);
	call(0x1050, &r);
	CHECK(r.len == 2 && guest_write(1, buffer, 2) == 2);
	r = (struct serial_read_v2){.maxlen = 2, .len = 99, .buf = ~0ull - 8};
	call(0x1050, &r);
	CHECK(r.len == 0);
}

static void find_the_input_at_its_end(void)
{
	struct serial_byte_v2 b = {-2};
	struct serial_read_v2 r = {.maxlen = 2, .len = 99, .buf = (uint64_t)buffer};

	call(0x1040, &b);
	call(0x1050, &r);
	CHECK(b.byte == -1 && r.len == 0);
}
#endif

int guest_main(uint64_t boot_info)
{
	const char *wrong = unilib_try();
	int64_t n;

	(void)boot_info;
	use_a_file();
	leave_the_mappings();
	be_hostile();
	check(!wrong, wrong ? wrong : "");
#if ABI == 2
	use_what_is_new();
	read_the_serial_port();
#endif
	while ((n = guest_read(0, buffer, sizeof(buffer))) > 0)
		guest_write(1, buffer, (uint64_t)n); /* what it is given, it gives back */
#if ABI == 2
	find_the_input_at_its_end();
#endif
	say(failed ? "there were failures\n" : "all is well\n");
	return failed ? 1 : 42;
}
