/* SPDX-License-Identifier: Apache-2.0 */
/* What the guest sees with CPUID: what KVM supports, or a model's part of it, as this machine. */
#ifndef HG_CPUID_H
#define HG_CPUID_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#include "error.h"
#include "options.h"
#include "topology.h"

#define CPUID_MAX   256
#define CPUID_USUAL 100 /* entries that most CPUs stay below; a page of them */

struct cpuid_table { /* struct kvm_cpuid2 with its room */
	struct kvm_cpuid2 head;
	struct kvm_cpuid_entry2 entries[CPUID_MAX];
};

struct cpuid_machine {
	struct cpu_topology topology;
	enum cpu_model model;
	uint32_t tsc_khz;  /* 0: not known */
	bool tsc_deadline; /* KVM's local APIC has the mode */
	bool undisturbed;  /* each vCPU has a CPU that nobody else uses */
	/*
	 * The CPU lets a guest write XCR0 without KVM seeing it (cpuid_host_is_tcg()):
	 * KVM then runs the guest with another XCR0 than it has set, and XSAVE loses registers.
	 */
	bool no_xsave;
};

enum cpuid_register { EAX, EBX, ECX, EDX };

/* The entry of a leaf (index 0 also where it has no subleaves), or NULL; one register of it. */
struct kvm_cpuid_entry2 *cpuid_find(struct cpuid_table *t, uint32_t function, uint32_t index);
uint32_t *cpuid_register(struct kvm_cpuid_entry2 *e, enum cpuid_register reg);

/*
 * cpumodel.c.  Takes from t what is not in the model.  -1 and *e when the model has a feature
 * that t, which is what KVM supports, has not.
 */
int cpuid_apply_model(struct cpuid_table *t, const struct cpuid_machine *m, struct error *e);

/*
 * xstate.c.  Makes leaf 0xD agree with itself: a component whose subleaf is missing or does
 * not fit the stated area goes, with every feature that lives in it; sizes are those at reset.
 * A table that adds up stays as it is.  hide: no XSAVE at all.
 */
void cpuid_check_xstate(struct cpuid_table *t, bool hide);

/* Asks the CPU of this process: `no_xsave` has to be set, breakpoints are made another way. */
bool cpuid_host_is_tcg(void);

/* Turns what KVM supports into what every vCPU of this machine has in common.  0, or -1 and *e. */
int cpuid_common(struct cpuid_table *t, const struct cpuid_machine *m, struct error *e);

/* Fills in what differs: the APIC ID. */
void cpuid_for_cpu(struct cpuid_table *t, const struct cpu_topology *topology, unsigned int cpu);

#endif
