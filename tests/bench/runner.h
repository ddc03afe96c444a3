/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files of the bench's observer (runner.c). */
#ifndef BENCH_RUNNER_H
#define BENCH_RUNNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "mark.h"

#define MAX_WORDS 64

/* What a line of the plan names: a program, chrooted in `root`, that runs one guest. */
struct vmm {
	const char *name, *root;
	unsigned long guest_kib;
	char **words;
};

/* A running one.  Its terminal is the guest's console. */
struct vm {
	pid_t pid;
	int master;
	char seen[64 * 1024]; /* the console's text so far, or its end */
	size_t used;
};

/* One line of the report. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
void nap(long ms);

/* vms.c */
/* counted: its exec begins a stretch by blocks. */
void vm_begin(struct vm *vm, const struct vmm *vmm, bool counted);
/* 0 when the console has shown `text`; -1 after LIMIT cycles, silence, or the VMM's end. */
int vm_wait(struct vm *vm, const char *text);
void vm_end(struct vm *vm);
/* Resident KiB of the VMM's processes outside the guest's RAM. */
unsigned long vm_overhead(const struct vm *vm, const struct vmm *vmm);
/* CPU time that the VMM's processes have had, guest included, in nanoseconds. */
uint64_t vm_cpu(const struct vm *vm);
/* Sleeps; -1 as soon as a VM that shall be idle has been busy for half of a second. */
int vm_idle(const struct vm *vm, long ms);
/* Says what the console has shown, on one line; -1. */
int vm_failed(struct vm *vm, const struct vmm *vmm);

/* work.c: what a plan's line can ask for, by its first word.  -1: it did not get to its end. */
int measure_start(const struct vmm *vmm);
int measure_first(const struct vmm *vmm);
int measure_hello(const struct vmm *vmm);
int measure_hello_whole(const struct vmm *vmm);
int measure_hello_memory(const struct vmm *vmm);
int measure_idle(const struct vmm *vmm);
int measure_io(const struct vmm *vmm);
int measure_restore(const struct vmm *vmm);
/* many.c */
int measure_many(const struct vmm *vmm);

/* net.c: a host on the other end of a tap, which the guest's program talks to. */
void net_serve(const char *tap);

#endif
