// SPDX-License-Identifier: Apache-2.0
/* Starting, watching and ending one VM. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include "runner.h"

#define LIMIT	   10000000000ULL /* cycles after which a guest that still talks is given up */
#define SILENCE_MS 1500		  /* a guest that spins makes these take minutes */
#define FAMILY	   8		  /* processes that one VMM may have */

static _Noreturn void child(const struct vmm *vmm, int terminal, bool counted)
{
	struct termios mode;

	setsid();
	tcgetattr(terminal, &mode);
	cfmakeraw(&mode);
	tcsetattr(terminal, TCSANOW, &mode);
	for (int fd = 0; fd < 3; fd++)
		dup2(terminal, fd);
	if (chroot(vmm->root) < 0 || chdir("/") < 0) {
		dprintf(2, "chroot %s: %m\n", vmm->root);
		_exit(127);
	}
	if (counted)
		MARK(MARK_BLOCKS);
	execv(vmm->words[0], vmm->words);
	dprintf(2, "cannot run %s: %m\n", vmm->words[0]);
	_exit(127);
}

void vm_begin(struct vm *vm, const struct vmm *vmm, bool counted)
{
	int unlock = 0, slave;

	vm->used = 0;
	vm->master = open("/dev/ptmx", O_RDWR | O_CLOEXEC | O_NOCTTY);
	ioctl(vm->master, TIOCSPTLCK, &unlock);
	slave = open(ptsname(vm->master), O_RDWR | O_CLOEXEC | O_NOCTTY);
	vm->pid = fork();
	if (vm->pid == 0)
		child(vmm, slave, counted);
	close(slave);
}

int vm_wait(struct vm *vm, const char *text)
{
	struct pollfd poller = {.fd = vm->master, .events = POLLIN};
	uint64_t start = __rdtsc();
	ssize_t size;

	while (!memmem(vm->seen, vm->used, text, strlen(text))) {
		if (vm->used == sizeof(vm->seen)) { /* the end is what counts */
			memmove(vm->seen, vm->seen + vm->used / 2, vm->used / 2);
			vm->used /= 2;
		}
		if (__rdtsc() - start > LIMIT || poll(&poller, 1, SILENCE_MS) <= 0)
			return -1;
		size = read(vm->master, vm->seen + vm->used, sizeof(vm->seen) - vm->used);
		if (size <= 0)
			return -1;
		vm->used += size;
	}
	return 0;
}

/* The VMM and what it forked; returns how many. */
static int family(pid_t root, pid_t pids[FAMILY])
{
	char path[64], text[256], *after;
	int count = 1, known = 0, parent;
	struct dirent *entry;

	pids[0] = root;
	for (; known != count;) {
		DIR *proc = opendir("/proc");

		known = count;
		while (proc && (entry = readdir(proc)) && count < FAMILY) {
			int pid = atoi(entry->d_name), fd, have = pid == 0;
			ssize_t size;

			for (int i = 0; i < count; i++)
				have |= pids[i] == pid;
			snprintf(path, sizeof(path), "/proc/%d/stat", pid);
			if (have || (fd = open(path, O_RDONLY)) < 0)
				continue;
			size = read(fd, text, sizeof(text) - 1);
			close(fd);
			text[size < 0 ? 0 : size] = '\0';
			after = strrchr(text, ')');
			if (!after || sscanf(after + 1, " %*c %d", &parent) != 1)
				continue;
			for (int i = 0; i < known; i++)
				if (pids[i] == parent) {
					pids[count++] = pid;
					break;
				}
		}
		if (proc)
			closedir(proc);
	}
	return count;
}

void vm_end(struct vm *vm)
{
	pid_t pids[FAMILY];
	int count = family(vm->pid, pids);

	while (count--)
		kill(pids[count], SIGKILL);
	waitpid(vm->pid, NULL, 0);
	close(vm->master);
}

/* A mapping about as large as the guest is the guest. */
static unsigned long overhead(pid_t pid, unsigned long guest_kib)
{
	unsigned long size = 0, rss, total = 0;
	char path[64], line[512];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/smaps", pid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file)) {
		sscanf(line, "Size: %lu", &size);
		if (sscanf(line, "Rss: %lu", &rss) == 1 && size < guest_kib / 10 * 9)
			total += rss;
	}
	if (file)
		fclose(file);
	return total;
}

unsigned long vm_overhead(const struct vm *vm, const struct vmm *vmm)
{
	unsigned long total = 0;
	pid_t pids[FAMILY];
	int count = family(vm->pid, pids);

	while (count--)
		total += overhead(pids[count], vmm->guest_kib);
	return total;
}

uint64_t vm_cpu(const struct vm *vm)
{
	struct timespec spent;
	pid_t pids[FAMILY];
	int count = family(vm->pid, pids);
	uint64_t total = 0;
	clockid_t clock;

	while (count--)
		if (!clock_getcpuclockid(pids[count], &clock) && !clock_gettime(clock, &spent))
			total += spent.tv_sec * 1000000000ULL + spent.tv_nsec;
	return total;
}

int vm_idle(const struct vm *vm, long ms)
{
	const long part = 1000;

	for (; ms > 0; ms -= part) {
		uint64_t before = vm_cpu(vm);

		nap(part);
		if (vm_cpu(vm) - before > part * 500000)
			return -1;
	}
	return 0;
}

int vm_failed(struct vm *vm, const struct vmm *vmm)
{
	size_t size = vm->used < 2000 ? vm->used : 2000;
	char *text = vm->seen + vm->used - size;

	for (size_t i = 0; i < size; i++)
		if (text[i] < ' ')
			text[i] = '|';
	say("failed %s %.*s\n", vmm->name, (int)size, text);
	return -1;
}
