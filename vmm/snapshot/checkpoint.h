/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checkpoints of a unikernel that was started like a program (hermit-caves' HERMIT_CHECKPOINT):
 * snapshots in the folder `checkpoint` of where it was started, numbered from 0.  They are made by
 * a process beside the VM's, outside of its jail, over its control socket.  Who starts the same
 * unikernel there again goes on from the last whole one; a run that ends with status 0 removes
 * them all.
 */
#ifndef HG_SNAPSHOT_CHECKPOINT_H
#define HG_SNAPSHOT_CHECKPOINT_H

#include <stdbool.h>

#include "error.h"

#define CHECKPOINT_FOLDER      "checkpoint"
#define CHECKPOINT_CONTROL     CHECKPOINT_FOLDER "/control.sock" /* unless another is given */
#define CHECKPOINT_MAX_SECONDS 86400

struct vm_config;

/* When all options are known: makes the VM one that is restored, if there is what it can be from.
 */
int checkpoint_complete(struct vm_config *cfg, struct error *e);

/*
 * Starts the process that makes them, if any are wanted or there; *fd is what checkpoint_end()
 * wants, or -1.  Call while there is one thread and little memory.  0, or -1 and *e.
 */
int checkpoint_start(const struct vm_config *cfg, int *fd, struct error *e);

/* The VM has ended; finished: there is nothing to go on from.  Waits for that process's end. */
void checkpoint_end(int fd, bool finished);

#endif
