// SPDX-License-Identifier: Apache-2.0
/*
 * Starts passt(1), which gives the guest the host's network without any privilege.  It
 * inherits one end of a socket pair, checks its options, goes into the background and ends
 * when our end is closed: with this process, however that ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "virtio/net_device.h"

#define ITS_END 3 /* passt's descriptor */
#define NOBODY	"65534:65534"

extern char **environ;

static int spawn(const struct net_config *cfg, int fd, int said, pid_t *pid)
{
	const char *argv[24] = {"passt", "--quiet", "--fd", "3"};
	posix_spawn_file_actions_t actions;
	int n = 4, error;

	/* Without --tcp-ports it would take none of the host's, or all that it may. */
	argv[n++] = "--tcp-ports";
	argv[n++] = cfg->tcp ? cfg->tcp : "none";
	argv[n++] = "--udp-ports";
	argv[n++] = cfg->udp ? cfg->udp : "none";
	/* What its DHCP tells, and where the guest is to be found before it says a word. */
	if (cfg->address) {
		argv[n++] = "--address";
		argv[n++] = cfg->address;
		argv[n++] = "--netmask";
		argv[n++] = cfg->mask;
		argv[n++] = "--gateway";
		argv[n++] = cfg->gateway;
	}
	/* It gives up root, by default for a name that a small system does not know: nobody. */
	if (!geteuid()) {
		argv[n++] = "--runas";
		argv[n++] = NOBODY;
	}
	error = posix_spawn_file_actions_init(&actions);
	if (error)
		return error;
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDWR, 0);
	posix_spawn_file_actions_adddup2(&actions, STDIN_FILENO, STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&actions, said, STDERR_FILENO);
	posix_spawn_file_actions_adddup2(&actions, fd, ITS_END);
	error = posix_spawnp(pid, "passt", &actions, NULL, (char *const *)(uintptr_t)argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	return error;
}

/* The last line of what it said: the one that made it end. */
static const char *last_line(int said, char *text, size_t size)
{
	ssize_t n = read(said, text, size - 1);
	char *line;

	while (n > 0 && text[n - 1] == '\n')
		n--;
	text[n > 0 ? n : 0] = '\0';
	line = strrchr(text, '\n');
	return line ? line + 1 : text;
}

/* Waits for its start, which is over when it has moved to the background. */
static int await(pid_t pid, int said, struct error *e)
{
	char text[1000];
	const char *line;
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return error_set(e, ERROR_MACHINE, "passt: %s", strerror(errno));
	if (WIFEXITED(status) && !WEXITSTATUS(status))
		return 0;
	line = last_line(said, text, sizeof(text));
	return error_set(e, ERROR_MACHINE, "passt did not start: %s",
			 line[0] ? line : "it does not say why");
}

static int start(const struct net_config *cfg, int fd, struct error *e)
{
	int said[2], error, r;
	pid_t pid;

	if (pipe2(said, O_CLOEXEC | O_NONBLOCK))
		return error_set(e, ERROR_MACHINE, "passt: %s", strerror(errno));
	error = spawn(cfg, fd, said[1], &pid);
	if (error == ENOENT)
		r = error_set(e, ERROR_USER,
			      "--net passt: no such program on PATH; install passt, or give "
			      "tap=NAME or socket=PATH");
	else if (error)
		r = error_set(e, ERROR_MACHINE, "passt: %s", strerror(error));
	else
		r = await(pid, said[0], e);
	close(said[0]);
	close(said[1]);
	return r;
}

int net_passt_start(const struct net_config *cfg, struct error *e)
{
	int ends[2], r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		return error_set(e, ERROR_MACHINE, "passt: %s", strerror(errno));
	r = start(cfg, ends[1], e);
	close(ends[1]);
	if (!r)
		return ends[0];
	close(ends[0]);
	return -1;
}
