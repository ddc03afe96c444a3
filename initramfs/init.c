// SPDX-License-Identifier: Apache-2.0
/*
 * PID 1 of the host: mounts the kernel's file systems, runs /etc/hypergen/rc beside the shells,
 * keeps the services of one table alive, and ends the machine in order.
 *
 * Signals: SIGTERM and SIGINT (Ctrl+Alt+Del) reboot, SIGUSR1 halts, SIGUSR2 powers off (busybox
 * init's convention). Nothing that a service does ends this process.
 */
#define _GNU_SOURCE
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <unistd.h>

#define BINFMT		 "/proc/sys/fs/binfmt_misc"
#define STATISTICS_LOOKS 24 /* each leaves 7/8 of the list's bound, which begins at 70 MiB */

enum {
	SERVICES_MAX = 16,
	TTY_NAME_MAX = 32,
	CMDLINE_MAX = 4096,
	LIVED_MS = 5000,      /* a service that lived longer starts again at once … */
	DELAY_MIN_MS = 500,   /* … another one after this, doubled each time … */
	DELAY_MAX_MS = 30000, /* … up to this */
};

enum kind { KERNEL_LOG, SHELL, RESCUE, RC };

struct service {
	enum kind kind;
	char tty[TTY_NAME_MAX]; /* below /dev; empty: none */
	bool once;
	pid_t pid;	   /* 0: not running */
	long long started; /* ms */
	long long due;	   /* ms: when to start; -1: never again */
	int delay;	   /* ms: the last delay before a start */
	bool again;	   /* it ran before */
};

static struct service services[SERVICES_MAX];
static int service_count;

/*
 * 64-bit little-endian ELF files whose OS ABI is 255 (standalone) are unikernels, which hg-vmm runs
 * like programs (Documentation/admin-guide/binfmt-misc.rst). By their first 8 bytes: those for
 * another processor are better refused by hg-vmm than by a shell's "Exec format error".
 */
static const char unikernels[] =
	":unikernel:M::\\x7f\\x45\\x4c\\x46\\x02\\x01\\x01\\xff::/usr/bin/hg-vmm:";

