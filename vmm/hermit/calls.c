// SPDX-License-Identifier: Apache-2.0
#include "hermit/calls.h"

#include <errno.h>
#include <string.h>

#include "hermit/nic.h"
#include "hermit/params.h"
#include "hermit/unilib.h"

#define MAX_TRANSFER 0x7ffff000ull /* of one call, as Linux bounds read(2) and write(2) */
#define PRESENT	     1ull
#define HUGE	     0x80ull
/*
 * Rust Hermit makes an array of envc + 1 pointers, but does not clear the last one, and its
 * library reads up to a null: in a block as small as for a few variables there may lie anything.
 * Empty ones, which that library passes over, have it take a larger block, off a fresh page.
 */
#define MIN_ENV_RUST 16
#define FRAME	     0x000ffffffffff000ull

struct call {
	const struct call_env *env;
	union call_params p; /* the copy */
};

struct row {
	uint16_t port;
	uint16_t size; /* of the parameters; 0: EAX (or RDI) is the value itself */
	bool result;   /* they are copied back */
	void (*handle)(struct call *c, uint64_t value);
};

uint64_t call_translate(const struct guest_memory *m, uint64_t cr3, uint64_t va, uint64_t *gpa)
{
	uint64_t entry = cr3, rest;
	const uint64_t *at;
	int shift;

#pragma GCC unroll 4 /* every write of interface 1 walks here */
	for (shift = 39; shift >= 12; shift -= 9) {
		at = memory_at_once(m, (entry & FRAME) + 8 * (va >> shift & 511), sizeof(*at));
		entry = at ? __atomic_load_n(at, __ATOMIC_RELAXED) : 0; /* read once */
		if (!(entry & PRESENT))
			return 0;
		if (shift > 12 && (shift == 39 || !(entry & HUGE)))
			continue;
		rest = (1ull << shift) - 1;
		*gpa = (entry & FRAME & ~rest) | (va & rest);
		return rest + 1 - (va & rest);
	}
	return 0;
}

/* A path in guest RAM, up to its NUL; NULL: not all of it is RAM, or it is too long. */
static const char *path_at(const struct call *c, uint64_t gpa, char path[FILES_MAX_PATH])
{
	size_t i;

	for (i = 0; i < FILES_MAX_PATH; i++) {
		if (memory_read(c->env->mem, gpa + i, &path[i], 1))
			return NULL;
		if (!path[i])
			return path;
	}
	return NULL;
}

static inline int64_t move(const struct call *c, bool in, int fd, void *at, uint64_t len)
{
	struct files *files = c->env->hermit->files;

	if (in && fd == 0)
		return c->env->input(c->env->arg, at, len);
	if (in)
		return fd < 3 ? -EBADF : files_read(files, fd, at, len);
	if (fd == 1 || fd == 2)
		return c->env->output(c->env->arg, fd, at, len);
	return fd < 3 ? -EBADF : files_write(files, fd, at, len);
}

/* Moves bytes between a file and a buffer at a virtual address, page by page. */
static inline int64_t move_virtual(const struct call *c, bool in, int fd, uint64_t va, uint64_t len)
{
	uint64_t done = 0, part, gpa;
	int64_t n;
	void *at;

	len = len < MAX_TRANSFER ? len : MAX_TRANSFER;
	if (!len)
		return move(c, in, fd, "", 0);
	while (done < len && !(done && c->env->interrupted(c->env->arg))) {
		part = call_translate(c->env->mem, c->env->cr3, va + done, &gpa);
		part = part < len - done ? part : len - done;
		at = part ? memory_at_once(c->env->mem, gpa, part) : NULL;
		n = at ? move(c, in, fd, at, part) : -EFAULT;
		if (n < 0)
			return done ? (int64_t)done : n;
		done += (uint64_t)n;
		/* Of what is typed, the rest of a buffer may never come. */
		if ((uint64_t)n < part || (in && fd == 0))
			break;
	}
	return (int64_t)done;
}

static inline int64_t move_physical(const struct call *c, bool in, int fd, uint64_t gpa,
				    uint64_t len)
{
	void *at;

	len = len < MAX_TRANSFER ? len : MAX_TRANSFER;
	at = len ? memory_at_once(c->env->mem, gpa, len) : "";
	return at ? move(c, in, fd, at, len) : -EFAULT;
}

/* --- interface 1 and C --- */

static void write_v1(struct call *c, uint64_t value)
{
	struct write_v1 *p = &c->p.write_v1;
	int64_t n = move_virtual(c, false, p->fd, p->buf, p->len);

	(void)value;
	/* C's write() takes its result from here; Rust's never looks. */
	p->len = (uint64_t)n;
}

