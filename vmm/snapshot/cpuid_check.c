// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "snapshot/state.h"

static const char *const reg_names[] = {"EAX", "EBX", "ECX", "EDX"};

/*
 * The words that are sets of features: what the guest was told of must be here as well.  The
 * bits in `moves` follow the guest's own control registers (OSXSAVE, OSPKE, APIC, MONITOR).
 */
static const struct word {
	uint32_t leaf, index;
	enum cpuid_register reg;
	uint32_t moves;
} words[] = {
	{0x1, 0, ECX, 1u << 27 | 1u << 3},
	{0x1, 0, EDX, 1u << 9},
	{0x6, 0, EAX, 0},
	{0x7, 0, EBX, 0},
	{0x7, 0, ECX, 1u << 4},
	{0x7, 0, EDX, 0},
	{0x7, 1, EAX, 0},
	{0x7, 1, EDX, 0},
	{0x7, 2, EDX, 0},
	{0xd, 0, EAX, 0},
	{0xd, 0, EDX, 0},
	{0xd, 1, EAX, 0},
	{0x40000001, 0, EAX, 0},
	{0x80000001, 0, ECX, 0},
	{0x80000001, 0, EDX, 1u << 9},
	{0x80000007, 0, EDX, 0},
	{0x80000008, 0, EBX, 0},
	{0x8000000a, 0, EDX, 0},
	{0x80000021, 0, EAX, 0},
};

static uint32_t value(const struct cpuid_table *t, uint32_t leaf, uint32_t index,
		      enum cpuid_register reg)
{
	struct kvm_cpuid_entry2 *e = cpuid_find((struct cpuid_table *)t, leaf, index);

	return e ? *cpuid_register(e, reg) : 0;
}

int state_check_cpuid(const struct cpuid_table *saved, const struct cpuid_table *host,
		      struct error *e)
{
	const struct word *w;
	uint32_t missing;
	enum cpuid_register r;

	for (r = EBX; r <= EDX; r++)
		if (value(saved, 0, 0, r) != value(host, 0, 0, r))
			return error_set(e, ERROR_MACHINE,
					 "is of a CPU of another make than this host's");
	for (w = words; w < words + sizeof(words) / sizeof(words[0]); w++) {
		missing = value(saved, w->leaf, w->index, w->reg) &
			  ~value(host, w->leaf, w->index, w->reg) & ~w->moves;
		if (missing)
			return error_set(e, ERROR_MACHINE,
					 "is of a CPU with features that this host does not have "
					 "(CPUID leaf %#x.%u, %s, bits %#x)",
					 w->leaf, w->index, reg_names[w->reg], missing);
	}
	return 0;
}