static void mount_all(void)
{
	static const struct {
		const char *type, *where, *options;
		unsigned long flags;
	} table[] = {
		{"proc", "/proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
		{"sysfs", "/sys", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
		{"devtmpfs", "/dev", "mode=0755", MS_NOSUID},
		{"devpts", "/dev/pts", "mode=0620,gid=5,ptmxmode=0666", MS_NOSUID | MS_NOEXEC},
		{"tmpfs", "/run", "mode=0755,size=25%", MS_NOSUID | MS_NODEV},
		{"tmpfs", "/tmp", "mode=1777,size=25%", MS_NOSUID | MS_NODEV},
		{"cgroup2", "/sys/fs/cgroup", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
		{"binfmt_misc", BINFMT, NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		mkdir(table[i].where, 0755); /* most exist; /dev/pts is new in a fresh devtmpfs */
		if (mount(table[i].type, table[i].where, table[i].type, table[i].flags,
			  table[i].options) < 0 &&
		    errno != EBUSY)
			say("mount %s: %s", table[i].where, strerror(errno));
	}
	write_file(BINFMT "/register", unikernels);
	mkdir("/run/hypergen", 0755);
	mkdir("/run/hypergen/vm", 0755);
}

/*
 * A network namespace with nothing in it, for the jails of all VMs: to make one is a quarter of
 * what a VM needs until its guest runs. Where it is missing hg-vmm makes one for itself.
 */
static void make_empty_network(void)
{
	static const char path[] = "/run/hypergen/no-network", self[] = "/proc/self/ns/net";
	int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0444);
	int host = open(self, O_RDONLY | O_CLOEXEC);

	if (file < 0 || host < 0 || unshare(CLONE_NEWNET) < 0) {
		say("%s: %s", path, strerror(errno));
	} else {
		if (mount(self, path, NULL, MS_BIND, NULL) < 0)
			say("%s: %s", path, strerror(errno));
		if (setns(host, CLONE_NEWNET) < 0)
			say("the host's network is lost: %s", strerror(errno));
	}
	close(file);
	close(host);
}

/*
 * Transparent huge pages make the kernel keep up to 64 MiB free, whatever the machine has. On a
 * small host that is memory no guest gets; 1/128 of it keeps the allocator alive as well.
 */
static void scale_free_reserve(void)
{
	static const char path[] = "/proc/sys/vm/min_free_kbytes";
	unsigned long long wanted;
	struct sysinfo memory;
	char text[32];

	if (sysinfo(&memory) < 0 || !read_line(path, text, sizeof(text)))
		return;
	wanted = (unsigned long long)memory.totalram * memory.mem_unit / 1024 / 128;
	if (strtoull(text, NULL, 10) <= wanted)
		return;
	snprintf(text, sizeof(text), "%llu", wanted);
	write_file(path, text);
}

/*
 * What the kernel's own copy of this archive took, tens of MiB, is free since it was unpacked, but
 * lies in one CPU's list of free pages: no other CPU and no huge page gets any of it, and it does
 * not count as available. A look at the statistics gives a part of such a list back
 * (decay_pcp_high() in mm/page_alloc.c); else the kernel looks once a second.
 */
static void give_back_free_pages(void)
{
	for (int i = 0; i < STATISTICS_LOOKS; i++)
		write_file("/proc/sys/vm/stat_refresh", "1");
}

/* Find `key` (with its '=', or a bare word) on the kernel command line; false when absent. */
static bool cmdline_value(const char *key, char *value, size_t size)
{
	char line[CMDLINE_MAX], *save, *word;
	size_t length = strlen(key);

	if (!read_line("/proc/cmdline", line, sizeof(line)))
		return false;
	for (word = strtok_r(line, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		if (strncmp(word, key, length) || (key[length - 1] != '=' && word[length]))
			continue;
		snprintf(value, size, "%s", word + length);
		return true;
	}
	return false;
}

static void add_service(enum kind kind, const char *tty)
{
	struct service *s;

	for (int i = 0; i < service_count; i++)
		if (*tty && !strcmp(services[i].tty, tty))
			return;
	if (service_count == SERVICES_MAX || strlen(tty) >= TTY_NAME_MAX || strchr(tty, '/')) {
		say("console %s: not usable", tty);
		return;
	}
	s = &services[service_count++];
	s->kind = kind;
	s->once = kind == RC;
	strcpy(s->tty, tty);
}

static bool is_virtual_console(const char *tty)
{
	return !strncmp(tty, "tty", 3) && tty[3] >= '0' && tty[3] <= '9';
}

/* Fill the table of services; returns whether the kernel's messages so far are on tty1. */
static bool plan_services(void)
{
	char consoles[256], chosen[256], *save, *word;
	bool shown = false, all;

	read_line("/sys/class/tty/console/active", consoles, sizeof(consoles));
	all = !cmdline_value("hypergen.shell=", chosen, sizeof(chosen));
	add_service(KERNEL_LOG, "tty1");
	if (all)
		add_service(SHELL, "tty3");
	for (word = strtok_r(chosen, ",", &save); !all && word; word = strtok_r(NULL, ",", &save))
		add_service(SHELL, word);
	for (word = strtok_r(consoles, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		if (is_virtual_console(word))
			shown = true;
		else if (all)
			add_service(SHELL, word);
	}
	add_service(RESCUE, "tty2");
	add_service(RC, "");
	return shown;
}

void tell_consoles(const char *text)
{
	char path[TTY_NAME_MAX + 8];

	for (int i = 0; i < service_count; i++) {
		int fd;

		if (!*services[i].tty)
			continue;
		snprintf(path, sizeof(path), "/dev/%s", services[i].tty);
		fd = open(path, O_WRONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
		if (fd < 0)
			continue;
		if (write(fd, text, strlen(text)) < 0)
			errno = 0; /* a stopped or dead terminal must not stop us */
		close(fd);
	}
}

static void set_environment(const struct service *s)
{
	static const char path[] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	bool serial = *s->tty && !is_virtual_console(s->tty);

	clearenv(); /* the kernel hands unknown words of its command line to PID 1 as variables */
	setenv("PATH", path, 1);
	setenv("HOME", "/root", 1);
	setenv("USER", "root", 1);
	setenv("SHELL", "/bin/sh", 1);
	setenv("TERM", serial ? "vt220" : "linux", 1);
	/* A terminal at the far end of a line may not answer a cursor position request. */
	if (serial)
		setenv("PROMPT_TOOLKIT_NO_CPR", "1", 1);
	if (s->kind == RESCUE)
		setenv("PS1", "rescue:\\w# ", 1);
}

/* The child's side of start(): become the service. */
static void become(struct service *s)
{
	char path[TTY_NAME_MAX + 8];
	sigset_t none;
	int error, fd;

	signal(SIGPIPE, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	set_environment(s);
	if (chdir("/root") < 0 && chdir("/") < 0)
		_exit(1);
	if (s->kind == KERNEL_LOG)
		follow_kernel_log();
	if (s->kind == RC) {
		setsid();
		fd = open("/dev/kmsg", O_WRONLY); /* a stray complaint ends in the log */
		if (fd >= 0) {
			dup2(fd, STDOUT_FILENO);
			dup2(fd, STDERR_FILENO);
			if (fd > STDERR_FILENO)
				close(fd);
		}
		execl("/bin/sh", "sh", "/etc/hypergen/rc", (char *)NULL);
		_exit(127);
	}
	snprintf(path, sizeof(path), "/dev/%s", s->tty);
	error = take_terminal(path);
	if (error) {
		if (!s->delay) /* once, not at every try */
			say("console %s: %s", s->tty, strerror(-error));
		_exit(1);
	}
	if (s->again)
		printf("\033[0m\033[?25h\r\n"); /* what a dead program may have left behind */
	if (s->kind == RESCUE)
		printf("Rescue shell (busybox). The host's root file system is at /host; "
		       "messages: dmesg.\r\n");
	fflush(stdout);
	if (s->kind == RESCUE)
		execl("/bin/sh", "-sh", (char *)NULL);
	else
		execl("/bin/hypershell", "hypershell", (char *)NULL);
	printf("%s: cannot start: %s\r\n", s->tty, strerror(errno));
	fflush(stdout);
	_exit(127);
}

static void start(struct service *s)
{
	pid_t pid = fork();

	if (pid == 0)
		become(s);
	s->started = now_ms();
	if (pid > 0) {
		s->pid = pid;
	} else { /* out of memory or processes: later */
		s->delay = DELAY_MAX_MS;
		s->due = s->started + s->delay;
	}
}

/* A service's process has ended: decide when it starts again. */
static void ended(struct service *s, int status)
{
	long long now = now_ms();

	s->pid = 0;
	if (s->once) {
		s->due = -1;
		if (status)
			say("/etc/hypergen/rc ended with status 0x%x", status);
		return;
	}
	if (now - s->started >= LIVED_MS)
		s->delay = 0;
	else if (s->delay == 0)
		s->delay = DELAY_MIN_MS;
	else if (s->delay < DELAY_MAX_MS)
		s->delay = s->delay * 2 < DELAY_MAX_MS ? s->delay * 2 : DELAY_MAX_MS;
	s->due = now + s->delay;
	s->again = true;
}

bool reap_all(void)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (int i = 0; i < service_count; i++)
			if (services[i].pid == pid)
				ended(&services[i], status);
	return pid < 0 && errno == ECHILD;
}

/* Start what is due; returns ms until the next service is due, or -1 when none waits. */
static int start_due(void)
{
	long long now = now_ms(), next = -1;

	for (int i = 0; i < service_count; i++) {
		struct service *s = &services[i];

		if (s->pid || s->due < 0)
			continue;
		if (s->due <= now)
			start(s);
		if (!s->pid && (next < 0 || s->due - now < next))
			next = s->due - now;
	}
	return (int)next;
}

static void __attribute__((noreturn)) serve(const sigset_t *signals)
{
	for (;;) {
		int ms = start_due(), got;
		struct timespec t = {ms / 1000, ms % 1000 * 1000000L};

		got = ms < 0 ? sigwaitinfo(signals, NULL) : sigtimedwait(signals, NULL, &t);
		if (got == SIGTERM || got == SIGINT)
			stop_machine(RB_AUTOBOOT);
		if (got == SIGUSR1)
			stop_machine(RB_HALT_SYSTEM);
		if (got == SIGUSR2)
			stop_machine(RB_POWER_OFF);
		reap_all(); /* also when a signal was merged with another one */
	}
}

int main(void)
{
	char ignored[64];
	sigset_t signals;
	bool shown;

	if (getpid() != 1) {
		fprintf(stderr, "init: only the kernel starts this program\n");
		return 2;
	}
	sigfillset(&signals);
	sigprocmask(SIG_SETMASK, &signals, NULL);
	umask(022);
	mount_all();
	make_empty_network();
	reboot(RB_DISABLE_CAD); /* Ctrl+Alt+Del becomes SIGINT instead of a hard reset */
	if (sethostname("hyper-gen", strlen("hyper-gen")) < 0)
		say("sethostname: %s", strerror(errno));
	write_file("/proc/sys/kernel/printk_devkmsg", "on\n");
	scale_free_reserve();
	shown = plan_services();
	open_kernel_log(shown, cmdline_value("quiet", ignored, sizeof(ignored)));
	/*
	 * From here on tty1 has the messages from us. 1 and not 0: with 0 the kernel would keep
	 * silent in a panic too (console_verbose() in include/linux/printk.h).
	 */
	write_file("/proc/sys/kernel/printk", "1");
	say("press ALT+F3 for the hyper-gen shell, ALT+F2 for the rescue shell");
	start_due();
	give_back_free_pages(); /* the services have begun: nobody waits for it */
	serve(&signals);
}