static void read_v1(struct call *c, uint64_t value)
{
	struct read_v1 *p = &c->p.read_v1;

	(void)value;
	p->ret = move_virtual(c, true, p->fd, p->buf, p->len);
}

static void open_v1(struct call *c, uint64_t value)
{
	struct open_v1 *p = &c->p.open_v1;
	char path[FILES_MAX_PATH];

	(void)value;
	p->ret = path_at(c, p->name, path)
			 ? files_open(c->env->hermit->files, path, p->flags, (unsigned int)p->mode)
			 : -EFAULT;
}

static void close_v1(struct call *c, uint64_t value)
{
	struct close_v1 *p = &c->p.close_v1;

	(void)value;
	/* The standard streams stay open: the guest's C library closes them at its end. */
	p->ret = p->fd >= 0 && p->fd < 3 ? 0 : files_close(c->env->hermit->files, p->fd);
}

static void lseek_v1(struct call *c, uint64_t value)
{
	struct lseek_v1 *p = &c->p.lseek_v1;

	(void)value;
	p->offset = files_seek(c->env->hermit->files, p->fd, p->offset, p->whence);
}

static void unlink_v1(struct call *c, uint64_t value)
{
	struct unlink_v1 *p = &c->p.unlink_v1;
	char path[FILES_MAX_PATH];

	(void)value;
	p->ret = path_at(c, p->name, path) ? files_unlink(c->env->hermit->files, path) : -EFAULT;
}

static void exit_v1(struct call *c, uint64_t value)
{
	(void)value;
	c->env->exit(c->env->arg, c->p.exit_v1.code);
}

static void netstat_c(struct call *c, uint64_t value)
{
	(void)value;
	c->p.netstat_c.status = c->env->hermit->nic != NULL;
}

static void netinfo_c(struct call *c, uint64_t value)
{
	(void)value;
	memset(&c->p.netinfo_c, 0, sizeof(c->p.netinfo_c));
	if (c->env->hermit->nic)
		nic_info(c->env->hermit->nic, c->p.netinfo_c.mac);
}

static void netwrite_c(struct call *c, uint64_t value)
{
	struct packet_c *p = &c->p.packet_c;
	const void *at = memory_at(c->env->mem, p->data, p->len);

	(void)value;
	p->ret = at && c->env->hermit->nic ? nic_send(c->env->hermit->nic, at, p->len) : -1;
}

static void netread_c(struct call *c, uint64_t value)
{
	struct packet_c *p = &c->p.packet_c;
	void *at = memory_at(c->env->mem, p->data, p->len);
	int64_t n = at && c->env->hermit->nic ? nic_receive(c->env->hermit->nic, at, p->len) : -1;

	(void)value;
	p->ret = n < 0 ? -1 : 0;
	if (n >= 0)
		p->len = (uint64_t)n;
}

static void uart(struct call *c, uint64_t value)
{
	uint8_t byte = (uint8_t)value;

	c->env->output(c->env->arg, 0, &byte, 1);
}

static void serial_v1(struct call *c, uint64_t value)
{
	(void)value;
	move_physical(c, false, 1, c->p.serial_v1.buf, c->p.serial_v1.len);
}

static void cmdsize(struct call *c, uint64_t value)
{
	const struct hermit_config *cfg = &c->env->hermit->cfg;
	struct cmdsize *p = &c->p.cmdsize;
	unsigned int i;

	(void)value;
	memset(p, 0, sizeof(*p));
	p->argc = (int32_t)(cfg->nargs < CALL_MAX_ARGS ? cfg->nargs : CALL_MAX_ARGS);
	for (i = 0; i < (unsigned int)p->argc; i++)
		p->argsz[i] = (int32_t)strlen(cfg->args[i]) + 1;
	/* libhermit clears envp[envc - 1]: the last one is counted, but not there. */
	p->envc = (int32_t)(cfg->nenv < CALL_MAX_ARGS ? cfg->nenv : CALL_MAX_ARGS - 1);
	for (i = 0; i < (unsigned int)p->envc; i++)
		p->envsz[i] = (int32_t)strlen(cfg->env[i]) + 1;
	if (c->env->hermit->image.abi == HERMIT_C)
		p->envc++;
	else
		for (; p->envc < MIN_ENV_RUST; p->envc++)
			p->envsz[p->envc] = 1;
}

static void put_strings(const struct call *c, uint64_t table, const char *const *strings,
			unsigned int count)
{
	unsigned int i;
	uint64_t gpa;

	for (i = 0; i < count && i < CALL_MAX_ARGS; i++) {
		if (memory_read(c->env->mem, table + 8ull * i, &gpa, sizeof(gpa)))
			return;
		/* A pointer that leads nowhere costs the guest its own argument. */
		memory_write(c->env->mem, gpa, strings[i], strlen(strings[i]) + 1);
	}
}

