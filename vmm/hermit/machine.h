/* SPDX-License-Identifier: Apache-2.0 */
/* What vm.c, machine.c and vcpu.c ask of a VM whose guest is a unikernel (vm->hermit not NULL). */
#ifndef HG_HERMIT_MACHINE_H
#define HG_HERMIT_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#include "error.h"

struct memory_config;
struct snap_in;
struct snap_out;
struct vcpu;
struct vm;

/*
 * Looks at the opened kernel file.  When it is a unikernel, vm->hermit is made and *memory is
 * told where RAM has to begin.  0, or -1 and *e.
 */
int unikernel_open(struct vm *vm, struct memory_config *memory, struct error *e);

/* Opens the network that was asked for.  0, or -1 and *e. */
int unikernel_open_network(struct vm *vm, struct error *e);

/* For a new KVM VM: its notifications and interrupts.  0, or -1 and *e. */
int unikernel_connect_network(struct vm *vm, struct error *e);

/* For snapshots, beside the devices' own state.  0, or -1: damaged. */
void unikernel_save_network(const struct vm *vm, struct snap_out *o);
int unikernel_load_network(struct vm *vm, struct snap_in *in);

/* The network is as after power on. */
void unikernel_reset_network(struct vm *vm);

/* Loads it and sets the first registers of every vCPU, which exist by now. */
int unikernel_load(struct vm *vm, struct error *e);

/* Of one not yet released: waits until the guest wants it to run; false: it is wanted elsewhere. */
bool unikernel_may_run(struct vcpu *v);

/* An OUT of the guest's.  False: no hypercall. */
bool unikernel_out(struct vcpu *v, uint16_t port, uint32_t value);

/* What a hypercall needs comes with each exit, instead of by a call of its own. */
void unikernel_sync_registers(struct vm *vm);

/* Its input and output go through vm->console instead of our own standard streams. */
void unikernel_use_console(struct vm *vm);

/* --stats: what it took, to stderr; when its vCPUs have ended. */
void unikernel_report(const struct vm *vm);

/* What its calls may lead to; NULL: it is no unikernel. */
struct files;
const struct files *unikernel_files(const struct vm *vm);

void unikernel_destroy(struct vm *vm);

#endif
