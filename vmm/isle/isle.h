/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Isles: a VM on CPUs of its own.  Its vCPUs' threads run there and nothing else does: the CPUs
 * are an isolated cpuset partition (Documentation/admin-guide/cgroup-v2.rst, cpuset), and the
 * interrupts that can be moved are elsewhere.  The VMM's other threads stay with the host.
 *
 *   cpus.c       sets of CPUs as text      partition.c  the control group
 *   irqs.c       interrupts                bridge.c     the network of all isles
 *   isle.c       the folder RUN/isle/N, who owns it, and what comes back when nobody does
 *
 * RUN is $HYPERGEN_RUN, or /run/hypergen.  RUN/isle/N holds `path` (of the image), `cpus` (a list)
 * and the link `log`; `cpus` is locked (flock) for as long as a process of the VM lives.
 */
#ifndef HG_ISLE_ISLE_H
#define HG_ISLE_ISLE_H

#include "error.h"
#include "options.h"

/*
 * Takes the CPUs that cfg->affinity names, one a vCPU; first gives back those of isles whose
 * processes are gone.  What is claimed lasts until isle_release() or the sweep of a later claim.
 * Before the VM's processes are made, so that all hold the lock.  0, or -1 and *e.
 */
int isle_claim(const struct vm_config *cfg, struct error *e);

/* Gives back what isle_claim() took, once the VM is gone; nothing if it took nothing. */
void isle_release(void);

/* In the VMM, before the jail: what isle_enter() needs.  0, or -1 and *e. */
int isle_open(const struct vm_config *cfg, struct error *e);

/* In a vCPU's thread, before it has its filter: moves it to `cpu`.  0, or an errno. */
int isle_enter(unsigned int cpu);

/* Gives back the CPUs of all isles whose processes are gone.  0, or -1 and *e. */
int isle_sweep(struct error *e);

/* The folder of an isle, or of all with number -1. */
#define ISLE_PATH 512
void isle_path(char path[ISLE_PATH], int number);

#endif
