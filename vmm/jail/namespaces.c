// SPDX-License-Identifier: Apache-2.0
/*
 * Namespaces (namespaces(7)) and the file system of the VMM.  Everything that belongs to the
 * host's was opened before: a descriptor of a tap or of a file works from anywhere.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "jail/layers.h"

static const struct {
	int flag;
	const char *name;
} kinds[] = {
	{CLONE_NEWIPC, "an IPC namespace"},
	{CLONE_NEWUTS, "a UTS namespace"},
	{CLONE_NEWCGROUP, "a cgroup namespace"},
	{CLONE_NEWNS, "a mount namespace"},
};

#define MOUNT_FLAGS (MS_NOSUID | MS_NODEV | MS_NOEXEC)

/*
 * The empty network namespace that hyper-gen's PID 1 keeps for all VMs (initramfs/init.c): to make
 * one of their own takes as long as all else here.  It is root's, in a folder that is root's; who
 * may not enter it, or finds none, makes one.
 */
#define NO_NETWORK "/run/hypergen/no-network"

static void leave_network(void)
{
	int fd = open(NO_NETWORK, O_RDONLY | O_CLOEXEC);
	bool left = fd >= 0 && setns(fd, CLONE_NEWNET) == 0;

	if (fd >= 0)
		close(fd);
	if (!left && unshare(CLONE_NEWNET))
		jail_lacks("a network namespace");
}

/* Whether mounts are ours now.  All at once costs the least; one by one says what is refused. */
static bool leave_namespaces(void)
{
	bool mounts = false;
	int all = 0;
	size_t i;

	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		all |= kinds[i].flag;
	if (unshare(all) == 0)
		return true;
	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		mounts = unshare(kinds[i].flag) == 0;
		if (!mounts)
			jail_lacks(kinds[i].name);
	}
	return mounts; /* the last of them */
}

/* Who has no power over namespaces gets it inside a user namespace, where it means nothing. */
static bool needs_user_namespace(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct has[_LINUX_CAPABILITY_U32S_3] = {0};

	if (syscall(SYS_capget, &head, has))
		return false;
	/* One with some power (to make taps, say) would lose it: that one goes without. */
	return !has[0].effective && !has[1].effective;
}

static int write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));

	if (fd >= 0)
		close(fd);
	return n < 0 ? -1 : 0;
}

/* The user stays who it is, in the namespace and outside (user_namespaces(7)). */
static int enter_user_namespace(void)
{
	unsigned int uid = geteuid(), gid = getegid();
	char map[40];

	if (unshare(CLONE_NEWUSER))
		return -1;
	snprintf(map, sizeof(map), "%u %u 1", uid, uid);
	if (write_text("/proc/self/uid_map", map) || write_text("/proc/self/setgroups", "deny"))
		return -1;
	snprintf(map, sizeof(map), "%u %u 1", gid, gid);
	return write_text("/proc/self/gid_map", map);
}

void namespaces_before_fork(void)
{
	if (needs_user_namespace() && enter_user_namespace())
		jail_lacks("a user namespace");
	if (unshare(CLONE_NEWPID))
		jail_lacks("a PID namespace");
}

/* `home`, or an empty tmpfs, to be the root; it is the working directory then. */
static int mount_root(const char *home)
{
	const char *empty = "/dev"; /* any folder that is there */

	/* What we mount and unmount is nobody else's business. */
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return -1;
	if (!home) {
		if (mount("none", empty, "tmpfs", MOUNT_FLAGS | MS_RDONLY, "nr_inodes=1,mode=555"))
			return -1;
		return chdir(empty);
	}
	if (mount(home, home, NULL, MS_BIND, NULL) || chdir(home))
		return -1;
	return mount(NULL, home, NULL, MS_REMOUNT | MS_BIND | MOUNT_FLAGS, NULL);
}

/*
 * pivot_root(2), NOTES: the old root is stacked on the new one, and then taken off.  A root
 * that is the initramfs cannot be exchanged, only covered (the same page, EINVAL): nothing
 * leads below what covers it, without the power to chroot() once more.
 */
static int change_root(void)
{
	if (syscall(SYS_pivot_root, ".", ".") == 0) {
		if (umount2(".", MNT_DETACH))
			return -1;
	} else if (errno != EINVAL || mount(".", "/", NULL, MS_MOVE, NULL) || chroot(".")) {
		return -1;
	}
	return chdir("/");
}

int namespaces_enter(const char *run_dir, struct error *e)
{
	char home[PATH_MAX]; /* a relative path would go on to name what the mount covers */
	bool mounts;

	if (run_dir && !realpath(run_dir, home))
		return error_set(e, ERROR_MACHINE, "%s: %s", run_dir, strerror(errno));
	leave_network();
	mounts = leave_namespaces();
	if (mounts && mount_root(run_dir ? home : NULL) == 0 && change_root() == 0)
		return 0;
	if (mounts)
		jail_lacks("a file system of its own");
	if (run_dir && chdir(home))
		return error_set(e, ERROR_MACHINE, "%s: %s", run_dir, strerror(errno));
	if (run_dir && chroot("."))
		jail_lacks("a root of its own");
	return 0;
}
