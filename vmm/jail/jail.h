/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cage around a running VM; docs/vmm/safety.md says what it is for.  No file can be
 * opened, no program run, no socket made from inside it; any system call that rules.c does
 * not list kills the process.
 */
#ifndef HG_JAIL_H
#define HG_JAIL_H

#include "error.h"

/* Call while there is one thread; the ones made later inherit it.  run_dir NULL: none.  0, or -1
 * and *e. */
int jail_enter(const char *run_dir, struct error *e);

/* First thing in a vCPU's thread: what only the loop may do is closed to it.  0, or -1 and *e. */
int jail_vcpu(struct error *e);

#endif
