// SPDX-License-Identifier: Apache-2.0
/*
 * The control group of an isle: an isolated cpuset partition, which takes its CPUs out of the
 * scheduler's domains and from the unbound workqueues (cgroup-v2.rst, cpuset.cpus.partition).
 * It is a threaded group: the vCPUs' threads alone are in it.  The process they belong to has to
 * be in the group above it, which is the root.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "isle/parts.h"

#define ROOT	     "/sys/fs/cgroup"
#define GROUP_PATH   96
#define REMOVE_TRIES 200 /* of 10 ms: threads of a killed process leave one after another */

static void path_of(char path[GROUP_PATH], unsigned int number, const char *file)
{
	snprintf(path, GROUP_PATH, ROOT "/isle-%u%s%s", number, file ? "/" : "", file ? file : "");
}

static int put(unsigned int number, const char *file, const char *text)
{
	char path[GROUP_PATH];

	path_of(path, number, file);
	return isle_write(path, text);
}

/* "isolated", or "isolated invalid (reason)". */
static int check(unsigned int number, struct error *e)
{
	char path[GROUP_PATH], state[128];

	path_of(path, number, "cpuset.cpus.partition");
	if (isle_read(path, state, sizeof(state)))
		strcpy(state, strerror(errno));
	if (!strcmp(state, "isolated"))
		return 0;
	return error_set(e, ERROR_MACHINE, "isle %u: the kernel does not isolate its CPUs: %s",
			 number, state);
}

int partition_make(unsigned int number, const char *cpus, struct error *e)
{
	char path[GROUP_PATH];

	if (access(ROOT "/cgroup.controllers", F_OK))
		return error_set(e, ERROR_MACHINE, "isle %u: no cgroup v2 is mounted at " ROOT,
				 number);
	if (isle_write(ROOT "/cgroup.subtree_control", "+cpuset"))
		return error_set(e, ERROR_MACHINE, "isle %u: the cpuset controller: %s", number,
				 strerror(errno));
	path_of(path, number, NULL);
	if (mkdir(path, 0755) && errno != EEXIST)
		return error_set(e, ERROR_MACHINE, "%s: %s", path, strerror(errno));
	if (put(number, "cgroup.type", "threaded") || put(number, "cpuset.cpus", cpus) ||
	    put(number, "cpuset.cpus.partition", "isolated"))
		return error_set(e, ERROR_MACHINE, "%s: %s", path, strerror(errno));
	return check(number, e);
}

void partition_remove(unsigned int number)
{
	const struct timespec pause = {.tv_nsec = 10000000};
	unsigned int tries = REMOVE_TRIES;
	char path[GROUP_PATH];

	path_of(path, number, NULL);
	while (rmdir(path) && errno == EBUSY && tries--)
		nanosleep(&pause, NULL);
}

int partition_open(unsigned int number)
{
	char path[GROUP_PATH];

	/* Threads can only leave for a group below the process's own. */
	if (isle_write(ROOT "/cgroup.procs", "0"))
		return -1;
	path_of(path, number, "cgroup.threads");
	return open(path, O_WRONLY | O_CLOEXEC);
}
