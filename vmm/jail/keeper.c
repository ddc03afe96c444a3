// SPDX-License-Identifier: Apache-2.0
/*
 * The processes of a VM.
 *
 *	foreground		caller = keeper --- VMM
 *	--daemonize		caller (waits until the VM runs, then ends) --- VMM
 *	... with a cgroup or
 *	as an isle		caller (the same) --- keeper --- VMM
 *
 * The VMM is the first process of a PID namespace, so it has to be somebody's child.  The
 * keeper passes signals on, takes the control group or the isle away when the VMM is gone,
 * however that ended, and ends as the VMM did.  It holds nothing of the VM's; if it dies, the VMM
 * does.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "footprint.h"
#include "isle/isle.h"
#include "jail/layers.h"

#define NAME "hg-vmm-keeper"

static int keeper_fd = -1; /* a pidfd, in the VMM */

static pid_t fork_or_die(void)
{
	pid_t pid = fork();

	if (pid < 0) {
		perror("hg-vmm: fork");
		exit(ERROR_MACHINE);
	}
	return pid;
}

/*
 * Returns in the child, with the write end of a pipe; the parent waits there for one byte
 * (the VM runs) or the end of the pipe (it does not, and the child has said why).
 */
static int fork_away(bool is_vmm)
{
	int ends[2], status;
	pid_t pid;
	char byte;

	if (pipe2(ends, O_CLOEXEC)) {
		perror("hg-vmm: pipe");
		exit(ERROR_MACHINE);
	}
	if (is_vmm)
		namespaces_before_fork();
	pid = fork_or_die();
	if (pid == 0) {
		close(ends[0]);
		setsid();
		return ends[1];
	}
	close(ends[1]);
	if (read(ends[0], &byte, 1) == 1)
		_exit(0);
	if (waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status))
		_exit(WEXITSTATUS(status));
	fputs("hg-vmm: the VM died while it was started\n", stderr);
	_exit(ERROR_MACHINE);
}

static _Noreturn void end_like(int status)
{
	const struct rlimit no_core = {0, 0};
	sigset_t all;

	if (WIFEXITED(status))
		_exit(WEXITSTATUS(status));
	setrlimit(RLIMIT_CORE, &no_core);
	signal(WTERMSIG(status), SIG_DFL);
	sigfillset(&all);
	sigprocmask(SIG_UNBLOCK, &all, NULL);
	raise(WTERMSIG(status));
	_exit(128 + WTERMSIG(status));
}

static bool is_stop(int signal)
{
	return signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU;
}

/*
 * The first process of a PID namespace does not stop for a terminal's wish, but for SIGSTOP from
 * outside.  We stop as we were told, so that a shell sees why, and go on together.
 */
static void stop_both(pid_t vmm, int signal)
{
	sigset_t one;

	kill(vmm, SIGSTOP);
	sigemptyset(&one);
	sigaddset(&one, signal);
	raise(signal);
	sigprocmask(SIG_UNBLOCK, &one, NULL); /* here we stop */
	sigprocmask(SIG_BLOCK, &one, NULL);
	kill(vmm, SIGCONT);
}

/* Less than 0: none yet.  Its own footprint has time until the VMM has started. */
static int next_signal(const sigset_t *watched, siginfo_t *info)
{
	const struct timespec start = {.tv_nsec = 50000000};
	static bool settled;
	int signal;

	if (settled)
		return sigwaitinfo(watched, info);
	signal = sigtimedwait(watched, info, &start);
	if (signal < 0) {
		footprint_forget_start();
		settled = true;
	}
	return signal;
}

static _Noreturn void keep(const char *group, pid_t vmm, const sigset_t *watched)
{
	siginfo_t info;
	int status, signal;

	for (;;) {
		signal = next_signal(watched, &info);
		if (signal == SIGCHLD && waitpid(vmm, &status, WNOHANG) == vmm)
			break;
		if (is_stop(signal))
			stop_both(vmm, signal);
		/* What a terminal sends, it has sent to the VMM, too. */
		else if (signal > 0 && signal != SIGCHLD && info.si_code != SI_KERNEL)
			kill(vmm, signal);
	}
	isle_release();
	if (group)
		rmdir(group); /* fails when somebody else is in it: then it is theirs now */
	end_like(status);
}

/* Whoever looks for the VMM by its arguments shall not find its keeper, which has them, too. */
static void hide_arguments(char **argv)
{
	char *end = argv[0];
	size_t i;

	for (i = 0; argv[i]; i++)
		if (argv[i] == end)
			end += strlen(end) + 1;
	memset(argv[0], 0, end - argv[0]);
	snprintf(argv[0], end - argv[0], "%s", NAME);
}

static void let_go_of_stdio(void)
{
	int fd, null = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (fd = 0; null >= 0 && fd < 3; fd++)
		dup2(null, fd);
}

static void fork_from_keeper(const struct vm_config *cfg, char **argv, int ready_fd)
{
	char *group = cgroup_path(cfg), name[16];
	sigset_t watched, before;
	pid_t vmm;

	sigemptyset(&watched);
	sigaddset(&watched, SIGCHLD);
	sigaddset(&watched, SIGINT);
	sigaddset(&watched, SIGTERM);
	sigaddset(&watched, SIGHUP);
	sigaddset(&watched, SIGQUIT);
	sigaddset(&watched, SIGTSTP);
	sigaddset(&watched, SIGTTIN);
	sigaddset(&watched, SIGTTOU);
	sigprocmask(SIG_BLOCK, &watched, &before);
	keeper_fd = syscall(SYS_pidfd_open, getpid(), 0);
	if (cfg->sandbox)
		namespaces_before_fork();
	/* Now: from the fork on there may be a cgroup that only the keeper takes away. */
	prctl(PR_GET_NAME, name);
	prctl(PR_SET_NAME, NAME);
	vmm = fork_or_die();
	if (vmm == 0) {
		prctl(PR_SET_NAME, name);
		sigprocmask(SIG_SETMASK, &before, NULL);
		keeper_bind();
		return;
	}
	hide_arguments(argv);
	if (ready_fd >= 0) {
		close(ready_fd);
		let_go_of_stdio();
	}
	keep(group, vmm, &watched);
}

void keeper_bind(void)
{
	struct pollfd keeper = {.fd = keeper_fd, .events = POLLIN};

	if (keeper_fd < 0)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (poll(&keeper, 1, 0) == 1) /* it was too late to be told */
		_exit(ERROR_MACHINE);
}

int keeper_start(const struct vm_config *cfg, char **argv)
{
	bool have_keeper =
		cfg->limits.cgroup || cfg->isle.wanted || (cfg->sandbox && !cfg->daemonize);
	int ready_fd = -1;

	if (cfg->daemonize)
		ready_fd = fork_away(cfg->sandbox && !have_keeper);
	if (have_keeper)
		fork_from_keeper(cfg, argv, ready_fd);
	return ready_fd;
}