static void cmdval(struct call *c, uint64_t value)
{
	const struct hermit_config *cfg = &c->env->hermit->cfg;
	const char *const empty = "";
	unsigned int i;

	(void)value;
	put_strings(c, c->p.cmdval.argv, (const char *const *)cfg->args, cfg->nargs);
	put_strings(c, c->p.cmdval.envp, cfg->env,
		    cfg->nenv < CALL_MAX_ARGS ? cfg->nenv : CALL_MAX_ARGS - 1);
	for (i = cfg->nenv; c->env->hermit->image.abi == HERMIT_V1 && i < MIN_ENV_RUST; i++)
		put_strings(c, c->p.cmdval.envp + 8ull * i, &empty, 1);
}

/* --- interfaces 2 and 3 --- */

static void exit_v2(struct call *c, uint64_t value)
{
	c->env->exit(c->env->arg, (int)(uint32_t)value);
}

static void serial_write_v2(struct call *c, uint64_t value)
{
	(void)value;
	move_physical(c, false, 1, c->p.serial_write_v2.buf, c->p.serial_write_v2.len);
}

static void serial_read_v2(struct call *c, uint64_t value)
{
	struct serial_read_v2 *p = &c->p.serial_read_v2;
	int64_t n = move_physical(c, true, 0, p->buf, p->maxlen);

	(void)value;
	p->len = n > 0 ? (uint64_t)n : 0;
}

/* uhyve names this call without its parameters: here it gets a place for the byte, or for -1. */
static void serial_byte_v2(struct call *c, uint64_t value)
{
	uint8_t byte;

	(void)value;
	c->p.serial_byte_v2.byte = move(c, true, 0, &byte, 1) == 1 ? byte : -1;
}

static void write_v2(struct call *c, uint64_t value)
{
	struct transfer_v2 *p = &c->p.transfer_v2;

	(void)value;
	p->ret = move_physical(c, false, p->fd, p->buf, p->len);
}

static void read_v2(struct call *c, uint64_t value)
{
	struct transfer_v2 *p = &c->p.transfer_v2;

	(void)value;
	p->ret = move_physical(c, true, p->fd, p->buf, p->len);
}

static void lseek_v2(struct call *c, uint64_t value)
{
	struct lseek_v2 *p = &c->p.lseek_v2;

	(void)value;
	p->offset = files_seek(c->env->hermit->files, p->fd, p->offset, (int)p->whence);
}

static void set_result(struct tagged_result *r, int64_t n)
{
	r->tag = n < 0 ? CALL_ERROR : CALL_SUCCESS;
	r->error = n < 0 ? (int32_t)-n : 0;
}

static void getdents_v2(struct call *c, uint64_t value)
{
	struct getdents_v2 *p = &c->p.getdents_v2;
	void *to = p->len ? memory_at(c->env->mem, p->buf, p->len) : NULL;
	int64_t n = to ? files_list(c->env->hermit->files, p->fd, to, p->len) : -EFAULT;

	(void)value;
	p->tag = n > 0 ? GETDENTS_SUCCESS : n ? GETDENTS_ERROR : GETDENTS_END;
	p->bytes = n > 0 ? (uint64_t)n : (uint64_t)-n;
}

void file_attr_fill(struct file_attr *to, const struct stat *st)
{
	*to = (struct file_attr){
		.dev = st->st_dev,
		.ino = st->st_ino,
		.nlink = st->st_nlink,
		.mode = st->st_mode,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.rdev = st->st_rdev,
		.size = st->st_size,
		.blksize = st->st_blksize,
		.blocks = st->st_blocks,
		.atim = {st->st_atim.tv_sec, (int32_t)st->st_atim.tv_nsec, 0},
		.mtim = {st->st_mtim.tv_sec, (int32_t)st->st_mtim.tv_nsec, 0},
		.ctim = {st->st_ctim.tv_sec, (int32_t)st->st_ctim.tv_nsec, 0},
	};
}

static void give_attr(struct call *c, uint64_t gpa, const struct stat *st, int r,
		      struct tagged_result *result)
{
	struct file_attr attr;

	if (!r) {
		file_attr_fill(&attr, st);
		r = memory_write(c->env->mem, gpa, &attr, sizeof(attr)) ? -EFAULT : 0;
	}
	set_result(result, r);
}

