/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's state to and from the sections of a state file: vCPUs, interrupt controllers,
 * clocks, devices.  Saving happens under the VM's lock, all vCPUs parked; loading into a machine
 * that was just built and has not run.  0, or -1 and *e; a text about the file has the form "is
 * damaged", for the caller to say which file.
 */
#ifndef HG_SNAPSHOT_STATE_H
#define HG_SNAPSHOT_STATE_H

#include "cpuid.h"
#include "snapshot/format.h"
#include "vm.h"

/* vcpu_state.c */
int state_save_vcpu(struct vcpu *v, struct snap_out *o, struct error *e);
int state_load_vcpu(struct vcpu *v, const uint8_t *file, struct error *e);
int state_load_deadline(struct vcpu *v, const uint8_t *file, struct error *e);
/* Gives the vCPU the snapshot's CPUID table if `host`, this host's, has all that is in it. */
int state_load_cpuid(struct vcpu *v, const uint8_t *file, const struct cpuid_table *host,
		     struct error *e);
uint64_t state_get_msr(const struct vcpu *v, uint32_t index); /* 0 when there is none */

/* cpuid_check.c: whether a guest that saw `saved` can go on where `host` is what KVM has. */
int state_check_cpuid(const struct cpuid_table *saved, const struct cpuid_table *host,
		      struct error *e);

/* clock.c: TSCs, kvmclock and the wall clock; after the vCPUs. */
int state_save_clock(struct vm *vm, struct snap_out *o, struct error *e);
int state_load_clock(struct vm *vm, const uint8_t *file, struct error *e);

/* machine_state.c: interrupt controllers, UART. */
int state_save_machine(struct vm *vm, struct snap_out *o, struct error *e);
int state_load_machine(struct vm *vm, const uint8_t *file, struct error *e);

/* devices.c: virtio. */
int state_can_save_devices(const struct vm *vm, struct error *e);
void state_quiesce_devices(struct vm *vm);
void state_resume_devices(struct vm *vm);
void state_save_devices(const struct vm *vm, struct snap_out *o);
int state_load_devices(struct vm *vm, const uint8_t *file, struct error *e);

#endif
