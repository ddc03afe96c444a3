/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the threads of a running VM may ask of the kernel: a table, and its only reader,
 * seccomp.c.  A call that no row allows kills the process with SIGSYS.
 */
#ifndef HG_JAIL_RULES_H
#define HG_JAIL_RULES_H

#include <stddef.h>
#include <stdint.h>

/*
 * Classes of threads.  A filter is inherited, and those of a thread add up to the strictest:
 * the loop makes the vCPUs, so a vCPU's row is the loop's as well.
 */
enum thread_class {
	LOOP = 1,  /* the main thread: start, event loop, reset, end */
	VCPU = 3,  /* also a vCPU's thread: the guest's exits, and devices that answer in them */
	FILES = 4, /* added to both in a VM whose guest reaches files of the host by hypercalls */
};

#define ANY_ARGUMENT -1

/* A row allows a call always, or when (argument & mask) == value; rows of a call add up. */
struct rule {
	int nr;
	enum thread_class who;
	int arg; /* ANY_ARGUMENT, or the argument's number */
	uint32_t mask, value;
	int error; /* not 0: the call fails with this errno instead of being allowed */
};

/* In the order of the filter: what is frequent comes first. */
extern const struct rule jail_rules[];
extern const size_t jail_nrules;

#endif