static void stat_v2(struct call *c, uint64_t value)
{
	struct stat_v2 *p = &c->p.stat_v2;
	char path[FILES_MAX_PATH];
	struct stat st;
	int r = -EFAULT;

	(void)value;
	if (path_at(c, p->name, path))
		r = files_stat(c->env->hermit->files, path, p->kind == 0, &st);
	give_attr(c, p->attr, &st, r, &p->ret);
}

static void fstat_v2(struct call *c, uint64_t value)
{
	struct fstat_v2 *p = &c->p.fstat_v2;
	struct stat st;
	int r = files_fstat(c->env->hermit->files, p->fd, &st);

	(void)value;
	give_attr(c, p->attr, &st, r, &p->ret);
}

static void mkdir_v2(struct call *c, uint64_t value)
{
	struct mkdir_v2 *p = &c->p.mkdir_v2;
	char path[FILES_MAX_PATH];

	(void)value;
	set_result(&p->ret, path_at(c, p->path, path)
				    ? files_mkdir(c->env->hermit->files, path, 0755)
				    : -EFAULT);
}

static void unilib(struct call *c, uint64_t value)
{
	struct hermit *h = c->env->hermit;

	(void)value;
	c->p.unilib.result = unilib_serve(&h->unilib_ready, h->files, c->env->mem, &c->p.unilib);
}

#define ROW(port, field, result, handle)                                                           \
	{port, sizeof(((union call_params *)0)->field), result, handle}

static const struct row rows_v1[] = {
	ROW(0x400, write_v1, true, write_v1),
	ROW(0x440, open_v1, true, open_v1),
	ROW(0x480, close_v1, true, close_v1),
	ROW(0x500, read_v1, true, read_v1),
	ROW(0x540, exit_v1, false, exit_v1),
	ROW(0x580, lseek_v1, true, lseek_v1),
	ROW(0x600, netinfo_c, true, netinfo_c),
	ROW(0x640, packet_c, true, netwrite_c),
	ROW(0x680, packet_c, true, netread_c),
	ROW(0x700, netstat_c, true, netstat_c),
	ROW(0x740, cmdsize, true, cmdsize),
	ROW(0x780, cmdval, false, cmdval),
	{0x800, 0, false, uart},
	ROW(0x840, unlink_v1, true, unlink_v1),
	ROW(0x880, serial_v1, false, serial_v1),
	ROW(UNILIB_PORT, unilib, true, unilib),
};

static const struct row rows_v2[] = {
	{0x1010, 0, false, exit_v2},
	{0x1020, 0, false, uart},
	ROW(0x1030, serial_write_v2, false, serial_write_v2),
	ROW(0x1040, serial_byte_v2, true, serial_byte_v2),
	ROW(0x1050, serial_read_v2, true, serial_read_v2),
	ROW(0x1100, transfer_v2, true, write_v2),
	ROW(0x1110, open_v1, true, open_v1),
	ROW(0x1120, close_v1, true, close_v1),
	ROW(0x1130, transfer_v2, true, read_v2),
	ROW(0x1140, lseek_v2, true, lseek_v2),
	ROW(0x1150, unlink_v1, true, unlink_v1),
	ROW(0x1160, getdents_v2, true, getdents_v2),
	ROW(0x1170, stat_v2, true, stat_v2),
	ROW(0x1180, fstat_v2, true, fstat_v2),
	ROW(0x1190, mkdir_v2, true, mkdir_v2),
	ROW(UNILIB_PORT, unilib, true, unilib),
};

static const struct row *find_row(bool v2, uint16_t port)
{
	const struct row *rows = v2 ? rows_v2 : rows_v1;
	size_t count = v2 ? sizeof(rows_v2) / sizeof(*rows) : sizeof(rows_v1) / sizeof(*rows), i;

	for (i = 0; i < count; i++)
		if (rows[i].port == port)
			return &rows[i];
	return NULL;
}

bool call_serve(const struct call_env *env, uint16_t port, uint32_t eax, uint64_t rdi)
{
	bool v2 = env->hermit->image.abi == HERMIT_V2;
	uint64_t value = v2 ? rdi : eax;
	const struct row *row = find_row(v2, port);
	struct call c; /* its parameters are filled in below, and no larger than the row says */
	void *at;

	if (!row)
		return false;
	c.env = env;
	if (row->size) {
		at = memory_at_once(env->mem, value, row->size);
		/* Outside of RAM: there is nowhere to put an error, the call does nothing. */
		if (!at)
			return true;
		memcpy(&c.p, at, row->size);
	}
	row->handle(&c, value);
	/* Asked for once more: since then RAM may have begun to be tracked. */
	if (row->result && (at = memory_at_once(env->mem, value, row->size)))
		memcpy(at, &c.p, row->size);
	return true;
}
