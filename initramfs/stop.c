// SPDX-License-Identifier: Apache-2.0
/*
 * The orderly end: VMs first (asked, then told), then every process, then the file systems.
 * Each wait is bounded, so a broken VM or disk delays the end but does not prevent it.
 */
#include "init.h"

#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	VM_POWERDOWN_MS = 10000, /* a guest's own time to shut down */
	VM_QUIT_MS = 3000,	 /* a VM process's time to flush its disks and go */
	TERM_MS = 2000,		 /* everybody else's time after SIGTERM */
	LVM_MS = 5000,
	QMP_REPLY_MS = 500,
	POLL_MS = 50,
};

#define VM_SOCKETS "/run/hypergen/vm/*/control.sock"

static int connect_to(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd;

	if (strlen(path) >= sizeof(address.sun_path))
		return -1;
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Read what a QMP server says until a line holds `word`, for QMP_REPLY_MS at most. */
static bool await_reply(int fd, const char *word)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	long long until = now_ms() + QMP_REPLY_MS;
	char text[4096];
	size_t used = 0;

	while (now_ms() < until && used < sizeof(text) - 1) {
		ssize_t n;

		if (poll(&p, 1, QMP_REPLY_MS) <= 0)
			continue;
		n = read(fd, text + used, sizeof(text) - 1 - used);
		if (n <= 0)
			return false;
		used += (size_t)n;
		text[used] = '\0';
		if (strstr(text, word))
			return true;
	}
	return false;
}

/* Give every VM a QMP command; returns how many VMs answer at all. */
static int tell_vms(const char *command)
{
	static const char hello[] = "{\"execute\":\"qmp_capabilities\"}\r\n";
	char line[128];
	glob_t found;
	int alive = 0;

	if (glob(VM_SOCKETS, 0, NULL, &found) != 0)
		return 0;
	for (size_t i = 0; i < found.gl_pathc; i++) {
		int fd = connect_to(found.gl_pathv[i]);

		if (fd < 0)
			continue; /* nobody listens: that VM has ended */
		alive++;
		if (command && await_reply(fd, "QMP") &&
		    send(fd, hello, sizeof(hello) - 1, MSG_NOSIGNAL) > 0 &&
		    await_reply(fd, "return")) {
			int n = snprintf(line, sizeof(line), "{\"execute\":\"%s\"}\r\n", command);

			if (send(fd, line, (size_t)n, MSG_NOSIGNAL) > 0)
				await_reply(fd, "return");
		}
		close(fd);
	}
	globfree(&found);
	return alive;
}

/* Wait until no VM listens any more, for `ms` at most; true when all are gone. */
static bool await_vms(int ms)
{
	long long until = now_ms() + ms;

	do {
		reap_all();
		if (!tell_vms(NULL))
			return true;
		sleep_ms(POLL_MS);
	} while (now_ms() < until);
	return false;
}

static void stop_vms(void)
{
	int count = tell_vms("system_powerdown");

	if (!count)
		return;
	say("stop: asking %d VM(s) to shut down", count);
	if (await_vms(VM_POWERDOWN_MS))
		return;
	say("stop: ending %d VM(s) that did not shut down", tell_vms("quit"));
	await_vms(VM_QUIT_MS);
}

static void stop_processes(void)
{
	long long until = now_ms() + TERM_MS;

	kill(-1, SIGTERM);
	kill(-1, SIGHUP); /* interactive shells ignore SIGTERM */
	kill(-1, SIGCONT);
	while (!reap_all() && now_ms() < until)
		sleep_ms(POLL_MS);
	kill(-1, SIGKILL);
	until = now_ms() + TERM_MS; /* bounded: a process may hang in a broken disk */
	while (!reap_all() && now_ms() < until)
		sleep_ms(POLL_MS);
}

static void deactivate_lvm(void)
{
	glob_t found;
	bool active = glob("/dev/mapper/*-*", 0, NULL, &found) == 0;
	long long until = now_ms() + LVM_MS;
	pid_t pid;

	if (!active)
		return;
	globfree(&found);
	pid = fork();
	if (pid == 0) {
		execl("/bin/lvm", "lvm", "vgchange", "-an", "--quiet", "--quiet", (char *)NULL);
		_exit(127);
	}
	while (pid > 0 && waitpid(pid, NULL, WNOHANG) == 0 && now_ms() < until)
		sleep_ms(POLL_MS);
}

void stop_machine(int command)
{
	bool again = command == RB_AUTOBOOT;

	say("stop: %s", again ? "rebooting" : "shutting down");
	stop_vms();
	stop_processes();
	tell_consoles(again ? "\r\nRebooting\r\n" : "\r\nShutting down\r\n");
	sync();
	if (umount2("/host", 0) < 0) {
		/* Busy, or not mounted. Read-only is as good for the data; MS_REMOUNT fails clean.
		 */
		mount(NULL, "/host", NULL, MS_REMOUNT | MS_RDONLY, NULL);
		umount2("/host", MNT_DETACH);
	}
	deactivate_lvm();
	sync();
	write_file("/proc/sys/kernel/printk", "7");
	reboot(command);
	for (;;) /* cannot happen; PID 1 must not end */
		sleep_ms(1000);
}
