// SPDX-License-Identifier: Apache-2.0
/*
 * CPU models: a guest of `baseline` sees the same CPU on every machine of one vendor whose KVM can
 * give it, so its snapshot goes on there, and its programs find no instruction that is gone.
 *
 * A model is what stands in the two tables below and nothing else: leaves that tell of caches, of
 * frequencies, power, counters or of debugging differ between machines and are left out.  So are
 * the bits for mitigations, which come with microcode: the host protects itself without them, but
 * a guest's kernel cannot use IBPB between its own processes.  Where that matters, use `host`.
 */
#include <string.h>

#include "cpuid.h"

/* The levels of the x86-64 psABI, section 3.1.1. */
enum level { V2 = 1, V3 = 2 };

static const struct feature {
	enum level level; /* the first model that has it */
	uint32_t leaf, index;
	enum cpuid_register reg;
	uint8_t bit;
	char name[15];
} features[] = {
	/* Of any x86-64, but only bits that are stated are there for the guest. */
	{V2, 1, 0, EDX, 0, "fpu"},		 /* x87: part of x86-64 */
	{V2, 1, 0, EDX, 2, "de"},		 /* debugging extensions: CR4.DE, Linux sets it */
	{V2, 1, 0, EDX, 3, "pse"},		 /* 4 MiB pages: 32-bit guests */
	{V2, 1, 0, EDX, 4, "tsc"},		 /* the clock source itself */
	{V2, 1, 0, EDX, 5, "msr"},		 /* RDMSR, WRMSR: kvmclock is set up with them */
	{V2, 1, 0, EDX, 6, "pae"},		 /* long mode needs it */
	{V2, 1, 0, EDX, 7, "mce"},		 /* KVM emulates machine checks on all CPUs */
	{V2, 1, 0, EDX, 8, "cx8"},		 /* part of x86-64 */
	{V2, 1, 0, EDX, 9, "apic"},		 /* KVM's own */
	{V2, 1, 0, EDX, 11, "sep"},		 /* SYSENTER: 32-bit programs */
	{V2, 1, 0, EDX, 12, "mtrr"},		 /* KVM emulates them */
	{V2, 1, 0, EDX, 13, "pge"},		 /* global pages */
	{V2, 1, 0, EDX, 14, "mca"},		 /* as mce */
	{V2, 1, 0, EDX, 15, "cmov"},		 /* part of x86-64 */
	{V2, 1, 0, EDX, 16, "pat"},		 /* memory types by page: Linux maps with them */
	{V2, 1, 0, EDX, 17, "pse36"},		 /* as pse */
	{V2, 1, 0, EDX, 19, "clflush"},		 /* cache lines out, for DMA and NVDIMM code */
	{V2, 1, 0, EDX, 23, "mmx"},		 /* part of x86-64 */
	{V2, 1, 0, EDX, 24, "fxsr"},		 /* part of x86-64 */
	{V2, 1, 0, EDX, 25, "sse"},		 /* part of x86-64 */
	{V2, 1, 0, EDX, 26, "sse2"},		 /* part of x86-64 */
	{V2, 0x80000001, 0, EDX, 11, "syscall"}, /* part of x86-64 */
	{V2, 0x80000001, 0, EDX, 20, "nx"},	 /* no guest should do without it */
	{V2, 0x80000001, 0, EDX, 27, "rdtscp"},	 /* vDSO: getcpu; on all with v2 */
	{V2, 0x80000001, 0, EDX, 29, "lm"},	 /* part of x86-64 */
	/* x86-64-v2: Nehalem, Bulldozer and later. */
	{V2, 1, 0, ECX, 0, "sse3"},		/* psABI */
	{V2, 1, 0, ECX, 9, "ssse3"},		/* psABI */
	{V2, 1, 0, ECX, 13, "cx16"},		/* psABI */
	{V2, 1, 0, ECX, 19, "sse4_1"},		/* psABI */
	{V2, 1, 0, ECX, 20, "sse4_2"},		/* psABI */
	{V2, 1, 0, ECX, 23, "popcnt"},		/* psABI */
	{V2, 0x80000001, 0, ECX, 0, "lahf_lm"}, /* psABI */
	/* What KVM offers everywhere since Linux 5.8 (Documentation/virt/kvm/x86/cpuid.rst). */
	{V2, 0x40000001, 0, EAX, 0, "kvm-clock"},      /* for guests before Linux 2.6.35 */
	{V2, 0x40000001, 0, EAX, 1, "kvm-nopiodelay"}, /* no port 0x80 writes: exits */
	{V2, 0x40000001, 0, EAX, 3, "kvm-clock-new"},  /* the clock */
	{V2, 0x40000001, 0, EAX, 4, "kvm-asyncpf"},    /* another task while a page is fetched */
	{V2, 0x40000001, 0, EAX, 5, "kvm-steal-time"}, /* and preempted vCPUs are known */
	{V2, 0x40000001, 0, EAX, 6, "kvm-pv-eoi"},     /* an end of interrupt without an exit */
	{V2, 0x40000001, 0, EAX, 7, "kvm-pv-unhalt"},  /* spin locks that sleep */
	{V2, 0x40000001, 0, EAX, 9, "kvm-pv-tlb"},     /* no flush of a vCPU that does not run */
	{V2, 0x40000001, 0, EAX, 11, "kvm-pv-ipi"},    /* one exit for many IPIs */
	{V2, 0x40000001, 0, EAX, 12, "kvm-poll"},      /* the guest may poll itself */
	{V2, 0x40000001, 0, EAX, 13, "kvm-pv-yield"},  /* yield to the vCPU that an IPI waits for */
	{V2, 0x40000001, 0, EAX, 14, "kvm-pf-int"},    /* how asyncpf is delivered */
	{V2, 0x40000001, 0, EAX, 24, "kvm-stable"},    /* the clock needs no cross-CPU check */
	/* x86-64-v3: Haswell, Excavator and later. */
	{V3, 1, 0, ECX, 12, "fma"},   /* psABI */
	{V3, 1, 0, ECX, 22, "movbe"}, /* psABI */
	{V3, 1, 0, ECX, 26, "xsave"}, /* psABI (OSXSAVE) */
	{V3, 1, 0, ECX, 28, "avx"},   /* psABI */
	{V3, 1, 0, ECX, 29, "f16c"},  /* psABI */
	{V3, 7, 0, EBX, 3, "bmi1"},   /* psABI */
	{V3, 7, 0, EBX, 5, "avx2"},   /* psABI */
	{V3, 7, 0, EBX, 7, "smep"},   /* on all with v3; keeps a kernel from running user pages */
	{V3, 7, 0, EBX, 8, "bmi2"},   /* psABI */
	{V3, 0x80000001, 0, ECX, 5, "lzcnt"}, /* psABI */
};

