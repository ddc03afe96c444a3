// SPDX-License-Identifier: Apache-2.0
#include "cpuid.h"

#include <cpuid.h>
#include <string.h>

#define LEAF_TOPOLOGY	     0xb
#define LEAF_TOPOLOGY_V2     0x1f
#define LEAF_KVM	     0x40000000
#define LEAF_HV_TIMING	     0x40000010
#define LEAF_AMD_TOPOLOGY    0x8000001e
#define LEAF_AMD_TOPOLOGY_V2 0x80000026

#define APIC_BUS_KHZ 1000000 /* KVM's local APIC timer counts nanoseconds */

#define BITS(value, high, low) ((uint32_t)(value) << (low) & (0xffffffffu >> (31 - (high))))

/* Bits of an APIC ID that number the cores of the package. */
static unsigned int core_bits(unsigned int cpus)
{
	return cpus > 1 ? 32 - __builtin_clz(cpus - 1) : 0;
}

static void drop_leaf(struct cpuid_table *t, uint32_t function)
{
	unsigned int i, kept = 0;

	for (i = 0; i < t->head.nent; i++)
		if (t->entries[i].function != function)
			t->entries[kept++] = t->entries[i];
	t->head.nent = kept;
}

static struct kvm_cpuid_entry2 *add(struct cpuid_table *t, uint32_t function, uint32_t index,
				    bool indexed)
{
	struct kvm_cpuid_entry2 *e;

	if (t->head.nent == CPUID_MAX)
		return NULL;
	e = &t->entries[t->head.nent++];
	memset(e, 0, sizeof(*e));
	e->function = function;
	e->index = index;
	e->flags = indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0;
	return e;
}

/* Cores of one package; what shares a cache with whom. Leaf 4 and 0x8000001d are alike. */
static void set_cache(struct kvm_cpuid_entry2 *e, unsigned int cpus, bool intel)
{
	unsigned int level = e->eax >> 5 & 7;

	if (!(e->eax & 0x1f))
		return;
	e->eax &= intel ? 0x3fff : 0xfc003fff;
	if (level >= 3)
		e->eax |= BITS(cpus - 1, 25, 14);
	if (intel)
		e->eax |= BITS((1u << core_bits(cpus)) - 1, 31, 26);
}

static void edit(struct kvm_cpuid_entry2 *e, const struct cpuid_machine *m, bool amd)
{
	switch (e->function) {
	case 1:
		e->ebx = (e->ebx & 0xff00) | BITS(m->cpus, 23, 16);
		e->ecx |= 1u << 31; /* under a hypervisor */
		e->ecx |= 1u << 21; /* x2APIC: KVM's always can */
		e->ecx |= m->tsc_deadline ? 1u << 24 : 0;
		e->edx &= ~(1u << 28);
		e->edx |= m->cpus > 1 ? 1u << 28 : 0; /* EBX[23:16] is valid */
		break;
	case 4:
		set_cache(e, m->cpus, true);
		break;
	case 6:
		e->eax |= 1u << 2; /* ARAT: the APIC timer never stops, no other one is needed */
		break;
	case LEAF_KVM:
		if (m->tsc_khz && e->eax < LEAF_HV_TIMING)
			e->eax = LEAF_HV_TIMING;
		break;
	case 0x80000001:
		e->ecx &= ~(1u << 1 | (amd ? 0 : 1u << 22));
		e->ecx |= amd && m->cpus > 1 ? 1u << 1 : 0; /* CmpLegacy: cores, not threads */
		e->ecx |= amd ? 1u << 22 : 0;		    /* topology extensions: 1d, 1e */
		break;
	case 0x80000008:
		e->ecx = amd ? (m->cpus - 1) | core_bits(m->cpus) << 12 : 0;
		break;
	case 0x8000001d:
		set_cache(e, m->cpus, false);
		break;
	case LEAF_AMD_TOPOLOGY:
		e->ebx = 0; /* [15:8]: one thread a core */
		e->ecx = 0; /* one node */
		e->edx = 0;
		break;
	}
}

