/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exit.json in the run directory: why the process ended.  It appears whole or not at all;
 * a process that was killed leaves none.
 */
#ifndef HG_OUTCOME_H
#define HG_OUTCOME_H

#include "error.h"

/* Takes an old file away and opens the new one; run_dir NULL: nothing is written. */
int outcome_prepare(const char *run_dir, struct error *e);

/* The run directory is the working directory now; inside the jail its path means nothing. */
void outcome_folder_entered(void);

/* message may be NULL. */
void outcome_write(const char *reason, const char *message);

/* No outcome after all: the VM never started. */
void outcome_discard(void);

#endif
