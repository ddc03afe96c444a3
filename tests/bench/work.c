// SPDX-License-Identifier: Apache-2.0
/*
 * What the observer measures.  Before each stretch that the plugin shall count it says
 * "stretch KIND NAME", in the order of the marks.  Each returns -1 when a guest did not get to
 * where it shall; the rest is left out then, as the whole is begun again.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <x86intrin.h>

#include "runner.h"

#define READY	 "bench-guest-init"
#define DONE	 "bench-guest-done"
#define HELLO	 "hello"
#define TURNS	 2
#define STARTS	 3 /* the first in a host has more to fetch; the median is that of a later one */
#define IDLE_MS	 60000
#define ANSWER	 "bench-answer"
#define CONTROL	 "/run/bench.sock"
#define SNAPSHOT "/run/bench-snapshot"

static struct vm vm;

/* Cycles from `start` until now. */
static uint64_t since(uint64_t start)
{
	return __rdtsc() - start;
}

/* From fork to the write of the guest's init, as it arrives here. */
int measure_start(const struct vmm *vmm)
{
	int r = 0;

	for (int turn = 0; turn < STARTS && !r; turn++) {
		uint64_t start;

		if (turn == STARTS - 1)
			say("stretch start %s\n", vmm->name);
		start = __rdtsc();
		if (turn == STARTS - 1)
			MARK(MARK_BLOCKS);
		vm_begin(&vm, vmm, false);
		if (vm_wait(&vm, READY)) {
			r = vm_failed(&vm, vmm);
		} else {
			uint64_t cycles = since(start);

			MARK(MARK_END); /* what follows is the observer's own */
			say("start %s %lu\n", vmm->name, cycles);
			say("overhead %s %lu\n", vmm->name, vm_overhead(&vm, vmm));
		}
		MARK(MARK_END);
		vm_end(&vm);
		nap(500); /* the host takes down what is left of it: namespaces, memory */
	}
	return r;
}

/* Waits for the end of a VMM, which shall be content. */
static int ended(const struct vmm *vmm)
{
	int status = -1;

	if (waitpid(vm.pid, &status, 0) == vm.pid && !status)
		return 0;
	say("failed %s status %d\n", vmm->name, status);
	return -1;
}

/* A unikernel's way from exec to its first byte on the console, and from there to its end. */
int measure_hello(const struct vmm *vmm)
{
	int r = 0;

	for (int turn = 0; turn < TURNS && !r; turn++) {
		bool last = turn == TURNS - 1, said;

		if (last) {
			say("stretch hello %s\n", vmm->name);
			say("stretch hello-end %s\n", vmm->name);
		}
		vm_begin(&vm, vmm, last);
		said = vm_wait(&vm, HELLO) == 0;
		if (last)
			MARK(MARK_BLOCKS);
		if (!said)
			r = vm_failed(&vm, vmm);
		else
			r = ended(vmm);
		MARK(MARK_END);
		if (!said)
			vm_end(&vm);
		else
			close(vm.master);
		nap(500);
	}
	return r;
}

/* A unikernel as a whole; it says nothing here. */
int measure_hello_whole(const struct vmm *vmm)
{
	int r = 0;

	for (int turn = 0; turn < TURNS && !r; turn++) {
		if (turn == TURNS - 1)
			say("stretch hello-whole %s\n", vmm->name);
		vm_begin(&vm, vmm, turn == TURNS - 1);
		r = ended(vmm);
		MARK(MARK_END);
		close(vm.master);
		nap(500);
	}
	return r;
}

/* One that waits. */
int measure_hello_memory(const struct vmm *vmm)
{
	unsigned long kib = 0;
	int r = 0;

	vm_begin(&vm, vmm, false);
	if (!vm_wait(&vm, HELLO)) {
		nap(500);
		kib = vm_overhead(&vm, vmm);
	}
	if (kib)
		say("hello-memory %s %lu\n", vmm->name, kib);
	else /* it said nothing, or did not wait */
		r = vm_failed(&vm, vmm);
	vm_end(&vm);
	nap(500);
	return r;
}

/* A guest that does next to nothing: what there is, is the VMM's way from exec to VMRUN. */
int measure_first(const struct vmm *vmm)
{
	int r = 0;

	for (int turn = 0; turn < TURNS && !r; turn++) {
		if (turn)
			say("stretch first %s\n", vmm->name);
		vm_begin(&vm, vmm, turn);
		if (vm_wait(&vm, "!"))
			r = vm_failed(&vm, vmm);
		MARK(MARK_END);
		vm_end(&vm);
		nap(500);
	}
	return r;
}

