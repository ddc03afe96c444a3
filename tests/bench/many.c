// SPDX-License-Identifier: Apache-2.0
/* What many VMs cost in one host: made one after another, asked for their state, ended. */
#define _GNU_SOURCE
#include <fcntl.h>
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

#define DIR   "/run/bench"
#define READY "bench-guest-init"
#define TRIES 3
#define LIMIT 1000000000ULL /* cycles; a start takes a tenth of that */

static uint64_t since(uint64_t start)
{
	return __rdtsc() - start;
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

	snprintf(to.sun_path, sizeof(to.sun_path), DIR "/%d/control.sock", number);
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0 &&
	    read(fd, text, sizeof(text)) > 0 && /* the greeting */
	    dprintf(fd, "{\"execute\":\"qmp_capabilities\"}") > 0 &&
	    read(fd, text, sizeof(text)) > 0 && dprintf(fd, "{\"execute\":\"%s\"}", command) > 0)
		size = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[size < 0 ? 0 : size] = '\0';
	return text;
}

static void wait_for_end(int number)
{
	char path[64];

	snprintf(path, sizeof(path), DIR "/%d/exit.json", number);
	while (access(path, F_OK))
		nap(5);
}

static int console_shows(int number, const char *text)
{
	static char seen[65536];
	char path[64];
	ssize_t size = -1;
	int fd;

	snprintf(path, sizeof(path), DIR "/%d/console.log", number);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		size = read(fd, seen, sizeof(seen));
		close(fd);
	}
	return size > 0 && memmem(seen, size, text, strlen(text));
}

/* 0 when its init has spoken; -1 when the VMM did not start, 1 when the guest did not get there. */
static int create(const struct vmm *vmm, int number)
{
	char dir[64], *words[MAX_WORDS + 4];
	uint64_t start = __rdtsc();
	int status, count = 0;
	pid_t pid;

	snprintf(dir, sizeof(dir), DIR "/%d", number);
	mkdir(DIR, 0755);
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
	while (!console_shows(number, READY)) {
		if (since(start) > LIMIT)
			return 1;
		nap(5);
	}
	return 0;
}

/* Creates one, again if need be; what went for those that did not get there is added to `lost`. */
static int create_some(const struct vmm *vmm, int number, uint64_t *lost)
{
	char from[64], to[64];
	int r = -1;

	for (int attempt = 1; attempt <= TRIES; attempt++) {
		uint64_t start = __rdtsc();

		r = create(vmm, number);
		if (r <= 0)
			return r;
		say("failed %s VM %d's guest\n", vmm->name, number);
		ask(number, "quit");
		wait_for_end(number);
		snprintf(from, sizeof(from), DIR "/%d", number);
		snprintf(to, sizeof(to), DIR "/failed-%d-%d", number, attempt);
		rename(from, to);
		*lost += since(start);
	}
	return r;
}

/* As many VMs as its name says, one after another, each at its init before the next starts. */
int measure_many(const struct vmm *vmm)
{
	int i, listed = 0, many = atoi(vmm->name), r = 0;
	unsigned long kib = available_kib();
	uint64_t start = __rdtsc(), lost = 0;

	for (i = 0; i < many && !r; i += !r) {
		if (i % (many / 4) == 0)
			say("many-at %d %lu %ld\n", i, since(start) - lost,
			    (long)kib - (long)available_kib());
		r = create_some(vmm, i, &lost);
	}
	if (r)
		say("failed %s at VM %d\n", vmm->name, i);
	say("many-at %d %lu %ld\n", i, since(start) - lost, (long)kib - (long)available_kib());
	start = __rdtsc();
	for (int k = 0; k < i; k++)
		listed += strstr(ask(k, "query-status"), "running") != NULL;
	say("many-list %d %lu\n", listed, since(start));
	start = __rdtsc();
	for (int k = 0; k < i; k++)
		ask(k, "quit");
	for (int k = 0; k < i; k++)
		wait_for_end(k);
	say("many-quit %d %lu\n", i, since(start));
	nap(1000);
	say("many-left %d %ld\n", i, (long)kib - (long)available_kib());
	return 0; /* what there is counts: all of it again would take too long */
}
