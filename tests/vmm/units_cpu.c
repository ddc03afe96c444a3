// SPDX-License-Identifier: Apache-2.0
/* Unit tests of CPUID: topology, frequencies, models, XSAVE; and of the options for CPUs. */
#include "cpuid.h"
#include "options.h"
#include "units.h"

#include <cpuid.h>

#define INTEL 0x756e6547
#define AMD   0x68747541

/* As much of a CPU as the topology is told with; v2 and v3 as the psABI has them. */
static struct cpuid_table some_cpu(uint32_t vendor)
{
	const struct kvm_cpuid_entry2 all[] = {
		{.function = 0, .eax = 0x1f, .ebx = vendor},
		{.function = 1,
		 .eax = 0x806f8,
		 .ebx = 0xff0800,
		 .ecx = 0x77fef3ff,
		 .edx = 0xbfcbfbff},
		{.function = 4, .index = 0, .eax = 0x1c004121, .flags = 1},
		{.function = 4, .index = 3, .eax = 0xfc1fc163, .flags = 1},
		{.function = 7, .ebx = 0xffffffff, .ecx = 0xffffffff, .edx = 0xffffffff},
		{.function = 0xd, .index = 0, .eax = 0x2e7, .ebx = 0xa88, .ecx = 0xa88},
		{.function = 0xd, .index = 1, .eax = 0xf, .ebx = 0x9c8},
		{.function = 0xd, .index = 2, .eax = 0x100, .ebx = 0x240},
		{.function = 0xd, .index = 9, .eax = 8, .ebx = 0xa80},
		{.function = 0x1f, .eax = 7},
		{.function = 0x40000000, .eax = 0x40000001, .ebx = 0x4b4d564b},
		{.function = 0x40000001, .eax = 0x0100fefb},
		{.function = 0x80000000, .eax = 0x80000021, .ebx = vendor},
		{.function = 0x80000001, .ecx = 0xffffffff, .edx = 0xffffffff},
		{.function = 0x80000002, .eax = 0x65746e49},
		{.function = 0x80000007, .edx = 0x100},
		{.function = 0x80000008, .eax = 0x3030, .ecx = 0x7fff},
		{.function = 0x8000001d, .index = 0, .eax = 0x4121, .flags = 1},
		{.function = 0x8000001d, .index = 3, .eax = 0x1c163, .flags = 1},
		{.function = 0x8000001e, .ebx = 0x103},
	};
	struct cpuid_table t = {.head.nent = sizeof(all) / sizeof(all[0])};

	memcpy(t.entries, all, sizeof(all));
	return t;
}

static uint32_t bits(uint32_t value, unsigned int high, unsigned int low)
{
	return value >> low & (0xffffffffu >> (31 - (high - low)));
}

/* The ID's package, core and thread, by the shifts that leaf 0xB states. */
static void check_id(struct cpuid_table *t, const struct cpu_topology *want, unsigned int cpu)
{
	uint32_t leaf;

	for (leaf = 0xb; leaf <= 0x1f; leaf += 0x14) {
		uint32_t smt = cpuid_find(t, leaf, 0)->eax, package = cpuid_find(t, leaf, 1)->eax;
		uint32_t id = cpuid_find(t, leaf, 0)->edx;

		CHECK((id & ((1u << smt) - 1)) == cpu % want->threads);
		CHECK((id & ((1u << package) - 1)) >> smt == cpu / want->threads % want->cores);
		CHECK(id >> package == cpu / (want->threads * want->cores));
		CHECK(id == cpuid_find(t, leaf, 2)->edx && id == cpuid_find(t, 1, 0)->ebx >> 24);
	}
}

