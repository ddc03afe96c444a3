// SPDX-License-Identifier: Apache-2.0
/* Unit tests of hypercalls: every call's result, and parameters that a hostile guest gives. */
#include <errno.h>
#include <unistd.h>

#include "hermit/calls.h"
#include "hermit/params.h"
#include "units.h"

#define AT	0x10000u /* where parameters are put */
#define TEXT_AT 0x20000u
#define CR3	0x100000ull

static char out[8192];
static size_t out_len;
static int exit_code = -1000;
static bool hold;
static struct hermit hermit;

static int64_t take_output(void *arg, int fd, const void *from, uint64_t len)
{
	size_t room = sizeof(out) - out_len, n = len < room ? len : room;

	(void)arg, (void)fd;
	memcpy(out + out_len, from, n);
	out_len += n;
	return (int64_t)len;
}

static int64_t give_input(void *arg, void *to, uint64_t len)
{
	(void)arg;
	memcpy(to, "typed", len < 5 ? len : 5);
	return len < 5 ? (int64_t)len : 5;
}

static void take_exit(void *arg, int code)
{
	(void)arg;
	exit_code = code;
}

static bool is_held(void *arg)
{
	(void)arg;
	return hold;
}

static const struct call_env env = {&hermit,	&mem,	   NULL,    take_output,
				    give_input, take_exit, is_held, CR3};

static void start(enum hermit_abi abi)
{
	static char *args[] = {"app", "one"};
	static struct files_config files = {.mappings = {{"/tmp", "/tmp", true}}, .nmappings = 1};

	setup(MIB(16));
	hermit = (struct hermit){.image.abi = abi,
				 .cfg = {.args = args, .nargs = 2, .env = {"A=b"}, .nenv = 1}};
	hermit.files = files_create(&files, &err);
	CHECK(hermit.files);
	CHECK(!hermit_map(&mem, CR3, CR3 + 0x1000, CR3 + 0x4000, 0, MIB(8)));
}

/* A call with parameters at AT; they are read back afterwards. */
static void call(uint16_t port, void *params, size_t size)
{
	CHECK(!memory_write(&mem, AT, params, size));
	CHECK(call_serve(&env, port, AT, AT));
	CHECK(!memory_read(&mem, AT, params, size));
}

static void text(const char *s)
{
	CHECK(!memory_write(&mem, TEXT_AT, s, strlen(s) + 1));
}

static void writes_go_out(void)
{
	struct write_v1 w = {1, TEXT_AT, 5};
	struct serial_v1 s = {TEXT_AT, 3};

	start(HERMIT_C);
	text("hello");
	call(0x400, &w, sizeof(w));
	CHECK(out_len == 5 && !memcmp(out, "hello", 5) && w.len == 5);
	call(0x880, &s, sizeof(s));
	CHECK(call_serve(&env, 0x800, 'x', 0) && out_len == 9 && !memcmp(out, "hellohelx", 9));
}

static void reads_come_in(void)
{
	struct read_v1 r = {0, TEXT_AT, 100, -7};

	start(HERMIT_V1);
	call(0x500, &r, sizeof(r));
	CHECK(r.ret == 5 && !memcmp(memory_at(&mem, TEXT_AT, 5), "typed", 5));
	r.fd = 1;
	call(0x500, &r, sizeof(r));
	CHECK(r.ret == -EBADF);
}

static void buffers_are_found_page_by_page(void)
{
	uint64_t table = CR3 + 0x8000, pages[512] = {0}, entry;
	struct write_v1 w = {1, 0, 6};

	start(HERMIT_C);
	/* Virtual 0x40000000: two small pages that lie apart, the later one first. */
	pages[0] = 0x31000 | 3;
	pages[1] = 0x30000 | 3;
	CHECK(!memory_write(&mem, table, pages, sizeof(pages)));
	entry = table | 3;
	CHECK(!memory_write(&mem, CR3 + 0x9000, &entry, 8));
	entry = (CR3 + 0x9000) | 3;
	CHECK(!memory_write(&mem, CR3 + 0x1000 + 8, &entry, 8));
	CHECK(!memory_write(&mem, 0x31ffd, "abc", 3) && !memory_write(&mem, 0x30000, "def", 3));
	w.buf = 0x40000ffd;
	call(0x400, &w, sizeof(w));
	CHECK(out_len == 6 && !memcmp(out, "abcdef", 6) && w.len == 6);
	w = (struct write_v1){1, 0x40001ffd, 6}; /* the third page is not there */
	call(0x400, &w, sizeof(w));
	CHECK(w.len == 3);
	w = (struct write_v1){1, 0x40002000, 6};
	call(0x400, &w, sizeof(w));
	CHECK((int64_t)w.len == -EFAULT);
}

