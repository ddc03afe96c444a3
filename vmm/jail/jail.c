// SPDX-License-Identifier: Apache-2.0
#include "jail/jail.h"

#include <errno.h>
#include <linux/capability.h>
#include <string.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "jail/seccomp.h"

static bool jailed;

/* The kernel's limits for a process that runs as root on a host: none of it is needed now. */
static int drop_capabilities(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};

	return syscall(SYS_capset, &head, none);
}

/*
 * One path is still used later: exit.json gets its name, in the folder that is the working
 * directory from here on.  With the right to it, that folder also becomes all there is.
 */
static int enter_folder(const char *dir)
{
	if (dir && chroot(".") && errno != EPERM)
		return -1;
	return 0;
}

int jail_enter(const char *run_dir, struct error *e)
{
	if (enter_folder(run_dir))
		return error_set(e, ERROR_MACHINE, "%s: %s", run_dir, strerror(errno));
	if (drop_capabilities())
		return error_set(e, ERROR_MACHINE, "capabilities: %s", strerror(errno));
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return error_set(e, ERROR_MACHINE, "no_new_privs: %s", strerror(errno));
	jailed = true;
	return seccomp_enter(LOOP, e);
}

int jail_vcpu(struct error *e)
{
	return jailed ? seccomp_enter(VCPU, e) : 0;
}
