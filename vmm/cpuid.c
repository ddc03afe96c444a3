// SPDX-License-Identifier: Apache-2.0
/*
 * Topology and time in CPUID, the same in each of the leaves that tell it (Intel SDM vol. 2,
 * CPUID; AMD APM vol. 3, appendix E).
 */
#include "cpuid.h"

#include <cpuid.h>
#include <stdlib.h>
#include <string.h>

#define LEAF_TOPOLOGY	     0xb
#define LEAF_TSC	     0x15
#define LEAF_FREQUENCY	     0x16
#define LEAF_TOPOLOGY_V2     0x1f
#define LEAF_KVM	     0x40000000
#define LEAF_KVM_FEATURES    0x40000001
#define LEAF_HV_TIMING	     0x40000010
#define LEAF_AMD_TOPOLOGY    0x8000001e
#define LEAF_AMD_TOPOLOGY_V2 0x80000026

#define APIC_BUS_KHZ 1000000 /* KVM's local APIC timer counts nanoseconds */

#define BITS(value, high, low) ((uint32_t)(value) << (low) & (0xffffffffu >> (31 - (high))))

enum vendor { OTHER, INTEL, AMD };

struct kvm_cpuid_entry2 *cpuid_find(struct cpuid_table *t, uint32_t function, uint32_t index)
{
	struct kvm_cpuid_entry2 *e;

	for (e = t->entries; e < t->entries + t->head.nent; e++)
		if (e->function == function && e->index == index)
			return e;
	return NULL;
}

