// SPDX-License-Identifier: Apache-2.0
/*
 * The bench's observer, PID 1 of the measured host (rdinit=/bench/runner).
 *
 * It forks and becomes /init, so the host starts as always. The child watches the text of tty3
 * through /dev/vcs3 (which wakes its poller on every change, so it costs nothing meanwhile),
 * notes when the prompt stands there, and then carries out /bench/plan. Results go to ttyS1,
 * which no console uses, one "key value" a line, and end in "end 0".
 *
 * A plan's line: NAME<TAB>ROOT<TAB>PROGRAM<TAB>ARGUMENT...; the program runs chrooted in ROOT with
 * a pseudo-terminal, which is the guest's console, until the guest's init has written MARK there.
 * Times are in TSC cycles: under `-icount shift=0` those are instructions, and nanoseconds.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#define PROMPT	  "hyper-gen:# "
#define MARK	  "bench-guest-init"
#define REPEAT	  3
#define MAX_WORDS 64
#define LIMIT	  10000000000ULL /* cycles after which a start that still talks is given up */
#define GUEST_KIB (128 * 1024)	 /* memory that every plan's guest is given */

static int out = -1;

static __attribute__((format(printf, 1, 2))) void say(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	vdprintf(out, format, list);
	va_end(list);
}

static void nap(long ms)
{
	struct timespec span = {ms / 1000, ms % 1000 * 1000000};

	nanosleep(&span, NULL);
}

/* Devices appear when /init has mounted devtmpfs and opened the console. */
static int open_when_there(const char *path, int flags)
{
	int fd;

	while ((fd = open(path, flags | O_CLOEXEC | O_NOCTTY)) < 0)
		nap(2);
	return fd;
}

static void wait_for_prompt(void)
{
	static char text[64 * 1024];
	int fd = open_when_there("/dev/vcs3", O_RDONLY);

	for (;;) {
		struct pollfd poller = {.fd = fd, .events = POLLPRI};
		ssize_t size = pread(fd, text, sizeof(text), 0);

		if (size > 0 && memmem(text, size, PROMPT, strlen(PROMPT)))
			break;
		poll(&poller, 1, -1);
	}
	close(fd);
}

static void report_memory(void)
{
	char line[256];
	unsigned long kib;
	FILE *file = fopen("/proc/meminfo", "re");

	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "MemTotal: %lu", &kib) == 1)
			say("memory-total %lu\n", kib);
		if (sscanf(line, "MemAvailable: %lu", &kib) == 1)
			say("memory-available %lu\n", kib);
	}
	if (file)
		fclose(file);
}

/* Resident KiB outside the guest's RAM: a mapping as large as the guest is the guest. */
static unsigned long overhead(pid_t pid)
{
	char path[64], line[512];
	unsigned long size = 0, rss, total = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/smaps", pid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file)) {
		sscanf(line, "Size: %lu", &size);
		if (sscanf(line, "Rss: %lu", &rss) == 1 && size < GUEST_KIB * 9 / 10)
			total += rss;
	}
	if (file)
		fclose(file);
	return total;
}

static _Noreturn void child(const char *root, char **words, int terminal)
{
	struct termios mode;

	setsid();
	tcgetattr(terminal, &mode);
	cfmakeraw(&mode);
	tcsetattr(terminal, TCSANOW, &mode);
	for (int fd = 0; fd < 3; fd++)
		dup2(terminal, fd);
	if (chroot(root) < 0 || chdir("/") < 0)
		dprintf(2, "chroot %s: %m\n", root);
	else
		execv(words[0], words);
	dprintf(2, "cannot run %s: %m\n", words[0]);
	_exit(127);
}

static void measure(const char *name, const char *root, char **words, int turn)
{
	static char seen[256 * 1024];
	size_t used = 0;
	int master = open("/dev/ptmx", O_RDWR | O_CLOEXEC | O_NOCTTY), unlock = 0, slave;
	struct pollfd poller = {.fd = master, .events = POLLIN};
	uint64_t start;
	pid_t pid;

	ioctl(master, TIOCSPTLCK, &unlock);
	slave = open(ptsname(master), O_RDWR | O_CLOEXEC | O_NOCTTY);
	start = __rdtsc();
	pid = fork();
	if (pid == 0)
		child(root, words, slave);
	close(slave);
	while (used < sizeof(seen) && __rdtsc() - start < LIMIT && poll(&poller, 1, 5000) > 0) {
		ssize_t size = read(master, seen + used, sizeof(seen) - used);

		if (size <= 0)
			break;
		used += size;
		if (memmem(seen, used, MARK, strlen(MARK))) {
			uint64_t cycles = __rdtsc() - start;

			say("start %s %d %lu\n", name, turn, cycles);
			say("overhead %s %d %lu\n", name, turn, overhead(pid));
			used = 0;
			break;
		}
	}
	if (used) {
		for (size_t i = 0; i < used; i++)
			if (seen[i] == '\n' || seen[i] == '\r')
				seen[i] = '|';
		say("failed %s %d %.*s\n", name, turn, (int)(used < 2000 ? used : 2000), seen);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(master);
}

static void carry_out(FILE *plan)
{
	char line[4096];

	while (fgets(line, sizeof(line), plan)) {
		char *words[MAX_WORDS + 1], *rest = line, dev[256];
		int count = 0;

		line[strcspn(line, "\n")] = '\0';
		while (count < MAX_WORDS && (words[count] = strsep(&rest, "\t")))
			count++;
		words[count] = NULL;
		if (count < 3)
			continue;
		if (strcmp(words[1], "/") != 0) {
			snprintf(dev, sizeof(dev), "%s/dev", words[1]);
			mkdir(dev, 0755);
			mount("dev", dev, "devtmpfs", 0, NULL);
		}
		for (int turn = 0; turn < REPEAT; turn++)
			measure(words[0], words[1], words + 2, turn);
	}
}

int main(void)
{
	static char *const argv[] = {"/init", NULL};
	struct timespec now;
	uint64_t tsc;
	FILE *plan;

	if (fork() != 0) {
		execv(argv[0], argv);
		return 1;
	}
	setsid();
	out = open_when_there("/dev/ttyS1", O_RDWR);
	wait_for_prompt();
	tsc = __rdtsc();
	clock_gettime(CLOCK_MONOTONIC, &now);
	say("prompt-tsc %lu\n", tsc);
	say("prompt-uptime %lu\n", now.tv_sec * 1000000000UL + now.tv_nsec);
	nap(3000); /* what was started in the background has ended */
	report_memory();
	plan = fopen("/bench/plan", "re");
	if (plan)
		carry_out(plan);
	say("end 0\n");
	tcdrain(out);
	for (;;)
		pause();
}
