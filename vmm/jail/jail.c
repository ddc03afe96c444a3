// SPDX-License-Identifier: Apache-2.0
/* Who the VMM is once all is opened, and the order in which its powers go. */
#include "jail/jail.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "isle/isle.h"
#include "jail/layers.h"
#include "jail/seccomp.h"
#include "log.h"

/*
 * A VM started by root gets the uid and gid BASE + its process id, which no other living VM
 * has: systemd's UIDS-GIDS.md lists the range as used by nobody.  PID_MAX_LIMIT is 1 << 22.
 */
#define UID_BASE 0x70000000u
#define UID_END	 (UID_BASE + (1u << 22))

#define LACKS_MAX 400

static bool jailed;
static bool with_files; /* the guest has folders of the host */
static pid_t host_pid;
static char lacks[LACKS_MAX];

void jail_lacks(const char *layer)
{
	size_t n = strlen(lacks);

	snprintf(lacks + n, sizeof(lacks) - n, "%s%s (%s)", n ? ", " : "", layer, strerror(errno));
}

void jail_report(void)
{
	if (lacks[0])
		log_line("jail: this system refuses %s", lacks);
}

pid_t jail_host_pid(void)
{
	return host_pid ? host_pid : getpid();
}

/* /proc is the host's until the jail is entered, and so is the number that it gives. */
static void learn_host_pid(void)
{
	char text[16];
	ssize_t n = readlink("/proc/self", text, sizeof(text) - 1);

	if (n > 0) {
		text[n] = '\0';
		host_pid = atoi(text);
	}
}

int jail_start(const struct vm_config *cfg, char **argv, int *ready_fd, struct error *e)
{
	if (isle_claim(cfg, e))
		return -1;
	*ready_fd = keeper_start(cfg, argv);
	learn_host_pid();
	return isle_open(cfg, e) || cgroup_enter(cfg, e) ? -1 : 0;
}

/*
 * exit.json gets its name in the run directory, so that has to be the VM's own.  A directory
 * that others share, or that is not ours to give, stays as it is.
 */
static void own_folder(uid_t uid)
{
	struct stat st;

	if (stat(".", &st) || (st.st_mode & S_ISVTX) ||
	    (st.st_uid != 0 && (st.st_uid < UID_BASE || st.st_uid >= UID_END))) {
		errno = EPERM;
		jail_lacks("the run directory's ownership");
	} else if (chown(".", uid, (gid_t)-1)) {
		jail_lacks("the run directory's ownership");
	}
}

/* A root that is not the host's (of a user namespace) has nobody else to become. */
static void become_nobody(const struct vm_config *cfg)
{
	uid_t uid = cfg->user.uid ? cfg->user.uid : UID_BASE + (uid_t)jail_host_pid();
	gid_t gid = cfg->user.uid ? cfg->user.gid : uid;

	/* The files of a unikernel are those of the user who started it. */
	if (geteuid() != 0 || (with_files && !cfg->user.uid))
		return;
	if (cfg->run_dir)
		own_folder(uid);
	if (syscall(SYS_setgroups, 0, NULL) || syscall(SYS_setresgid, gid, gid, gid) ||
	    syscall(SYS_setresuid, uid, uid, uid))
		jail_lacks("a user of its own");
}

/* Nothing of root's powers is left, nor a way by which a program could give it back. */
static int drop_capabilities(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};

	return syscall(SYS_capset, &head, none);
}

static void drop_bounding_set(void)
{
	unsigned long cap;

	for (cap = 0; prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0; cap++)
		;
	prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED, 0, 0, 0);
}

static int give_up_powers(const struct vm_config *cfg, struct error *e)
{
	const struct rlimit no_core = {0, 0}; /* a guest's secrets do not belong on a disk */

	setrlimit(RLIMIT_CORE, &no_core);
	drop_bounding_set();
	become_nobody(cfg);
	if (drop_capabilities())
		return error_set(e, ERROR_MACHINE, "capabilities: %s", strerror(errno));
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return error_set(e, ERROR_MACHINE, "no_new_privs: %s", strerror(errno));
	return 0;
}

int jail_enter(const struct vm_config *cfg, const struct jail_folder *folders, unsigned int count,
	       struct error *e)
{
	if (!cfg->sandbox) {
		if (cfg->run_dir && chdir(cfg->run_dir))
			return error_set(e, ERROR_MACHINE, "%s: %s", cfg->run_dir, strerror(errno));
		return 0;
	}
	with_files = folders;
	if (namespaces_enter(cfg->run_dir, e) || give_up_powers(cfg, e))
		return -1;
	keeper_bind(); /* a change of the uid has undone it */
	landlock_enter(folders, count);
	jailed = true;
	return seccomp_enter(with_files ? LOOP | FILES : LOOP, e);
}

int jail_vcpu(struct error *e)
{
	return jailed ? seccomp_enter(with_files ? VCPU | FILES : VCPU, e) : 0;
}
