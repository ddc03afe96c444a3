/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cage around a running VM; docs/vmm/safety.md says what it is for.  No file can be
 * opened, no program run, no socket made from inside it; any system call that rules.c does
 * not list kills the process.
 */
#ifndef HG_JAIL_H
#define HG_JAIL_H

#include <stdbool.h>
#include <sys/types.h>

#include "error.h"
#include "options.h"

/*
 * Call first, with one thread.  Returns in the process that becomes the VMM, which may be a
 * child of the caller's: then its end and exit status become the caller's.  With --daemonize
 * *ready_fd is where one byte says that the VM runs, else -1.  argv is main()'s.  0, or -1
 * and *e.
 */
int jail_start(const struct vm_config *cfg, char **argv, int *ready_fd, struct error *e);

/* A folder of the host that the guest reaches by hypercalls: an open descriptor. */
struct jail_folder {
	int fd;
	bool read_only;
};

/*
 * Call when all is opened, with one thread; those made later inherit it.  The working
 * directory becomes cfg->run_dir, also without a sandbox.  folders NULL: the guest is none
 * that reaches files.  0, or -1 and *e.
 */
int jail_enter(const struct vm_config *cfg, const struct jail_folder *folders, unsigned int count,
	       struct error *e);

/* First thing in a vCPU's thread: what only the loop may do is closed to it.  0, or -1 and *e. */
int jail_vcpu(struct error *e);

/* Says in the log which layers of the jail this system refused, if any. */
void jail_report(void);

/* This process, as the rest of the host counts. */
pid_t jail_host_pid(void);

#endif