#define NFEATURES (sizeof(features) / sizeof(features[0]))

#define SAME 0xffffffffu

/* The leaves of a model; a register is (as KVM says & keep) | put, then features are added. */
static const struct leaf {
	uint32_t leaf, index;
	uint32_t keep[4], put[4];
} leaves[] = {
	/* Vendor: SYSCALL, SYSENTER and errata differ by it; no model can hide that. */
	{0, 0, {0, SAME, SAME, SAME}, {0xd, 0, 0, 0}},
	{1, 0, {0}, {0, 8 << 8, 0, 0}},		 /* signature below; lines of 64 bytes */
	{6, 0, {0}, {0}},			 /* ARAT, by cpuid.c */
	{7, 0, {0}, {0}},			 /* features only */
	{0xd, 0, {7, 0, SAME, 0}, {0}},		 /* x87, SSE, AVX; sizes by xstate.c */
	{0xd, 1, {0}, {0}},			 /* no XSAVEOPT, XSAVEC, XSAVES: they came later */
	{0xd, 2, {SAME, SAME, SAME, SAME}, {0}}, /* AVX: 256 bytes at 576, everywhere */
	{0x40000000, 0, {0, SAME, SAME, SAME}, {0x40000001, 0, 0, 0}},		/* "KVMKVMKVM" */
	{0x40000001, 0, {0}, {0}},						/* features only */
	{0x80000000, 0, {0, SAME, SAME, SAME}, {0x80000008, 0, 0, 0}},		/* vendor again */
	{0x80000001, 0, {0}, {0}},						/* features only */
	{0x80000002, 0, {0}, {0x65707968, 0x65672d72, 0x6162206e, 0x696c6573}}, /* "hyper-gen " */
	{0x80000003, 0, {0}, {0x0000656e, 0, 0, 0}},				/* "baseline" */
	{0x80000004, 0, {0}, {0}},						/* end of it */
	{0x80000008, 0, {0}, {48 << 8 | CPU_MODEL_ADDRESS_BITS, 0, 0, 0}},	/* linear: 48 */
};

