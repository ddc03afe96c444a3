// SPDX-License-Identifier: Apache-2.0
/* CPUID leaf 0xD and the features that live in its components (Intel SDM vol. 1, chapter 13). */
#include <string.h>

#include "cpuid.h"

#define LEAF_XSTATE   0xd
#define X87_SSE	      3ull
#define RESET_SIZE    0x240 /* legacy area and XSAVE header: XCR0 is 1 at reset */
#define XSAVEC_XSAVES (1u << 1 | 1u << 3)
#define SUPERVISOR    1u /* subleaf's ECX[0]: in IA32_XSS, without a place in the plain area */

/* Components that are of use only together, what else they need, and who is lost with them. */
static const struct group {
	uint64_t bits, needs;
	const char *name;
} groups[] = {
	{1ull << 2, X87_SSE, "AVX"},	   {3ull << 3, X87_SSE, "MPX"},
	{7ull << 5, 1ull << 2, "AVX-512"}, {1ull << 9, X87_SSE, "protection keys"},
	{3ull << 17, X87_SSE, "AMX"},
};

/* A feature bit must go when a component of `needs` is not there. */
static const struct feature {
	uint64_t needs;
	uint32_t leaf, index;
	enum cpuid_register reg;
	uint32_t bits;
} features[] = {
	{X87_SSE, 1, 0, ECX, 1u << 26 | 1u << 27},	     /* XSAVE, OSXSAVE */
	{1 << 2, 1, 0, ECX, 1u << 12 | 1u << 28 | 1u << 29}, /* FMA, AVX, F16C */
	{1 << 2, 7, 0, EBX, 1u << 5},			     /* AVX2 */
	{1 << 2, 7, 0, ECX, 1u << 9 | 1u << 10},	     /* VAES, VPCLMULQDQ */
	{1 << 2, 7, 1, EAX, 1u << 0 | 1u << 1 | 1u << 2},    /* SHA512, SM3, SM4 */
	{1 << 2, 7, 1, EAX, 1u << 4 | 1u << 23},	     /* AVX-VNNI, AVX-IFMA */
	{1 << 2, 7, 1, EDX, 1u << 4 | 1u << 5 | 1u << 10},   /* AVX-VNNI-INT8, NE-CONVERT, INT16 */
	{1 << 2, 0x80000001, 0, ECX, 1u << 11 | 1u << 16},   /* XOP, FMA4 */
	{3 << 3, 7, 0, EBX, 1u << 14},			     /* MPX */
	{7 << 5, 7, 0, EBX, 0xdc230000}, /* AVX512 F, DQ, IFMA, PF, ER, CD, BW, VL */
	{7 << 5, 7, 0, ECX,
	 1u << 1 | 1u << 6 | 0xb << 11}, /* VBMI, VBMI2, VNNI, BITALG, VPOPCNTDQ */
	{7 << 5, 7, 0, EDX, 3u << 2 | 1u << 8 | 1u << 23}, /* 4VNNIW, 4FMAPS, VP2INTERSECT, FP16 */
	{7 << 5, 7, 1, EAX, 1u << 5},			   /* BF16 */
	{7 << 5, 7, 1, EDX, 1u << 19},			   /* AVX10 */
	{1 << 9, 7, 0, ECX, 1u << 3 | 1u << 4},		   /* PKU, OSPKE */
	{3 << 17, 7, 0, EDX, 1u << 22 | 1u << 24 | 1u << 25}, /* AMX-BF16, TILE, INT8 */
	{3 << 17, 7, 1, EAX, 1u << 21},			      /* AMX-FP16 */
	{3 << 17, 7, 1, EDX, 1u << 8},			      /* AMX-COMPLEX */
};

/* A component's subleaf has to state a place inside the area's largest size. */
static bool has_place(struct cpuid_table *t, unsigned int component, uint32_t area)
{
	const struct kvm_cpuid_entry2 *e = cpuid_find(t, LEAF_XSTATE, component);

	return e && e->eax && !(e->ecx & SUPERVISOR) && e->ebx >= RESET_SIZE && e->ebx <= area &&
	       e->eax <= area - e->ebx;
}

static uint64_t usable_components(struct cpuid_table *t, const struct kvm_cpuid_entry2 *d)
{
	uint64_t stated = (uint64_t)d->edx << 32 | d->eax, usable = stated & X87_SSE;
	const struct group *g;
	unsigned int i;

	if (usable != X87_SSE)
		return 0;
	for (i = 2; i < 63; i++)
		if ((stated >> i & 1) && has_place(t, i, d->ecx))
			usable |= 1ull << i;
	for (g = groups; g < groups + sizeof(groups) / sizeof(groups[0]); g++)
		if ((usable & g->bits) != g->bits || (usable & g->needs) != g->needs)
			usable &= ~g->bits;
	return usable;
}

static void drop_features(struct cpuid_table *t, uint64_t usable)
{
	const struct feature *f;
	struct kvm_cpuid_entry2 *e;

	for (f = features; f < features + sizeof(features) / sizeof(features[0]); f++) {
		if ((usable & f->needs) == f->needs || !(e = cpuid_find(t, f->leaf, f->index)))
			continue;
		*cpuid_register(e, f->reg) &= ~f->bits;
	}
}

/* Takes the subleaves of lost user components away; with no XSAVE at all, the whole leaf. */
static void drop_subleaves(struct cpuid_table *t, uint64_t usable)
{
	unsigned int i, kept = 0;
	const struct kvm_cpuid_entry2 *e;

	for (i = 0; i < t->head.nent; i++) {
		e = &t->entries[i];
		if (e->function == LEAF_XSTATE &&
		    (!usable || (e->index >= 2 && e->index < 63 && !(e->ecx & SUPERVISOR) &&
				 !(usable >> e->index & 1))))
			continue;
		t->entries[kept++] = *e;
	}
	t->head.nent = kept;
}

static uint32_t area_size(struct cpuid_table *t, uint64_t usable)
{
	const struct kvm_cpuid_entry2 *e;
	uint32_t size = RESET_SIZE;
	unsigned int i;

	for (i = 2; i < 63; i++) {
		e = usable >> i & 1 ? cpuid_find(t, LEAF_XSTATE, i) : NULL;
		if (e && e->ebx + e->eax > size)
			size = e->ebx + e->eax;
	}
	return size;
}

void cpuid_check_xstate(struct cpuid_table *t, bool hide)
{
	struct kvm_cpuid_entry2 *d = cpuid_find(t, LEAF_XSTATE, 0), *one = cpuid_find(t, 1, 0);
	uint64_t usable = 0;

	if (!hide && d && one && (one->ecx & 1u << 26))
		usable = usable_components(t, d);
	drop_features(t, usable);
	drop_subleaves(t, usable);
	d = usable ? cpuid_find(t, LEAF_XSTATE, 0) : NULL;
	if (!d)
		return;
	d->eax = (uint32_t)usable;
	d->edx = usable >> 32;
	d->ecx = area_size(t, usable);
	/* Both sizes follow XCR0 and XSS; KVM keeps them up to date from here on. */
	d->ebx = RESET_SIZE;
	d = cpuid_find(t, LEAF_XSTATE, 1);
	if (d)
		d->ebx = d->eax & XSAVEC_XSAVES ? RESET_SIZE : 0;
}
