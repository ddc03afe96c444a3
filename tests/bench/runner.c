// SPDX-License-Identifier: Apache-2.0
/*
 * The bench's observer, PID 1 of the measured host (rdinit=/bench/runner).
 *
 * It forks and becomes /init, so the host starts as always. The child watches the text of tty3
 * through /dev/vcs3 (which wakes its poller on every change, so it costs nothing meanwhile),
 * notes when the prompt stands there, and then carries out /bench/plan. Results go to ttyS1,
 * which no console uses, one "key value" a line, and end in "end 0".
 *
 * A plan's line: WHAT<TAB>NAME<TAB>GUEST'S MiB<TAB>ROOT<TAB>PROGRAM<TAB>ARGUMENT...; the program
 * runs chrooted in ROOT with a pseudo-terminal, which is the guest's console. WHAT: see work.c;
 * `net` as NAME of a tap starts the other end of the guest's network.
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

#include "runner.h"

#define DISK	   "/bench/disk"
#define DISK_BYTES (64l << 20)
#define ATTEMPTS   3
#define PROMPT	   "hyper-gen:# "

/* KVM's functions that tell exits apart, for the table of reasons. */
#define SYMBOLS                                                                                    \
	" svm_vcpu_run kvm_arch_vcpu_ioctl_run npf_interception io_interception msr_interception " \
	"cr_interception dr_interception intr_interception interrupt_window_interception "         \
	"kvm_emulate_cpuid kvm_emulate_halt kvm_emulate_hypercall kvm_emulate_rdmsr "              \
	"kvm_emulate_wrmsr kvm_emulate_wbinvd vcpu_mmio_write vcpu_mmio_read pause_interception "

static int out = -1;

void say(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	vdprintf(out, format, list);
	va_end(list);
}

void nap(long ms)
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

static const struct {
	const char *what;
	int (*measure)(const struct vmm *vmm);
} verbs[] = {
	{"start", measure_start},
	{"first", measure_first},
	{"idle", measure_idle},
	{"io", measure_io},
	{"many", measure_many},
	{"restore", measure_restore},
	{"hello", measure_hello},
	{"hello-memory", measure_hello_memory},
	{"hello-whole", measure_hello_whole},
};

static void make_dev(const char *root)
{
	char dev[256];

	if (!strcmp(root, "/"))
		return;
	snprintf(dev, sizeof(dev), "%s/dev", root);
	mkdir(dev, 0755);
	mount("dev", dev, "devtmpfs", 0, NULL);
}

/* One sparse file in memory, for all VMMs. */
static void make_disk(const char *root)
{
	char path[256];
	int fd = open(DISK, O_RDWR | O_CREAT | O_CLOEXEC, 0644);

	if (fd < 0 || ftruncate(fd, DISK_BYTES))
		say("failed disk\n");
	close(fd);
	snprintf(path, sizeof(path), "%s" DISK, root);
	if (strcmp(root, "/"))
		link(DISK, path);
}

/*
 * A guest under QEMU's emulated SVM can come to stand still for no fault of its own, see
 * docs/performance.md ("Guests that spin"): once more then.  What stands between the last
 * "attempt" and "void" does not count.
 */
static void attempt(int (*measure)(const struct vmm *), const struct vmm *vmm)
{
	for (int i = 0; i < ATTEMPTS; i++) {
		say("attempt 0\n");
		if (measure(vmm) == 0)
			return;
		if (i < ATTEMPTS - 1)
			say("void 0\n");
	}
}

static void carry_out(FILE *plan)
{
	char line[4096];

	while (fgets(line, sizeof(line), plan)) {
		char *words[MAX_WORDS + 1], *rest = line;
		struct vmm vmm;
		int count = 0;

		line[strcspn(line, "\n")] = '\0';
		while (count < MAX_WORDS && (words[count] = strsep(&rest, "\t")))
			count++;
		words[count] = NULL;
		if (count == 2 && !strcmp(words[0], "net"))
			net_serve(words[1]);
		if (count < 5)
			continue;
		vmm = (struct vmm){words[1], words[3], strtoul(words[2], NULL, 10) * 1024,
				   words + 4};
		make_dev(vmm.root);
		make_disk(vmm.root);
		for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
			if (!strcmp(words[0], verbs[i].what))
				attempt(verbs[i].measure, &vmm);
	}
}

/* An 8 GiB guest is larger than the host; no VMM touches what its guest does not use. */
static void overcommit(void)
{
	int fd = open("/proc/sys/vm/overcommit_memory", O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, "1", 1) != 1)
		say("failed overcommit_memory\n");
	close(fd);
}

/* Where functions of the host's kernel are, so that their names can be found again. */
static void report_symbols(void)
{
	FILE *file = fopen("/proc/kallsyms", "re");
	char line[512], name[128];
	unsigned long address;

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "%lx %*c %127s", &address, name) == 2 && strstr(SYMBOLS, name) &&
		    strstr(SYMBOLS, name)[strlen(name)] == ' ')
			say("symbol %s %lx\n", name, address);
	if (file)
		fclose(file);
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
	report_symbols();
	overcommit();
	plan = fopen("/bench/plan", "re");
	if (plan)
		carry_out(plan);
	say("end 0\n");
	tcdrain(out);
	for (;;)
		pause();
}
