// SPDX-License-Identifier: Apache-2.0
/*
 * What the observer measures.  Before each stretch that the plugin shall count it says
 * "stretch KIND NAME", in the order of the marks.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
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
#define MANY_DIR "/run/bench"

static struct vm vm;

/* Cycles from `start` until now. */
static uint64_t since(uint64_t start)
{
	return __rdtsc() - start;
}

/* From fork to the write of the guest's init, as it arrives here. */
void measure_start(const struct vmm *vmm)
{
	for (int turn = 0; turn < STARTS; turn++) {
		uint64_t start;

		if (turn == STARTS - 1)
			say("stretch start %s\n", vmm->name);
		start = __rdtsc();
		if (turn == STARTS - 1)
			MARK(MARK_BLOCKS);
		vm_begin(&vm, vmm);
		if (vm_wait(&vm, READY)) {
			vm_failed(&vm, vmm);
		} else {
			uint64_t cycles = since(start);

			say("start %s %lu\n", vmm->name, cycles);
			say("overhead %s %lu\n", vmm->name, vm_overhead(&vm, vmm));
		}
		MARK(MARK_END);
		vm_end(&vm);
		nap(500); /* the host takes down what is left of it: namespaces, memory */
	}
}

/* A unikernel's way from fork to its first byte on the console, and from there to its end. */
void measure_hello(const struct vmm *vmm)
{
	for (int turn = 0; turn < TURNS; turn++) {
		bool last = turn == TURNS - 1, said;
		int status;

		if (last) {
			say("stretch hello %s\n", vmm->name);
			say("stretch hello-end %s\n", vmm->name);
			MARK(MARK_BLOCKS);
		}
		vm_begin(&vm, vmm);
		said = vm_wait(&vm, HELLO) == 0;
		if (last)
			MARK(MARK_BLOCKS);
		if (!said)
			vm_failed(&vm, vmm);
		else if (waitpid(vm.pid, &status, 0) != vm.pid || status)
			say("failed %s status %d\n", vmm->name, status);
		MARK(MARK_END);
		close(vm.master);
		nap(500);
	}
}

/* A unikernel as a whole; it says nothing here. */
void measure_hello_whole(const struct vmm *vmm)
{
	for (int turn = 0; turn < TURNS; turn++) {
		int status;

		if (turn == TURNS - 1) {
			say("stretch hello-whole %s\n", vmm->name);
			MARK(MARK_BLOCKS);
		}
		vm_begin(&vm, vmm);
		if (waitpid(vm.pid, &status, 0) != vm.pid || status)
			say("failed %s status %d\n", vmm->name, status);
		MARK(MARK_END);
		close(vm.master);
		nap(500);
	}
}

/* One that waits. */
void measure_hello_memory(const struct vmm *vmm)
{
	vm_begin(&vm, vmm);
	if (vm_wait(&vm, HELLO))
		vm_failed(&vm, vmm);
	nap(500);
	say("hello-memory %s %lu\n", vmm->name, vm_overhead(&vm, vmm));
	vm_end(&vm);
	nap(500);
}

/* A guest that does next to nothing: what there is, is the VMM's way to the first VMRUN. */
void measure_first(const struct vmm *vmm)
{
	for (int turn = 0; turn < 2; turn++) {
		if (turn)
			say("stretch first %s\n", vmm->name);
		if (turn)
			MARK(MARK_BLOCKS);
		vm_begin(&vm, vmm);
		if (vm_wait(&vm, "!"))
			vm_failed(&vm, vmm);
		MARK(MARK_END);
		vm_end(&vm);
		nap(500);
	}
}

void measure_idle(const struct vmm *vmm)
{
	uint64_t before;

	vm_begin(&vm, vmm);
	if (vm_wait(&vm, READY)) {
		vm_failed(&vm, vmm);
	} else {
		nap(IDLE_MS); /* what its start has left to do; the entropy pool is fed for longest
			       */
		say("stretch idle %s\n", vmm->name);
		before = vm_cpu(&vm);
		MARK(MARK_COUNT);
		nap(IDLE_MS);
		MARK(MARK_END);
		say("idle %s %lu\n", vmm->name, vm_cpu(&vm) - before);
		say("overhead %s %lu\n", vmm->name, vm_overhead(&vm, vmm));
	}
	vm_end(&vm);
}