#define NLEAVES (sizeof(leaves) / sizeof(leaves[0]))

/*
 * Family, model and stepping, by which guests look for errata: of an old CPU with all features of
 * the models.  Haswell 6/60/3 with Intel, else EPYC 17h/1/2.
 */
#define SIGNATURE_INTEL 0x000306c3u
#define SIGNATURE_AMD	0x00800f12u

static int check(struct cpuid_table *t, const struct cpuid_machine *m, enum level level,
		 struct error *e)
{
	const struct feature *f;
	struct kvm_cpuid_entry2 *have;
	const char *missing = NULL;

	for (f = features; f < features + NFEATURES && !missing; f++) {
		have = f->level <= level ? cpuid_find(t, f->leaf, f->index) : NULL;
		if (f->level <= level && (!have || !(*cpuid_register(have, f->reg) >> f->bit & 1)))
			missing = f->name;
	}
	have = cpuid_find(t, 0x80000008, 0);
	if (!missing && (!have || (have->eax & 0xff) < CPU_MODEL_ADDRESS_BITS))
		missing = "39-bit addresses";
	if (!missing && level >= V3 && m->no_xsave)
		missing = "xsave that works in a guest";
	if (!missing)
		return 0;
	return error_set(e, ERROR_MACHINE, "--cpu-model %s: this host has no %s; use host",
			 level >= V3 ? "baseline-v3" : "baseline", missing);
}

static bool fill(struct kvm_cpuid_entry2 *to, struct cpuid_table *from, const struct leaf *l,
		 enum level level)
{
	struct kvm_cpuid_entry2 *have = cpuid_find(from, l->leaf, l->index);
	const struct feature *f;
	unsigned int reg;

	if (!have && l->leaf == 0xd)
		return false;
	*to = have ? *have : (struct kvm_cpuid_entry2){.function = l->leaf, .index = l->index};
	for (reg = EAX; reg <= EDX; reg++)
		*cpuid_register(to, reg) = (*cpuid_register(to, reg) & l->keep[reg]) | l->put[reg];
	for (f = features; f < features + NFEATURES; f++)
		if (f->level <= level && f->leaf == l->leaf && f->index == l->index)
			*cpuid_register(to, f->reg) |= 1u << f->bit;
	return true;
}

int cpuid_apply_model(struct cpuid_table *t, const struct cpuid_machine *m, struct error *e)
{
	static struct cpuid_table made;
	enum level level = m->model == CPU_BASELINE_V3 ? V3 : V2;
	unsigned int i, n = 0;

	if (m->model == CPU_HOST)
		return 0;
	if (check(t, m, level, e))
		return -1;
	for (i = 0; i < NLEAVES; i++) {
		if (level == V2 && leaves[i].leaf == 0xd)
			continue;
		n += fill(&made.entries[n], t, &leaves[i], level);
	}
	made.head.nent = n;
	cpuid_find(&made, 1, 0)->eax =
		cpuid_find(t, 0, 0)->ebx == 0x756e6547 ? SIGNATURE_INTEL : SIGNATURE_AMD;
	*t = made;
	return 0;
}