uint32_t *cpuid_register(struct kvm_cpuid_entry2 *e, enum cpuid_register reg)
{
	return reg == EAX ? &e->eax : reg == EBX ? &e->ebx : reg == ECX ? &e->ecx : &e->edx;
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

/*
 * Leaf 4 and 0x8000001d are alike: who shares the cache, and with Intel the cores' part of the ID.
 * Both count IDs, not CPUs: Linux groups those of AMD by ID / count, which gaps would upset.
 */
static void set_cache(struct kvm_cpuid_entry2 *e, const struct cpu_topology *t, bool intel)
{
	unsigned int level = e->eax >> 5 & 7, threads = topology_thread_bits(t);
	unsigned int package = topology_package_bits(t);

	if (!(e->eax & 0x1f))
		return;
	e->eax &= intel ? 0x3fff : 0xfc003fff;
	e->eax |= BITS((1u << (level >= 3 ? package : threads)) - 1, 25, 14);
	if (intel)
		e->eax |= BITS((1u << (package - threads)) - 1, 31, 26);
}

static void edit(struct kvm_cpuid_entry2 *e, const struct cpuid_machine *m, enum vendor vendor)
{
	const struct cpu_topology *t = &m->topology;
	unsigned int cpus = t->cores * t->threads; /* of a package */

	switch (e->function) {
	case 1:
		e->ebx = (e->ebx & 0xff00) | BITS(cpus, 23, 16);
		e->ecx |= 1u << 31; /* under a hypervisor */
		e->ecx |= 1u << 21; /* x2APIC: KVM's always can */
		e->ecx |= m->tsc_deadline ? 1u << 24 : 0;
		e->edx &= ~(1u << 28);
		e->edx |= cpus > 1 ? 1u << 28 : 0; /* EBX[23:16] is valid */
		break;
	case 4:
		set_cache(e, t, true);
		break;
	case 6:
		e->eax |= 1u << 2; /* ARAT: the APIC timer never stops, no other one is needed */
		break;
	case LEAF_KVM_FEATURES:
		/* KVM_HINTS_REALTIME: a vCPU that waits may spin, as nobody takes its CPU away. */
		e->edx |= m->undisturbed ? 1u << 0 : 0;
		break;
	case LEAF_KVM:
		if (m->tsc_khz && m->model == CPU_HOST && e->eax < LEAF_HV_TIMING)
			e->eax = LEAF_HV_TIMING;
		break;
	case 0x80000001:
		e->ecx &= ~(1u << 1 | (vendor == AMD ? 0 : 1u << 22));
		e->ecx |= vendor == AMD && cpus > 1 ? 1u << 1 : 0; /* CmpLegacy */
		e->ecx |= vendor == AMD ? 1u << 22 : 0;		   /* topology extensions: 1d, 1e */
		break;
	case 0x80000002: /* the CPU's name, which KVM leaves empty */
	case 0x80000003:
	case 0x80000004:
		if (m->model == CPU_HOST)
			__cpuid(e->function, e->eax, e->ebx, e->ecx, e->edx);
		break;
	case 0x80000008:
		e->ecx = vendor == AMD ? (cpus - 1) | topology_package_bits(t) << 12 : 0;
		break;
	case 0x8000001d:
		set_cache(e, t, false);
		break;
	case LEAF_AMD_TOPOLOGY:
		e->ebx = BITS(t->threads - 1, 15, 8);
		e->ecx = 0; /* one node a package; cpuid_for_cpu() adds its number */
		e->edx = 0;
		break;
	}
}

static void add_topology(struct cpuid_table *t, uint32_t leaf, const struct cpu_topology *topology)
{
	struct kvm_cpuid_entry2 *e;

	e = add(t, leaf, 0, true);
	if (e) {
		e->eax = topology_thread_bits(topology);
		e->ebx = topology->threads;
		e->ecx = 1 << 8; /* SMT level */
	}
	e = add(t, leaf, 1, true);
	if (e) {
		e->eax = topology_package_bits(topology);
		e->ebx = topology->cores * topology->threads;
		e->ecx = 2 << 8 | 1; /* core level */
	}
	e = add(t, leaf, 2, true);
	if (e)
		e->ecx = 2; /* the end */
}

/*
 * The TSC as a fraction of the local APIC timer's clock.  Linux multiplies kHz by the numerator in
 * 32 bits (native_calibrate_tsc()), so that has to stay below 2^32 / APIC_BUS_KHZ.
 */
static void add_tsc_ratio(struct cpuid_table *t, uint32_t tsc_khz)
{
	const uint64_t max = 0xffffffffu / APIC_BUS_KHZ;
	struct kvm_cpuid_entry2 *e = add(t, LEAF_TSC, 0, false);
	uint64_t n, d, off, best_n = 0, best_d = 1, best = UINT64_MAX;

	for (d = 1; e && best; d++) {
		n = (tsc_khz * d + APIC_BUS_KHZ / 2) / APIC_BUS_KHZ;
		if (n > max)
			break;
		off = (uint64_t)llabs((int64_t)(n * APIC_BUS_KHZ) - (int64_t)(tsc_khz * d));
		if (n && (best == UINT64_MAX || off * best_d < best * d)) {
			best = off;
			best_n = n;
			best_d = d;
		}
	}
	if (!e)
		return;
	e->eax = best_n ? (uint32_t)best_d : 0;
	e->ebx = (uint32_t)best_n; /* 0: the ratio is not told */
	e->ecx = APIC_BUS_KHZ * 1000u;
	e = add(t, LEAF_FREQUENCY, 0, false);
	if (e)
		e->eax = e->ebx = tsc_khz / 1000; /* MHz */
}

/* The frequencies, for a guest that would measure them otherwise. */
static void add_timing(struct cpuid_table *t, const struct cpuid_machine *m, enum vendor vendor)
{
	struct kvm_cpuid_entry2 *e, *first = cpuid_find(t, 0, 0);

	if (!m->tsc_khz)
		return;
	e = add(t, LEAF_HV_TIMING, 0, false);
	if (e) {
		e->eax = m->tsc_khz;
		e->ebx = APIC_BUS_KHZ;
	}
	if (vendor != INTEL)
		return;
	if (first->eax < LEAF_FREQUENCY)
		first->eax = LEAF_FREQUENCY;
	add_tsc_ratio(t, m->tsc_khz);
}

static enum vendor vendor_of(const struct kvm_cpuid_entry2 *first)
{
	switch (first->ebx) {
	case 0x756e6547: /* GenuineIntel */
		return INTEL;
	case 0x68747541: /* AuthenticAMD */
	case 0x6f677948: /* HygonGenuine */
		return AMD;
	}
	return OTHER;
}

int cpuid_common(struct cpuid_table *t, const struct cpuid_machine *m, struct error *e)
{
	static const uint32_t ours[] = {LEAF_TOPOLOGY,	LEAF_TOPOLOGY_V2, LEAF_AMD_TOPOLOGY_V2,
					LEAF_HV_TIMING, LEAF_TSC,	  LEAF_FREQUENCY};
	struct kvm_cpuid_entry2 *first = cpuid_find(t, 0, 0), *extended;
	enum vendor vendor;
	unsigned int i;

	if (!first)
		return error_set(e, ERROR_MACHINE, "KVM tells nothing of this CPU");
	vendor = vendor_of(first);
	if (cpuid_apply_model(t, m, e))
		return -1;
	for (i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		drop_leaf(t, ours[i]);
	extended = cpuid_find(t, 0x80000000, 0);
	if (vendor == AMD && !cpuid_find(t, LEAF_AMD_TOPOLOGY, 0))
		add(t, LEAF_AMD_TOPOLOGY, 0, false);
	if (vendor == AMD && extended && extended->eax < LEAF_AMD_TOPOLOGY)
		extended->eax = LEAF_AMD_TOPOLOGY;
	for (i = 0; i < t->head.nent; i++)
		edit(&t->entries[i], m, vendor);
	cpuid_check_xstate(t, m->no_xsave);
	first = cpuid_find(t, 0, 0);
	if (first->eax < LEAF_TOPOLOGY)
		first->eax = LEAF_TOPOLOGY;
	add_topology(t, LEAF_TOPOLOGY, &m->topology);
	if (first->eax >= LEAF_TOPOLOGY_V2) /* Linux asks this one first, where there is one */
		add_topology(t, LEAF_TOPOLOGY_V2, &m->topology);
	if (m->model == CPU_HOST)
		add_timing(t, m, vendor); /* a model's guest may go on where the TSC is another */
	return 0;
}

/*
 * QEMU's TCG emulates SVM without some of its intercepts (seen in 7.2).  Of XSETBV: after a guest
 * has set XCR0, KVM still believes 1, tells 0x240 as the area's size and puts 1 back at the next
 * entry.  Of int3 and of what DR7 arms: see gdb/stub.h.
 */
bool cpuid_host_is_tcg(void)
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

void cpuid_for_cpu(struct cpuid_table *t, const struct cpu_topology *topology, unsigned int cpu)
{
	unsigned int apic_id = topology_apic_id(topology, cpu), core = cpu / topology->threads;
	struct kvm_cpuid_entry2 *e;

	for (e = t->entries; e < t->entries + t->head.nent; e++) {
		if (e->function == 1)
			e->ebx = (e->ebx & 0xffffff) | BITS(apic_id, 31, 24);
		else if (e->function == LEAF_TOPOLOGY || e->function == LEAF_TOPOLOGY_V2)
			e->edx = apic_id;
		else if (e->function == LEAF_AMD_TOPOLOGY) {
			e->eax = apic_id;
			e->ebx = (e->ebx & ~0xffu) | core % topology->cores;
			e->ecx = core / topology->cores; /* node */
		}
	}
}