/* The guest measures; what it prints as "bench KEY VALUE" is handed on. */
void measure_io(const struct vmm *vmm)
{
	char *line, *rest;

	vm_begin(&vm, vmm);
	if (vm_wait(&vm, READY) || vm_wait(&vm, DONE))
		vm_failed(&vm, vmm);
	if (vm.used == sizeof(vm.seen))
		vm.used--;
	vm.seen[vm.used] = '\0';
	for (line = strtok_r(vm.seen, "\r\n", &rest); line; line = strtok_r(NULL, "\r\n", &rest))
		if (!strncmp(line, "bench ", 6))
			say("io %s %s\n", vmm->name, line + 6);
	vm_end(&vm);
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

static void restore(const struct vmm *vmm, const char *kind, char *from)
{
	char *words[] = {vmm->words[0], "--restore", from, NULL};
	struct vmm again = {vmm->name, vmm->root, vmm->guest_kib, words};
	uint64_t start;

	for (int turn = 0; turn < TURNS; turn++) {
		if (turn)
			say("stretch %s %s\n", kind, vmm->name);
		start = __rdtsc();
		if (turn)
			MARK(MARK_COUNT);
		vm_begin(&vm, &again);
		if (write(vm.master, "\n", 1) != 1 || vm_wait(&vm, ANSWER))
			vm_failed(&vm, vmm);
		else if (turn)
			say("%s %s %lu\n", kind, vmm->name, since(start));
		MARK(MARK_END);
		vm_end(&vm);
	}
}

/* A cold start, a snapshot of what it led to, and that restored until it answers a line. */
void measure_restore(const struct vmm *vmm)
{
	char *words[MAX_WORDS + 3], whole[] = SNAPSHOT, fast[] = SNAPSHOT ",verify=off";
	struct vmm controlled = {vmm->name, vmm->root, vmm->guest_kib, words};
	uint64_t start;
	int count = 0;

	for (; vmm->words[count]; count++)
		words[count] = vmm->words[count];
	words[count++] = "--control";
	words[count++] = CONTROL;
	words[count] = NULL;
	start = __rdtsc();
	vm_begin(&vm, &controlled);
	if (vm_wait(&vm, READY)) {
		vm_failed(&vm, vmm);
		vm_end(&vm);
		return;
	}
	say("cold %s %lu\n", vmm->name, since(start));
	nap(500);
	if (run(words[0], "--save", SNAPSHOT, CONTROL))
		say("failed %s snapshot\n", vmm->name);
	vm_end(&vm);
	restore(vmm, "restore", whole);
	restore(vmm, "restore-unverified", fast);
}

static unsigned long available_kib(void)
{
	unsigned long kib = 0;
	char line[256];
	FILE *file = fopen("/proc/meminfo", "re");

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "MemAvailable: %lu", &kib) == 1)
			break;
	if (file)
		fclose(file);
	return kib;
}

/* One conversation in QMP; returns what was answered last. */
static const char *ask(int number, const char *command)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	static char text[4096];
	ssize_t size = 0;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(to.sun_path, sizeof(to.sun_path), MANY_DIR "/%d/control.sock", number);
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0 &&
	    read(fd, text, sizeof(text)) > 0 && /* the greeting */
	    dprintf(fd, "{\"execute\":\"qmp_capabilities\"}") > 0 &&
	    read(fd, text, sizeof(text)) > 0 && dprintf(fd, "{\"execute\":\"%s\"}", command) > 0)
		size = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[size < 0 ? 0 : size] = '\0';
	return text;
}

static int console_shows(int number, const char *text)
{
	static char seen[65536];
	char path[64];
	ssize_t size = -1;
	int fd;

	snprintf(path, sizeof(path), MANY_DIR "/%d/console.log", number);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		size = read(fd, seen, sizeof(seen));
		close(fd);
	}
	return size > 0 && memmem(seen, size, text, strlen(text));
}

static int create(const struct vmm *vmm, int number)
{
	char dir[64], *words[MAX_WORDS + 4];
	int status, count = 0;
	pid_t pid;

	snprintf(dir, sizeof(dir), MANY_DIR "/%d", number);
	mkdir(MANY_DIR, 0755);
	mkdir(dir, 0755);
	for (; vmm->words[count]; count++)
		words[count] = vmm->words[count];
	words[count++] = "--run-dir";
	words[count++] = dir;
	words[count++] = "--daemonize";
	words[count] = NULL;
	pid = fork();
	if (pid == 0) {
		execv(words[0], words);
		_exit(127);
	}
	if (waitpid(pid, &status, 0) != pid || status)
		return -1;
	while (!console_shows(number, READY))
		nap(5);
	return 0;
}

/* As many VMs as its name says, one after another, each at its init before the next starts. */
void measure_many(const struct vmm *vmm)
{
	int i, listed = 0, many = atoi(vmm->name);
	unsigned long kib = available_kib();
	uint64_t start = __rdtsc();

	for (i = 0; i < many; i++) {
		if (i % (many / 4) == 0)
			say("many-at %d %lu %ld\n", i, since(start),
			    (long)kib - (long)available_kib());
		if (create(vmm, i)) {
			say("failed %s at VM %d\n", vmm->name, i);
			break;
		}
	}
	say("many-at %d %lu %ld\n", i, since(start), (long)kib - (long)available_kib());
	start = __rdtsc();
	for (int k = 0; k < i; k++)
		listed += strstr(ask(k, "query-status"), "running") != NULL;
	say("many-list %d %lu\n", listed, since(start));
	start = __rdtsc();
	for (int k = 0; k < i; k++)
		ask(k, "quit");
	for (int k = 0; k < i; k++) {
		char path[64];

		snprintf(path, sizeof(path), MANY_DIR "/%d/exit.json", k);
		while (access(path, F_OK))
			nap(5);
	}
	say("many-quit %d %lu\n", i, since(start));
	nap(1000);
	say("many-left %d %ld\n", i, (long)kib - (long)available_kib());
}