static void page_tables_of_a_hostile_guest_end(void)
{
	uint64_t gpa, loop_entry = CR3 | 3, outside = ~0ull & ~0x80ull;

	start(HERMIT_V1);
	CHECK(!memory_write(&mem, CR3 + 8 * 5, &loop_entry, 8));
	CHECK(call_translate(&mem, CR3, 5ull << 39 | 5ull << 30 | 5ull << 21 | 5 << 12, &gpa));
	CHECK(!memory_write(&mem, CR3 + 8 * 6, &outside, 8));
	CHECK(!call_translate(&mem, CR3, 6ull << 39, &gpa));
	CHECK(!call_translate(&mem, ~0ull, 0, &gpa) && !call_translate(&mem, MIB(64), 0, &gpa));
}

/* An endless buffer made of one page: the call ends when the vCPU is wanted. */
static void a_long_call_can_be_ended(void)
{
	struct write_v1 w = {1, 0, ~0ull};

	start(HERMIT_C);
	hold = true;
	call(0x400, &w, sizeof(w));
	CHECK(w.len > 0 && w.len <= MIB(2));
}

/* What follows the variables in its array is the guest's, and it reads it. */
static void rust_hermit_gets_an_array_of_some_size(void)
{
	struct cmdsize size;
	struct cmdval val = {0x30000, 0x30100};
	uint64_t envp[16], i;
	char text[4] = "abc";

	start(HERMIT_V1);
	call(0x740, &size, sizeof(size));
	CHECK(size.envc == 16 && size.envsz[0] == 4 && size.envsz[1] == 1 && size.envsz[15] == 1);
	for (i = 0; i < 16; i++) {
		envp[i] = 0x31000 + 16 * i;
		CHECK(!memory_write(&mem, envp[i], text, sizeof(text)));
	}
	CHECK(!memory_write(&mem, val.envp, envp, sizeof(envp)));
	call(0x780, &val, sizeof(val));
	CHECK(!memory_read(&mem, envp[0], text, 4) && text[0] != 'a' && text[0]);
	for (i = 1; i < 16; i++)
		CHECK(!memory_read(&mem, envp[i], text, 2) && !text[0] && text[1] == 'b');
}

static void exit_codes_are_taken(void)
{
	struct exit_v1 e = {42};

	start(HERMIT_V1);
	call(0x540, &e, sizeof(e));
	CHECK(exit_code == 42);
	start(HERMIT_V2);
	CHECK(call_serve(&env, 0x1010, 0, 7) && exit_code == 7);
}

static void arguments_are_copied(void)
{
	struct cmdsize size;
	struct cmdval val = {0x30000, 0x30100};
	uint64_t argv[2] = {0x31000, 0x31100}, envp[1] = {0x31200};

	start(HERMIT_C);
	memset(&size, 0xff, sizeof(size));
	call(0x740, &size, sizeof(size));
	CHECK(size.argc == 2 && size.argsz[0] == 4 && size.argsz[1] == 4);
	CHECK(size.envc == 2 && size.envsz[0] == 4);
	CHECK(!memory_write(&mem, val.argv, argv, 16) && !memory_write(&mem, val.envp, envp, 8));
	call(0x780, &val, sizeof(val));
	CHECK(!strcmp(memory_at(&mem, 0x31100, 4), "one"));
	CHECK(!strcmp(memory_at(&mem, 0x31200, 4), "A=b"));
	val.argv = ~0ull - 4; /* leads nowhere: nothing happens */
	val.envp = MIB(16) - 4;
	call(0x780, &val, sizeof(val));
}

