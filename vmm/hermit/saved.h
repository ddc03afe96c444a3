/* SPDX-License-Identifier: Apache-2.0 */
/* What a snapshot holds of a unikernel beside its machine: where it lies, which files it has open.
 */
#ifndef HG_HERMIT_SAVED_H
#define HG_HERMIT_SAVED_H

#include "error.h"

struct hermit;
struct memory_config;
struct snap_out;
struct snapshot;
struct vm;

/* 0, or -1 and *e: it has what cannot be saved. */
int unikernel_can_save(const struct vm *vm, struct error *e);

void unikernel_save(const struct vm *vm, struct snap_out *o);

/*
 * Before RAM is made: places h as in the snapshot, which has to be of this very image.  0, or -1
 * and *e.
 */
int unikernel_place_saved(struct hermit *h, const struct snapshot *s, struct memory_config *memory,
			  struct error *e);

/*
 * The machine is the snapshot's again: opens the guest's files anew, by the names that it used.
 * One that is no longer there is closed to the guest.  0, or -1 and *e.
 */
int unikernel_load_saved(struct vm *vm, const struct snapshot *s, struct error *e);

#endif
