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
};

/* Turns what KVM supports into what every vCPU of this machine has in common. */
void cpuid_common(struct cpuid_table *t, const struct cpuid_machine *m);

/* Fills in what differs: the APIC ID. */
void cpuid_for_cpu(struct cpuid_table *t, unsigned int apic_id);

#endif
