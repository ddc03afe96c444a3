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

/*
 * Makes the run directory the working directory, where the rest looks for it: inside the jail
 * its path means nothing any more.  Call when all other paths have been used.  0, or -1 and *e.
 */
int outcome_enter_folder(struct error *e);

/* message may be NULL. */
void outcome_write(const char *reason, const char *message);

/* No outcome after all: the VM never started. */
void outcome_discard(void);

#endif