static void topology_is_the_same_in_every_leaf(void)
{
	static const struct cpu_topology all[] = {{1, 1, 1},  {1, 64, 1}, {2, 3, 2}, {4, 3, 5},
						  {64, 1, 1}, {3, 1, 7},  {1, 6, 1}};
	static struct cpuid_table t;
	const struct cpu_topology *want;
	unsigned int cpu, in_package, id;
	uint64_t seen[2];

	for (want = all; want < all + sizeof(all) / sizeof(all[0]); want++) {
		struct cpuid_machine m = {.topology = *want};

		t = some_cpu(AMD);
		CHECK(cpuid_common(&t, &m, &err) == 0);
		in_package = want->cores * want->threads;
		CHECK(bits(cpuid_find(&t, 1, 0)->ebx, 23, 16) == in_package);
		CHECK(bits(cpuid_find(&t, 1, 0)->edx, 28, 28) == (in_package > 1));
		CHECK(bits(cpuid_find(&t, 4, 0)->eax, 25, 14) >= want->threads - 1);
		CHECK(bits(cpuid_find(&t, 4, 3)->eax, 25, 14) >= in_package - 1);
		CHECK(bits(cpuid_find(&t, 4, 0)->eax, 31, 26) >= want->cores - 1);
		CHECK(bits(cpuid_find(&t, 0x8000001d, 3)->eax, 25, 14) >= in_package - 1);
		CHECK(bits(cpuid_find(&t, 0x80000008, 0)->ecx, 7, 0) == in_package - 1);
		CHECK(bits(cpuid_find(&t, 0x80000008, 0)->ecx, 15, 12) ==
		      cpuid_find(&t, 0xb, 1)->eax);
		CHECK(cpuid_find(&t, 0xb, 0)->ebx == want->threads);
		CHECK(cpuid_find(&t, 0x1f, 1)->ebx == in_package);
		memset(seen, 0, sizeof(seen));
		for (cpu = 0; cpu < topology_cpus(want); cpu++) {
			cpuid_for_cpu(&t, want, cpu);
			check_id(&t, want, cpu);
			id = cpuid_find(&t, 0x8000001e, 0)->eax;
			CHECK(id == topology_apic_id(want, cpu) && id < 128);
			CHECK(!(seen[id / 64] >> id % 64 & 1));
			seen[id / 64] |= 1ull << id % 64;
			CHECK(cpuid_find(&t, 0x8000001e, 0)->ebx ==
			      ((want->threads - 1) << 8 | cpu / want->threads % want->cores));
			CHECK(cpuid_find(&t, 0x8000001e, 0)->ecx == cpu / in_package);
		}
	}
}

static void frequencies_are_told(void)
{
	static const uint32_t khz[] = {2000000, 2894561, 2399998, 800123, 5000001, 999};
	static struct cpuid_table t;
	const struct kvm_cpuid_entry2 *e;
	unsigned int i;

	for (i = 0; i < sizeof(khz) / sizeof(khz[0]); i++) {
		struct cpuid_machine m = {.topology = {1, 1, 1}, .tsc_khz = khz[i]};
		double told, off;

		t = some_cpu(INTEL);
		CHECK(cpuid_common(&t, &m, &err) == 0);
		CHECK(cpuid_find(&t, 0x40000010, 0)->eax == khz[i]);
		CHECK(cpuid_find(&t, 0x40000000, 0)->eax == 0x40000010);
		e = cpuid_find(&t, 0x15, 0);
		CHECK(e->ecx == 1000000000 && e->ebx <= 4294 && e->eax);
		told = 1e6 * e->ebx / e->eax;
		off = (told - khz[i]) / khz[i];
		CHECK(off < 1e-6 && off > -1e-6);
		CHECK(cpuid_find(&t, 0x16, 0)->eax == khz[i] / 1000);
	}
	t = some_cpu(AMD);
	CHECK(cpuid_common(&t, &(struct cpuid_machine){.topology = {1, 1, 1}, .tsc_khz = 1},
			   &err) == 0);
	CHECK(!cpuid_find(&t, 0x15, 0)); /* AMD's CPUs have no such leaf */
}

static void the_name_is_this_cpus(void)
{
	struct cpuid_machine m = {.topology = {1, 1, 1}};
	struct cpuid_table t = some_cpu(AMD);
	struct kvm_cpuid_entry2 is = {0}, *told;

	__cpuid(0x80000002, is.eax, is.ebx, is.ecx, is.edx);
	CHECK(cpuid_common(&t, &m, &err) == 0);
	told = cpuid_find(&t, 0x80000002, 0);
	CHECK(told->eax == is.eax && told->ebx == is.ebx && told->ecx == is.ecx);
	CHECK(told->edx == is.edx && is.eax);
}

