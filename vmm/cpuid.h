/* SPDX-License-Identifier: Apache-2.0 */
/* What the guest sees with CPUID: all that KVM supports, with this machine's topology. */
#ifndef HG_CPUID_H
#define HG_CPUID_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#define CPUID_MAX 256

struct cpuid_table { /* struct kvm_cpuid2 with its room */
	struct kvm_cpuid2 head;
	struct kvm_cpuid_entry2 entries[CPUID_MAX];
};

struct cpuid_machine {
	unsigned int cpus; /* one package, one thread a core, APIC IDs from 0 */
	uint32_t tsc_khz;  /* 0: not known */
	bool tsc_deadline; /* KVM's local APIC has the mode */
	/*
	 * The CPU lets a guest write XCR0 without KVM seeing it (cpuid_host_hides_xsetbv()):
	 * KVM then runs the guest with another XCR0 than it has set, and XSAVE loses registers.
	 */
	bool no_xsave;
};

/*
 * xstate.c.  Makes leaf 0xD agree with itself: a component whose subleaf is missing or does
 * not fit the stated area goes, with every feature that lives in it; sizes are those at reset.
 * A table that adds up stays as it is.  hide: no XSAVE at all.
 */
void cpuid_check_xstate(struct cpuid_table *t, bool hide);

/* Asks the CPU of this process whether it is one on which `no_xsave` has to be set. */
bool cpuid_host_hides_xsetbv(void);

/* Turns what KVM supports into what every vCPU of this machine has in common. */
void cpuid_common(struct cpuid_table *t, const struct cpuid_machine *m);

/* Fills in what differs: the APIC ID. */
void cpuid_for_cpu(struct cpuid_table *t, unsigned int apic_id);

#endif
