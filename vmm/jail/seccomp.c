// SPDX-License-Identifier: Apache-2.0
/* Classic BPF out of the table: Documentation/userspace-api/seccomp_filter.rst. */
#include "jail/seccomp.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAX_RULES    192
#define MAX_PER_RULE 6
#define DATA(field)  ((uint32_t)offsetof(struct seccomp_data, field))
#define LOAD(off)    (struct sock_filter) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, off)
#define RET(value)   (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, value)
#define JEQ(k, t, f) (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, k, t, f)
#define AND(k)	     (struct sock_filter) BPF_STMT(BPF_ALU | BPF_AND | BPF_K, k)

/* Invariant between rules: the accumulator holds the call's number. */
static size_t compile_rule(const struct rule *r, struct sock_filter *out)
{
	uint32_t action = r->error ? SECCOMP_RET_ERRNO | (uint32_t)r->error : SECCOMP_RET_ALLOW;
	size_t n = 0;

	if (r->arg == ANY_ARGUMENT) {
		out[n++] = JEQ((uint32_t)r->nr, 0, 1);
		out[n++] = RET(action);
		return n;
	}
	out[n++] = JEQ((uint32_t)r->nr, 0, 5);
	out[n++] = LOAD(DATA(args) + 8 * (uint32_t)r->arg); /* low half, little endian */
	out[n++] = AND(r->mask);
	out[n++] = JEQ(r->value, 0, 1);
	out[n++] = RET(action);
	out[n++] = LOAD(DATA(nr));
	return n;
}

static size_t compile(enum thread_class who, struct sock_filter *code)
{
	size_t n = 0, i;

	code[n++] = LOAD(DATA(arch));
	code[n++] = JEQ(AUDIT_ARCH_X86_64, 1, 0);
	code[n++] = RET(SECCOMP_RET_KILL_PROCESS);
	code[n++] = LOAD(DATA(nr)); /* x32 numbers have bit 30 set and match no row */
	for (i = 0; i < jail_nrules; i++)
		if ((jail_rules[i].who & who) == who)
			n += compile_rule(&jail_rules[i], code + n);
	code[n++] = RET(SECCOMP_RET_KILL_PROCESS);
	return n;
}

int seccomp_enter(enum thread_class who, struct error *e)
{
	struct sock_filter code[5 + MAX_RULES * MAX_PER_RULE];
	struct sock_fprog prog = {.filter = code};

	if (jail_nrules > MAX_RULES)
		return error_set(e, ERROR_MACHINE, "seccomp: the table is too long");
	prog.len = compile(who, code);
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog))
		return error_set(e, ERROR_MACHINE,
				 "seccomp: %s (CONFIG_SECCOMP_FILTER; --no-sandbox runs without)",
				 strerror(errno));
	return 0;
}