static void files_are_served(void)
{
	struct open_v1 o = {TEXT_AT, 0, 0, 99};
	struct unlink_v1 u = {TEXT_AT, 99};
	struct lseek_v1 s = {3, 0, 0};
	struct close_v1 c = {1, 99};

	start(HERMIT_V1);
	text("/etc/passwd");
	call(0x440, &o, sizeof(o));
	CHECK(o.ret == -ENOENT);
	o.name = MIB(16) - 3;
	CHECK(!memory_write(&mem, MIB(16) - 3, "abc", 3));
	call(0x440, &o, sizeof(o));
	CHECK(o.ret == -EFAULT);
	text("/tmp/x");
	call(0x840, &u, sizeof(u));
	CHECK(u.ret == -EROFS);
	call(0x580, &s, sizeof(s));
	CHECK(s.offset == -EBADF);
	call(0x480, &c, sizeof(c));
	CHECK(c.ret == 0);
	c.fd = -1;
	call(0x480, &c, sizeof(c));
	CHECK(c.ret == -EBADF);
}

static void version_2_takes_physical_buffers(void)
{
	struct transfer_v2 t = {.len = 5, .buf = TEXT_AT, .fd = 2};
	struct serial_write_v2 s = {.len = 2, .buf = TEXT_AT};
	struct serial_read_v2 r = {.maxlen = 3, .buf = TEXT_AT};
	struct getdents_v2 g = {.fd = 3, .buf = TEXT_AT, .len = 4096};
	struct stat_v2 st = {.name = TEXT_AT, .attr = 0x40000};
	struct mkdir_v2 m = {.path = TEXT_AT};
	struct open_v1 o = {TEXT_AT, 0200000, 0, 99};
	struct serial_byte_v2 b = {-2};
	const struct file_attr *attr;

	start(HERMIT_V2);
	text("hello");
	call(0x1100, &t, sizeof(t));
	call(0x1030, &s, sizeof(s));
	CHECK(t.ret == 5 && out_len == 7 && !memcmp(out, "hellohe", 7));
	t.len = ~0ull;
	call(0x1100, &t, sizeof(t));
	CHECK(t.ret == -EFAULT);
	call(0x1050, &r, sizeof(r));
	CHECK(r.len == 3);
	call(0x1040, &b, sizeof(b));
	CHECK(b.byte >= 0 && b.byte < 256);
	text("/tmp");
	call(0x1110, &o, sizeof(o));
	CHECK(o.ret == 3);
	call(0x1170, &st, sizeof(st));
	attr = memory_at(&mem, st.attr, sizeof(*attr));
	CHECK(st.ret.tag == CALL_SUCCESS && (attr->mode & 0170000) == 0040000);
	text("/tmp/x");
	call(0x1190, &m, sizeof(m));
	CHECK(m.ret.tag == CALL_ERROR && m.ret.error == EROFS);
	call(0x1160, &g, sizeof(g));
	CHECK(g.tag == GETDENTS_SUCCESS && g.bytes > 0);
}

static void only_the_calls_of_the_interface_exist(void)
{
	unsigned int port, served = 0;

	start(HERMIT_V1);
	CHECK(!call_serve(&env, 0x1100, AT, AT));
	start(HERMIT_V2);
	for (port = 0; port < 0x10000; port++)
		served += call_serve(&env, (uint16_t)port, ~0u, ~0ull - 64);
	CHECK(served == 16); /* the parameters lie nowhere: each call ends without a trace */
}

static const struct unit_test tests[] = {
	TEST(writes_go_out),
	TEST(reads_come_in),
	TEST(buffers_are_found_page_by_page),
	TEST(page_tables_of_a_hostile_guest_end),
	TEST(a_long_call_can_be_ended),
	TEST(rust_hermit_gets_an_array_of_some_size),
	TEST(exit_codes_are_taken),
	TEST(arguments_are_copied),
	TEST(files_are_served),
	TEST(version_2_takes_physical_buffers),
	TEST(only_the_calls_of_the_interface_exist),
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return run_units(argc, argv, tests);
}
