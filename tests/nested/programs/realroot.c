// SPDX-License-Identifier: Apache-2.0
/*
 * realroot PROGRAM [argument]...: runs a program whose root is a mount.  An initramfs is none:
 * pivot_root(2) refuses to leave it, and a plain chroot may not make user namespaces.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	if (unshare(CLONE_NEWNS) || mount("/", "/run/realroot", NULL, MS_BIND | MS_REC, NULL) ||
	    chdir("/run/realroot") || mount(".", "/", NULL, MS_MOVE, NULL) || chroot(".") ||
	    chdir("/")) {
		perror("realroot");
		return 1;
	}
	execv(argv[1], argv + 1);
	perror(argv[1]);
	return 1;
}
