// SPDX-License-Identifier: Apache-2.0
/* Classic BPF out of the table: Documentation/userspace-api/seccomp_filter.rst. */
#include "jail/seccomp.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAX_RULES    192
#define MAX_CODE     (4 * MAX_RULES)
#define DATA(field)  ((uint32_t)offsetof(struct seccomp_data, field))
#define LOAD(off)    (struct sock_filter) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, off)
#define RET(value)   (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, value)
#define JEQ(k, t, f) (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, k, t, f)
#define JGE(k, t, f) (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, k, t, f)
#define JUMP(over)   (struct sock_filter) BPF_STMT(BPF_JMP | BPF_JA, over)
#define AND(k)	     (struct sock_filter) BPF_STMT(BPF_ALU | BPF_AND | BPF_K, k)

/*
 * The filter is a binary tree of call numbers: when it is set, the kernel walks it for each of
 * its 460 calls, to learn which need no look at their arguments (seccomp_cache_prepare()), and
 * along a list that took most of a VM's start.  ioctl stands before the tree: it is frequent and
 * not among those calls.
 */
struct filter {
	enum thread_class who;
	size_t len, ncalls;
	int calls[MAX_RULES]; /* numbers, each once, ascending */
	struct sock_filter code[MAX_CODE];
};

static void emit(struct filter *f, struct sock_filter instruction)
{
	if (f->len < MAX_CODE)
		f->code[f->len] = instruction;
	f->len++;
}

static bool applies(const struct filter *f, const struct rule *r)
{
	enum thread_class thread = f->who & ~FILES;

	return r->who == FILES ? (f->who & FILES) != 0 : (r->who & thread) == thread;
}

static void note_call(struct filter *f, int nr)
{
	size_t at = f->ncalls;

	while (at && f->calls[at - 1] >= nr)
		at--;
	if (at < f->ncalls && f->calls[at] == nr)
		return;
	memmove(f->calls + at + 1, f->calls + at, (f->ncalls - at) * sizeof(f->calls[0]));
	f->calls[at] = nr;
	f->ncalls++;
}

/* The rows of one call, in their order; the accumulator holds the call's number. */
static void emit_call(struct filter *f, int nr)
{
	const struct rule *r;
	int loaded = ANY_ARGUMENT; /* the argument in the accumulator */
	uint32_t action;

	for (r = jail_rules; r < jail_rules + jail_nrules; r++) {
		if (r->nr != nr || !applies(f, r))
			continue;
		action = r->error ? SECCOMP_RET_ERRNO | (uint32_t)r->error : SECCOMP_RET_ALLOW;
		if (r->arg == ANY_ARGUMENT) {
			emit(f, RET(action));
			return;
		}
		if (loaded != r->arg) /* low half, little endian */
			emit(f, LOAD(DATA(args) + 8 * (uint32_t)r->arg));
		loaded = r->arg;
		if (r->mask != UINT32_MAX) {
			emit(f, AND(r->mask));
			loaded = ANY_ARGUMENT;
		}
		emit(f, JEQ(r->value, 0, 1));
		emit(f, RET(action));
	}
	emit(f, RET(SECCOMP_RET_KILL_PROCESS));
}

static void emit_tree(struct filter *f, size_t from, size_t to)
{
	size_t middle = from + (to - from) / 2, jump;

	if (to - from == 1) {
		emit(f, JEQ((uint32_t)f->calls[from], 1, 0));
		emit(f, RET(SECCOMP_RET_KILL_PROCESS));
		emit_call(f, f->calls[from]);
		return;
	}
	/* A conditional jump reaches no further than 255. */
	emit(f, JGE((uint32_t)f->calls[middle], 0, 1));
	jump = f->len;
	emit(f, JUMP(0));
	emit_tree(f, from, middle);
	if (jump < MAX_CODE)
		f->code[jump] = JUMP((uint32_t)(f->len - jump - 1));
	emit_tree(f, middle, to);
}

static void compile(struct filter *f)
{
	size_t i, jump;

	emit(f, LOAD(DATA(arch)));
	emit(f, JEQ(AUDIT_ARCH_X86_64, 1, 0));
	emit(f, RET(SECCOMP_RET_KILL_PROCESS));
	emit(f, LOAD(DATA(nr))); /* x32 numbers have bit 30 set and match no row */
	for (i = 0; i < jail_nrules; i++)
		if (applies(f, &jail_rules[i]) && jail_rules[i].nr != SYS_ioctl)
			note_call(f, jail_rules[i].nr);
	emit(f, JEQ(SYS_ioctl, 0, 1));
	jump = f->len;
	emit(f, JUMP(0));
	emit_tree(f, 0, f->ncalls);
	if (jump < MAX_CODE)
		f->code[jump] = JUMP((uint32_t)(f->len - jump - 1));
	emit_call(f, SYS_ioctl);
}

int seccomp_enter(enum thread_class who, struct error *e)
{
	struct filter f; /* too large to be cleared for nothing */
	struct sock_fprog prog = {.filter = f.code};

	f.who = who;
	f.len = f.ncalls = 0;
	if (jail_nrules <= MAX_RULES)
		compile(&f);
	if (!f.len || f.len > MAX_CODE)
		return error_set(e, ERROR_MACHINE, "seccomp: the table is too long");
	prog.len = f.len;
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog))
		return error_set(e, ERROR_MACHINE,
				 "seccomp: %s (CONFIG_SECCOMP_FILTER; --no-sandbox runs without)",
				 strerror(errno));
	return 0;
}