static void models_hide_what_differs(void)
{
	static struct cpuid_table one, two;
	struct cpuid_machine m = {.topology = {1, 2, 1},
				  .model = CPU_BASELINE,
				  .tsc_khz = 2000000,
				  .tsc_deadline = true};
	unsigned int v;

	for (v = 0; v < 2; v++) {
		m.model = v ? CPU_BASELINE_V3 : CPU_BASELINE;
		one = some_cpu(INTEL);
		two = some_cpu(INTEL);
		/* Another machine: older, other caches, wider addresses, another rate. */
		cpuid_find(&two, 0, 0)->eax = 0x16;
		cpuid_find(&two, 1, 0)->eax = 0x306f2;
		cpuid_find(&two, 7, 0)->ebx = 1u << 3 | 1u << 5 | 1u << 7 | 1u << 8;
		cpuid_find(&two, 7, 0)->ecx = cpuid_find(&two, 7, 0)->edx = 0;
		cpuid_find(&two, 4, 3)->eax = 0;
		cpuid_find(&two, 0xd, 0)->eax = 7;
		cpuid_find(&two, 0xd, 0)->ecx = 0x340;
		cpuid_find(&two, 0x80000001, 0)->ecx = 0x21;
		cpuid_find(&two, 0x80000002, 0)->eax = 1;
		cpuid_find(&two, 0x80000008, 0)->eax = 0x3927;
		CHECK(cpuid_common(&one, &m, &err) == 0);
		m.tsc_khz = 3000000;
		CHECK(cpuid_common(&two, &m, &err) == 0);
		CHECK(!memcmp(&one, &two, sizeof(one)));
		CHECK(!!(cpuid_find(&one, 1, 0)->ecx >> 28 & 1) == v); /* AVX */
		CHECK(!!cpuid_find(&one, 0xd, 2) == v);
		CHECK(!cpuid_find(&one, 0x40000010, 0) && !cpuid_find(&one, 4, 0));
		CHECK(cpuid_find(&one, 0xb, 1)->ebx == 2);
	}
}

static void a_missing_feature_is_named(void)
{
	static struct cpuid_table t;
	struct cpuid_machine m = {.topology = {1, 1, 1}, .model = CPU_BASELINE};

	t = some_cpu(AMD);
	cpuid_find(&t, 1, 0)->ecx &= ~(1u << 20);
	CHECK(cpuid_common(&t, &m, &err) == -1 && strstr(err.text, "no sse4_2"));
	t = some_cpu(AMD);
	cpuid_find(&t, 0x40000001, 0)->eax = 0x7b;
	CHECK(cpuid_common(&t, &m, &err) == -1 && strstr(err.text, "no kvm-pv-unhalt"));
	t = some_cpu(AMD);
	cpuid_find(&t, 0x80000008, 0)->eax = 36;
	CHECK(cpuid_common(&t, &m, &err) == -1 && strstr(err.text, "39-bit"));
	m.model = CPU_BASELINE_V3;
	t = some_cpu(AMD);
	cpuid_find(&t, 7, 0)->ebx = 0x1ff & ~(1u << 5);
	CHECK(cpuid_common(&t, &m, &err) == -1 &&
	      strstr(err.text, "baseline-v3: this host has no avx2"));
	t = some_cpu(AMD);
	m.no_xsave = true;
	CHECK(cpuid_common(&t, &m, &err) == -1 && strstr(err.text, "no xsave"));
}

/* A CPU with AVX, AVX-512 and protection keys, as KVM states it. */
static struct cpuid_table xsave_cpu(void)
{
	static const struct kvm_cpuid_entry2 all[] = {
		{.function = 1, .ecx = 1u << 26 | 1u << 28 | 1u << 12 | 1},
		{.function = 7, .ebx = 1u << 5 | 1u << 16 | 1, .ecx = 1u << 3 | 1u << 10 | 1u << 6},
		{.function = 0xd, .index = 0, .eax = 0x2e7, .ebx = 0xa88, .ecx = 0xa88},
		{.function = 0xd, .index = 1, .eax = 0xf, .ebx = 0x9c8},
		{.function = 0xd, .index = 2, .eax = 0x100, .ebx = 0x240},
		{.function = 0xd, .index = 5, .eax = 0x40, .ebx = 0x440},
		{.function = 0xd, .index = 6, .eax = 0x200, .ebx = 0x480},
		{.function = 0xd, .index = 7, .eax = 0x400, .ebx = 0x680},
		{.function = 0xd, .index = 9, .eax = 8, .ebx = 0xa80},
		{.function = 0xd, .index = 11, .eax = 0x10, .ecx = 1}, /* supervisor: CET */
	};
	struct cpuid_table t = {.head.nent = sizeof(all) / sizeof(all[0])};

	memcpy(t.entries, all, sizeof(all));
	return t;
}