int measure_idle(const struct vmm *vmm)
{
	uint64_t before;
	int r = 0;

	vm_begin(&vm, vmm, false);
	/* A minute for what its start has left to do; the entropy pool is fed for longest. */
	if (vm_wait(&vm, READY) || vm_idle(&vm, IDLE_MS)) {
		r = vm_failed(&vm, vmm);
	} else {
		say("stretch idle %s\n", vmm->name);
		before = vm_cpu(&vm);
		MARK(MARK_COUNT);
		r = vm_idle(&vm, IDLE_MS);
		MARK(MARK_END);
		say("idle %s %lu\n", vmm->name, vm_cpu(&vm) - before);
		say("overhead %s %lu\n", vmm->name, vm_overhead(&vm, vmm));
		if (r)
			vm_failed(&vm, vmm);
	}
	vm_end(&vm);
	return r;
}

/* The guest measures; what it prints as "bench KEY VALUE" is handed on. */
int measure_io(const struct vmm *vmm)
{
	static char text[sizeof(vm.seen) + 1];
	char *line, *rest;
	int r;

	vm_begin(&vm, vmm, false);
	r = vm_wait(&vm, READY) || vm_wait(&vm, DONE) ? -1 : 0;
	memcpy(text, vm.seen, vm.used);
	text[vm.used] = '\0';
	for (line = strtok_r(text, "\r\n", &rest); line; line = strtok_r(NULL, "\r\n", &rest))
		if (!strncmp(line, "bench ", 6))
			say("io %s %s\n", vmm->name, line + 6);
	if (r)
		vm_failed(&vm, vmm);
	vm_end(&vm);
	return r;
}

/* Runs PROGRAM with these options to its end; 0 when it was content. */
static int run(const char *program, const char *option, const char *value, const char *socket)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		execl(program, program, option, value, "--control", socket, NULL);
		_exit(127);
	}
	return waitpid(pid, &status, 0) == pid && status == 0 ? 0 : -1;
}

static int restore(const struct vmm *vmm, const char *kind, char *from)
{
	char *words[] = {vmm->words[0], "--restore", from, NULL};
	struct vmm again = {vmm->name, vmm->root, vmm->guest_kib, words};
	uint64_t start;
	int r = 0;

	for (int turn = 0; turn < TURNS && !r; turn++) {
		if (turn)
			say("stretch %s %s\n", kind, vmm->name);
		start = __rdtsc();
		if (turn)
			MARK(MARK_BLOCKS);
		vm_begin(&vm, &again, false);
		if (write(vm.master, "\n", 1) != 1 || vm_wait(&vm, ANSWER))
			r = vm_failed(&vm, vmm);
		else if (turn)
			say("%s %s %lu\n", kind, vmm->name, since(start));
		MARK(MARK_END);
		vm_end(&vm);
		nap(500);
	}
	return r;
}

/* A cold start, a snapshot of what it led to, and that restored until it answers a line. */
int measure_restore(const struct vmm *vmm)
{
	char *words[MAX_WORDS + 3], as_usual[] = SNAPSHOT, all[] = SNAPSHOT ",verify=on";
	struct vmm controlled = {vmm->name, vmm->root, vmm->guest_kib, words};
	int count = 0, r = 0;
	uint64_t start;

	for (; vmm->words[count]; count++)
		words[count] = vmm->words[count];
	words[count++] = "--control";
	words[count++] = CONTROL;
	words[count] = NULL;
	unlink(CONTROL);
	start = __rdtsc();
	vm_begin(&vm, &controlled, false);
	if (vm_wait(&vm, READY)) {
		r = vm_failed(&vm, vmm);
		vm_end(&vm);
		return r;
	}
	say("cold %s %lu\n", vmm->name, since(start));
	nap(500);
	if (run(words[0], "--save", SNAPSHOT, CONTROL)) {
		say("failed %s snapshot\n", vmm->name);
		r = -1;
	}
	vm_end(&vm);
	if (r || restore(vmm, "restore", as_usual) || restore(vmm, "restore-verified", all))
		return -1;
	return 0;
}
