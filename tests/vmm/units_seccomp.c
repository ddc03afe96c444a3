// SPDX-License-Identifier: Apache-2.0
/* The seccomp filter does what its table says, call by call, on the kernel that runs the tests. */
#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "jail/rules.h"
#include "jail/seccomp.h"
#include "units.h"

#define LAST_CALL 462
#define PASSED	  7
/* uretprobe() and uprobe(), which newer kernels let through any filter and answer with SIGILL. */
#define PROBES 335

/* Makes one call, with nonsense for arguments but the one that the rule looks at. */
static bool passes(enum thread_class who, long nr, int arg, uint32_t value)
{
	long args[6] = {-1, -1, -1, -1, -1, -1};
	int status = 0;
	pid_t pid;

	if (arg >= 0)
		args[arg] = value;
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || seccomp_enter(who, &err))
			syscall(SYS_exit, 1);
		syscall(nr, args[0], args[1], args[2], args[3], args[4], args[5]);
		for (;;)
			syscall(SYS_exit, PASSED);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
		return false;
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == PASSED);
	return true;
}

/* Those that would not come back, or would come back twice. */
static bool harmful(long nr)
{
	return nr == SYS_exit || nr == SYS_exit_group || nr == SYS_rt_sigreturn || nr == SYS_clone;
}

static void rows_pass_for_their_threads_alone(void)
{
	const struct rule *r;

	for (r = jail_rules; r < jail_rules + jail_nrules; r++) {
		if (harmful(r->nr))
			continue;
		CHECK(passes(r->who == FILES ? LOOP | FILES : LOOP, r->nr, r->arg, r->value));
		if (r->nr == SYS_ioctl)
			CHECK(passes(VCPU, r->nr, r->arg, r->value) == (r->who == VCPU));
	}
	CHECK(passes(VCPU | FILES, SYS_openat2, -1, 0) && !passes(VCPU, SYS_openat2, -1, 0));
	CHECK(passes(VCPU, SYS_futex, -1, 0) && !passes(VCPU, SYS_accept4, -1, 0));
}

static void calls_without_a_row_are_killed(void)
{
	const struct rule *r;
	bool known;
	long nr;

	for (nr = 0; nr <= LAST_CALL; nr++) {
		for (known = false, r = jail_rules; r < jail_rules + jail_nrules; r++)
			known |= r->nr == nr;
		if (!known && nr != PROBES && nr != PROBES + 1)
			CHECK(!passes(LOOP, nr, -1, 0));
	}
	CHECK(!passes(LOOP, SYS_ioctl, 1, 0xdead));
	CHECK(!passes(LOOP, SYS_mmap, 2, 4 /* PROT_EXEC */));
	CHECK(!passes(LOOP, 1 << 30, -1, 0)); /* x32's read() */
}

static const struct unit_test tests[] = {
	TEST(rows_pass_for_their_threads_alone),
	TEST(calls_without_a_row_are_killed),
	{0},
};

int main(int argc, char **argv)
{
	return run_units(argc, argv, tests);
}
