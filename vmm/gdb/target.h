/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a debugger does to a vCPU, behind a table of functions so that tests need no KVM.  All
 * of it is called with the VM's lock held; the vCPU is parked, or the caller is its thread.
 */
#ifndef HG_GDB_TARGET_H
#define HG_GDB_TARGET_H

#include <stdbool.h>
#include <stdint.h>

#include "gdb/registers.h"

struct vm;
struct vcpu;

#define DEBUG_REGISTERS 4 /* Intel SDM volume 3, 18.2 */

/* Bits of DR6: which register hit, and that a single step ended. */
#define DR6_HITS 0xfu
#define DR6_STEP 0x4000u

enum debug_inject { INJECT_NONE, INJECT_BREAKPOINT, INJECT_DEBUG };

/* What KVM_SET_GUEST_DEBUG is to arm. */
struct debug_control {
	bool on;      /* int3 in the guest makes it exit */
	bool step;    /* ... and so does each instruction */
	uint64_t dr7; /* 0: the guest keeps its debug registers for itself */
	uint64_t address[DEBUG_REGISTERS];
	enum debug_inject inject; /* an exception for the guest, which was the guest's own */
	uint64_t dr6;		  /* ... of INJECT_DEBUG: what the guest finds in DR6 */
};

struct target_ops {
	int (*get_registers)(struct vcpu *v, struct gdb_registers *r);
	int (*set_registers)(struct vcpu *v, const struct gdb_registers *r);
	/* Through the vCPU's page tables.  -1: not mapped. */
	int (*translate)(struct vcpu *v, uint64_t address, uint64_t *gpa);
	int (*arm)(struct vcpu *v, const struct debug_control *c);
	const char *(*state)(struct vcpu *v); /* for people */
};

extern const struct target_ops kvm_target;

/*
 * Copies guest memory at virtual addresses; of a range that is mapped in part, the first part.
 * Returns the bytes copied.
 */
uint64_t target_read(const struct target_ops *ops, struct vcpu *v, uint64_t at, void *to,
		     uint64_t len);
uint64_t target_write(const struct target_ops *ops, struct vcpu *v, uint64_t at, const void *from,
		      uint64_t len);

/* As ops->translate, and -1 for what is not RAM. */
int target_ram(const struct target_ops *ops, struct vcpu *v, uint64_t address, uint64_t *gpa);

/*
 * image.c: where an address of an ELF kernel lies, by its program headers.  For the time before
 * the kernel has page tables of its own, and while it runs on those of a process that leave
 * the kernel out.  -1: not an address of the kernel, or not an ELF file.
 */
struct boot_file;
int image_translate(const struct boot_file *kernel, uint64_t address, uint64_t *gpa);

#endif