static void add_topology(struct cpuid_table *t, unsigned int cpus)
{
	struct kvm_cpuid_entry2 *e;

	e = add(t, LEAF_TOPOLOGY, 0, true);
	if (e) {
		e->ebx = 1;
		e->ecx = 1 << 8; /* SMT level: no bits */
	}
	e = add(t, LEAF_TOPOLOGY, 1, true);
	if (e) {
		e->eax = core_bits(cpus);
		e->ebx = cpus;
		e->ecx = 2 << 8 | 1; /* core level */
	}
	e = add(t, LEAF_TOPOLOGY, 2, true);
	if (e)
		e->ecx = 2; /* the end */
}

void cpuid_common(struct cpuid_table *t, const struct cpuid_machine *m)
{
	struct kvm_cpuid_entry2 *e;
	bool amd = false, has_1e = false;
	unsigned int i;

	/* Two sources of topology are one too many: Linux prefers these, nobody needs them. */
	drop_leaf(t, LEAF_TOPOLOGY);
	drop_leaf(t, LEAF_TOPOLOGY_V2);
	drop_leaf(t, LEAF_AMD_TOPOLOGY_V2);
	drop_leaf(t, LEAF_HV_TIMING);
	for (i = 0; i < t->head.nent; i++) {
		e = &t->entries[i];
		if (e->function == 0) /* "AuthenticAMD", "HygonGenuine" */
			amd = e->ebx == 0x68747541 || e->ebx == 0x6f677948;
		if (e->function == 0 && e->eax < LEAF_TOPOLOGY)
			e->eax = LEAF_TOPOLOGY;
	}
	for (i = 0; i < t->head.nent; i++) {
		has_1e |= t->entries[i].function == LEAF_AMD_TOPOLOGY;
		if (amd && t->entries[i].function == 0x80000000 &&
		    t->entries[i].eax < LEAF_AMD_TOPOLOGY)
			t->entries[i].eax = LEAF_AMD_TOPOLOGY;
		edit(&t->entries[i], m, amd);
	}
	cpuid_check_xstate(t, m->no_xsave);
	add_topology(t, m->cpus);
	if (amd && !has_1e)
		add(t, LEAF_AMD_TOPOLOGY, 0, false);
	e = m->tsc_khz ? add(t, LEAF_HV_TIMING, 0, false) : NULL;
	if (e) {
		e->eax = m->tsc_khz;
		e->ebx = APIC_BUS_KHZ;
	}
}

/*
 * QEMU's TCG emulates SVM without the intercept of XSETBV (seen in 7.2): after a guest has set
 * XCR0, KVM still believes 1, tells 0x240 as the area's size and puts 1 back at the next entry.
 */
bool cpuid_host_hides_xsetbv(void)
{
	uint32_t eax, ebx, ecx, edx;
	char name[12];

	__cpuid(1, eax, ebx, ecx, edx);
	if (!(ecx >> 31))
		return false; /* no hypervisor: the leaf below is not defined */
	__cpuid(LEAF_KVM, eax, ebx, ecx, edx);
	memcpy(name, &ebx, 4);
	memcpy(name + 4, &ecx, 4);
	memcpy(name + 8, &edx, 4);
	return !memcmp(name, "TCGTCGTCGTCG", 12);
}

void cpuid_for_cpu(struct cpuid_table *t, unsigned int apic_id)
{
	struct kvm_cpuid_entry2 *e;

	for (e = t->entries; e < t->entries + t->head.nent; e++) {
		if (e->function == 1)
			e->ebx = (e->ebx & 0xffffff) | BITS(apic_id, 31, 24);
		else if (e->function == LEAF_TOPOLOGY)
			e->edx = apic_id;
		else if (e->function == LEAF_AMD_TOPOLOGY) {
			e->eax = apic_id;
			e->ebx = (e->ebx & ~0xffu) | (apic_id & 0xff);
		}
	}
}