static void cpuid_xstate_adds_up(void)
{
	static struct cpuid_table t, before;
	struct kvm_cpuid_entry2 *d;

	/* Nothing is wrong: only the sizes become those of a reset. */
	t = before = xsave_cpu();
	cpuid_check_xstate(&t, false);
	CHECK(cpuid_find(&t, 0xd, 0)->ebx == 0x240 && cpuid_find(&t, 0xd, 1)->ebx == 0x240);
	cpuid_find(&t, 0xd, 0)->ebx = 0xa88;
	cpuid_find(&t, 0xd, 1)->ebx = 0x9c8;
	CHECK(!memcmp(&t, &before, sizeof(t)) && cpuid_find(&t, 0xd, 0)->eax == 0x2e7);

	/* Protection keys past the area's end: they go, the rest stays and the area shrinks. */
	t = xsave_cpu();
	cpuid_find(&t, 0xd, 9)->ebx = 0xa84;
	cpuid_check_xstate(&t, false);
	d = cpuid_find(&t, 0xd, 0);
	CHECK(d->eax == 0xe7 && d->ecx == 0xa80 && !cpuid_find(&t, 0xd, 9));
	CHECK(cpuid_find(&t, 7, 0)->ecx == (1u << 10 | 1u << 6) && cpuid_find(&t, 0xd, 11));

	/* AVX without a subleaf: AVX-512 is nothing without it, keys are. */
	t = xsave_cpu();
	cpuid_find(&t, 0xd, 2)->eax = 0;
	cpuid_check_xstate(&t, false);
	CHECK(cpuid_find(&t, 0xd, 0)->eax == 0x203 && cpuid_find(&t, 0xd, 0)->ecx == 0xa88);
	CHECK(cpuid_find(&t, 1, 0)->ecx == (1u << 26 | 1) && cpuid_find(&t, 7, 0)->ebx == 1);
	CHECK(cpuid_find(&t, 7, 0)->ecx == 1u << 3);

	/* A host on which XSAVE cannot work: no trace of it. */
	t = xsave_cpu();
	cpuid_check_xstate(&t, true);
	CHECK(!cpuid_find(&t, 0xd, 0) && !cpuid_find(&t, 0xd, 2) && !cpuid_find(&t, 0xd, 11));
	CHECK(cpuid_find(&t, 1, 0)->ecx == 1 && cpuid_find(&t, 7, 0)->ecx == 0);
}

static int parse(const char *option, const char *text, struct vm_config *cfg)
{
	char *argv[] = {"hg-vmm",     "--kernel",     "k",	    "--cpus",
			strdup("64"), strdup(option), strdup(text), NULL};

	return options_parse(7, argv, cfg, &err) == OPTIONS_RUN ? 0 : -1;
}

static void options_complete_a_topology(void)
{
	static const struct {
		const char *text;
		struct cpu_topology is; /* 0 sockets: refused */
	} all[] = {
		{"1", {1, 1, 1}},
		{"64", {1, 64, 1}},
		{"12,sockets=2", {2, 6, 1}},
		{"12,threads=2", {1, 6, 2}},
		{"12,cores=3", {4, 3, 1}},
		{"12,cores=3,threads=2", {2, 3, 2}},
		{"12,sockets=2,cores=2", {2, 2, 3}},
		{"12,sockets=2,cores=3,threads=2", {2, 3, 2}},
		{"12,sockets=5", {0}},
		{"12,cores=5", {0}},
		{"12,sockets=2,cores=3,threads=3", {0}},
		{"12,sockets=0", {0}},
		{"12,threads=65", {0}},
		{"65", {0}},
	};
	struct vm_config cfg;
	unsigned int i;

	for (i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		CHECK(parse("--cpus", all[i].text, &cfg) == (all[i].is.sockets ? 0 : -1));
		CHECK(!all[i].is.sockets ||
		      !memcmp(&cfg.topology, &all[i].is, sizeof(cfg.topology)));
	}
}

static void options_pin_vcpus(void)
{
	struct vm_config cfg;

	CHECK(parse("--cpu-affinity", "0", &cfg) == 0 && cfg.affinity[0].count == 1);
	CHECK(!cfg.affinity[1].count && cfg.pinned);
	CHECK(parse("--cpu-affinity", "3=0,63=0-0", &cfg) == 0 && !cfg.affinity[0].count);
	CHECK(cfg.affinity[3].count == 1 && cfg.affinity[63].count == 1);
	CHECK(parse("--cpu-affinity", "0=0-1023", &cfg) == -1 && strstr(err.text, "host CPU"));
	CHECK(parse("--cpu-affinity", "64=0", &cfg) == -1 && strstr(err.text, "vCPU=CPUS"));
	CHECK(parse("--cpu-affinity", "0=1-0", &cfg) == -1 &&
	      parse("--cpu-affinity", "", &cfg) == -1);
	CHECK(parse("--cpu-affinity", "0,1024", &cfg) == -1);
}

static const struct unit_test tests[] = {
	TEST(topology_is_the_same_in_every_leaf),
	TEST(frequencies_are_told),
	TEST(the_name_is_this_cpus),
	TEST(models_hide_what_differs),
	TEST(a_missing_feature_is_named),
	TEST(cpuid_xstate_adds_up),
	TEST(options_complete_a_topology),
	TEST(options_pin_vcpus),
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return run_units(argc, argv, tests);
}
