/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots: a VM's state in two files of a folder, `state` (format.h) and `memory` (ram.h).  An
 * increment has a third entry, `base`, a symbolic link to the folder of the snapshot below it.
 *
 * Saving happens with the vCPUs parked and the devices idle; the files come as descriptors
 * from the client, since nothing can be opened inside the sandbox.  Restoring happens before
 * the sandbox; nothing that a state file says opens anything.
 */
#ifndef HG_SNAPSHOT_SNAPSHOT_H
#define HG_SNAPSHOT_SNAPSHOT_H

#include <stdbool.h>
#include <stdint.h>

#include "error.h"
#include "options.h"
#include "snapshot/format.h"

struct cpuid_table;
struct guest_memory;
struct snapshot;
struct vcpu;
struct vm;
struct vm_config;

/*
 * Opens and checks a snapshot and those below it; `verify` is for when RAM is mapped.  NULL and *e
 * (ERROR_USER: damaged, not one, of another version).
 */
struct snapshot *snapshot_open(const char *dir, enum verify verify, struct error *e);

uint64_t snapshot_memory(const struct snapshot *s); /* bytes of RAM */

/* The i-th option that the guest depends on; false past the last. */
bool snapshot_option(const struct snapshot *s, unsigned int i, const char **name,
		     const char **value);

/* A section of its state file; false: there is none. */
bool snapshot_section(const struct snapshot *s, enum snap_kind kind, struct snap_in *in);

/* RAM becomes the snapshot's. */
int snapshot_map(const struct snapshot *s, struct guest_memory *m, struct error *e);

/* Gives a new vCPU the snapshot's CPUID table; host: what this host and command line come to. */
int snapshot_set_cpuid(const struct snapshot *s, struct vcpu *v, const struct cpuid_table *host,
		       struct error *e);

/* The rest, into the machine that was just built. */
int snapshot_load(const struct snapshot *s, struct vm *vm, struct error *e);

struct snapshot_request {
	int state_fd, memory_fd; /* empty regular files, open for writing */
	const uint8_t *base;	 /* NULL: all of RAM; else what changed since this snapshot */
	bool track;		 /* note what changes from here on, for an increment */
};

struct snapshot_result {
	uint8_t id[SNAP_ID];
	uint64_t written; /* bytes in the memory file that are not holes */
};

/*
 * Saves the VM, which is paused meanwhile and goes on (if it ran) afterwards; under the lock, in
 * the event loop.  Durability is the client's: it has the files.  0, or -1 and *e; then the
 * files hold nothing that could be taken for a snapshot.
 */
int snapshot_save(struct vm *vm, const struct snapshot_request *r, struct snapshot_result *result,
		  struct error *e);

/* The VM's RAM is about to become another (a reset): increments have nothing to build on. */
void snapshot_forget(struct vm *vm);

/* client.c: what `hg-vmm --save DIR` does, speaking to a running VM's control socket. */
int snapshot_client(const struct vm_config *cfg, struct error *e);

#endif
