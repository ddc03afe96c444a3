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

#define MAX_CALLS    512 /* numbers of the table's calls are below */
#define MAX_ROWS     128 /* of one call */
#define MAX_CODE     512
#define DATA(field)  ((uint32_t)offsetof(struct seccomp_data, field))
#define LOAD(off)    (struct sock_filter) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, off)
#define RET(value)   (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, value)
#define JEQ(k, t, f) (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, k, t, f)
#define JGE(k, t, f) (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, k, t, f)
#define AND(k)	     (struct sock_filter) BPF_STMT(BPF_ALU | BPF_AND | BPF_K, k)

enum verdict { KILL, ALLOW, LOOK }; /* LOOK: at the arguments */

/*
 * The filter is written from its end: jumps go forward only, so where one leads is known by then.
 * Positions count from that end.
 */
struct filter {
	enum thread_class who;
	size_t len;
	bool too_far; /* for a conditional jump, which reaches 255 */
	size_t kill, allow;
	uint8_t verdicts[MAX_CALLS];
	unsigned int count; /* of spans: calls of one verdict; each ends where the next begins */
	struct span {
		unsigned int start;
		size_t target;
	} spans[MAX_CALLS];
	struct sock_filter code[MAX_CODE];
};

/* Its position. */
static size_t emit(struct filter *f, struct sock_filter instruction)
{
	if (f->len < MAX_CODE)
		f->code[MAX_CODE - 1 - f->len] = instruction;
	return f->len++;
}

/* From the next instruction to be written. */
static uint8_t jump(struct filter *f, size_t target)
{
	size_t over = f->len - target - 1;

	f->too_far |= over > UINT8_MAX;
	return (uint8_t)over;
}

static bool applies(const struct filter *f, const struct rule *r)
{
	enum thread_class thread = f->who & ~FILES;

	return r->who == FILES ? (f->who & FILES) != 0 : (r->who & thread) == thread;
}

static size_t emit_rets(struct filter *f)
{
	f->kill = emit(f, RET(SECCOMP_RET_KILL_PROCESS));
	f->allow = emit(f, RET(SECCOMP_RET_ALLOW));
	return f->allow;
}

static size_t emit_action(struct filter *f, const struct rule *r)
{
	return r->error ? emit(f, RET(SECCOMP_RET_ERRNO | (uint32_t)r->error)) : f->allow;
}

/* The rows of one call, in their order. */
static size_t emit_call(struct filter *f, int nr)
{
	const struct rule *rows[MAX_ROWS], *r;
	size_t n = 0, action, next = f->kill;

	for (r = jail_rules; r < jail_rules + jail_nrules && n < MAX_ROWS; r++)
		if (r->nr == nr && applies(f, r))
			rows[n++] = r;
	while (n--) {
		r = rows[n];
		action = emit_action(f, r);
		if (r->arg == ANY_ARGUMENT) {
			next = action;
			continue;
		}
		next = emit(f, JEQ(r->value, jump(f, action), jump(f, next)));
		if (r->mask != UINT32_MAX)
			next = emit(f, AND(r->mask));
		/* The row before has left the same argument in the accumulator? */
		if (!n || rows[n - 1]->arg != r->arg || rows[n - 1]->mask != UINT32_MAX)
			next = emit(f, LOAD(DATA(args) + 8 * (uint32_t)r->arg)); /* low half */
	}
	return next;
}

static void judge_calls(struct filter *f)
{
	const struct rule *r;

	memset(f->verdicts, KILL, sizeof(f->verdicts));
	for (r = jail_rules; r < jail_rules + jail_nrules; r++)
		if (applies(f, r) && f->verdicts[r->nr] != LOOK)
			f->verdicts[r->nr] = r->arg == ANY_ARGUMENT && !r->error ? ALLOW : LOOK;
}

static void find_spans(struct filter *f)
{
	unsigned int nr;
	uint8_t now;

	f->count = 0;
	for (nr = 0; nr < MAX_CALLS; nr++) {
		now = f->verdicts[nr];
		if (nr && now == f->verdicts[nr - 1] && now != LOOK)
			continue;
		f->spans[f->count].start = nr;
		f->spans[f->count++].target = now == KILL    ? f->kill
					      : now == ALLOW ? f->allow
							     : emit_call(f, (int)nr);
	}
}

/*
 * A tree of comparisons.  When the filter is set, the kernel walks it for each of its 460 calls,
 * to learn which need no look at their arguments (seccomp_cache_prepare()), so it is split in the
 * middle of the numbers, not of the spans.
 */
static size_t emit_tree(struct filter *f, unsigned int from, unsigned int to)
{
	unsigned int end = to < f->count ? f->spans[to].start : MAX_CALLS, split = from + 1;
	unsigned int middle = (f->spans[from].start + end) / 2;
	size_t above, below;

	if (to - from == 1)
		return f->spans[from].target;
	while (split + 1 < to && f->spans[split].start < middle)
		split++;
	above = emit_tree(f, split, to);
	below = emit_tree(f, from, split);
	return emit(f, JGE(f->spans[split].start, jump(f, above), jump(f, below)));
}

/* ioctl stands before the tree: it is frequent and always looked at. */
static void compile(struct filter *f)
{
	size_t tree, ioctl;

	judge_calls(f);
	f->verdicts[SYS_ioctl] = KILL;
	emit_rets(f);
	find_spans(f);
	tree = emit_tree(f, 0, f->count);
	emit_rets(f); /* nearer */
	ioctl = emit_call(f, SYS_ioctl);
	emit(f, JEQ(SYS_ioctl, jump(f, ioctl), jump(f, tree)));
	emit(f, LOAD(DATA(nr))); /* x32 numbers have bit 30 set and match no row */
	emit(f, RET(SECCOMP_RET_KILL_PROCESS));
	emit(f, JEQ(AUDIT_ARCH_X86_64, 1, 0));
	emit(f, LOAD(DATA(arch)));
}

int seccomp_enter(enum thread_class who, struct error *e)
{
	struct filter f; /* too large to be cleared for nothing */
	struct sock_fprog prog;

	f.who = who;
	f.len = 0;
	f.too_far = false;
	compile(&f);
	if (f.len > MAX_CODE || f.too_far)
		return error_set(e, ERROR_MACHINE, "seccomp: the table is too long");
	prog.len = f.len;
	prog.filter = f.code + MAX_CODE - f.len;
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog))
		return error_set(e, ERROR_MACHINE,
				 "seccomp: %s (CONFIG_SECCOMP_FILTER; --no-sandbox runs without)",
				 strerror(errno));
	return 0;
}
