// SPDX-License-Identifier: Apache-2.0
/* Unit tests of ACPI, address decoding and options. */

#include "acpi.h"
#include "bus.h"
#include "layout.h"
#include "mptable.h"
#include "options.h"
#include "serial8250.h"
#include "units.h"

/* --- ACPI, bus, serial --- */

static uint8_t sum(const uint8_t *p, size_t n)
{
	uint8_t s = 0;

	while (n--)
		s += *p++;
	return s;
}

static void mp_table_names_cpus_and_pins(void)
{
	struct cpu_topology topology = {.sockets = 1, .cores = 3, .threads = 2};
	const uint8_t *p, *t;
	unsigned int i, sum = 0;

	setup(MIB(32));
	CHECK(mptable_build(&mem, &topology) == 0);
	p = memory_at(&mem, 639 << 10, 16 + 44 + 6 * 20 + 8 + 8 + GSI_COUNT * 8);
	CHECK(!memcmp(p, "_MP_", 4) && p[8] == 1 && p[9] == 4);
	for (i = 0; i < 16; i++)
		sum += p[i];
	t = memory_at(&mem, *(const uint32_t *)(p + 4), 4096);
	CHECK(t == p + 16 && !memcmp(t, "PCMP", 4));
	for (i = 0; i < *(const uint16_t *)(t + 4); i++)
		sum += t[i];
	CHECK((sum & 0xff) == 0);
	CHECK(*(const uint16_t *)(t + 34) == 6 + 1 + 1 + GSI_COUNT);
	t += 44;
	CHECK(t[0] == 0 && t[1] == 0 && t[3] == 3); /* the boot processor */
	CHECK(t[5 * 20] == 0 && t[5 * 20 + 1] == 5 && t[5 * 20 + 3] == 1);
	t += 6 * 20;
	CHECK(t[0] == 1 && !memcmp(t + 2, "ISA   ", 6) && t[8] == 2);
	t += 16 + (GSI_COUNT - 1) * 8;
	CHECK(t[0] == 3 && t[5] == GSI_COUNT - 1 && t[7] == GSI_COUNT - 1);
	memory_destroy(&mem);
	CHECK(mptable_build(&mem, &topology) == -1);
}

static void each_device_has_a_gsi_and_the_rtcs_is_the_last(void)
{
	uint32_t seen = 0, gsi;
	unsigned int i;

	for (i = 0; i < MAX_VIRTIO; i++) {
		gsi = gsi_virtio(i);
		CHECK(gsi >= GSI_VIRTIO && gsi < GSI_COUNT && !(seen & 1u << gsi));
		CHECK((gsi == GSI_RTC) == (i == MAX_VIRTIO - 1));
		seen |= 1u << gsi;
	}
}

static void acpi_tables_are_linked_and_summed(void)
{
	struct acpi_machine machine = {
		.topology = {2, 3, 2}, .nvirtio = MAX_VIRTIO, .serial = true};
	const uint8_t *rsdp, *xsdt, *t;
	uint64_t gpa;
	uint32_t len, i;

	setup(MIB(16));
	CHECK(acpi_build(&mem, &machine) == 0);
	rsdp = memory_at(&mem, ACPI_GPA, 36);
	CHECK(!memcmp(rsdp, "RSD PTR ", 8) && !sum(rsdp, 20) && !sum(rsdp, 36));
	memcpy(&gpa, rsdp + 24, 8);
	xsdt = memory_at(&mem, gpa, 36 + 16);
	CHECK(!memcmp(xsdt, "XSDT", 4) && !sum(xsdt, 36 + 16));
	for (i = 0; i < 2; i++) {
		memcpy(&gpa, xsdt + 36 + 8 * i, 8);
		t = memory_at(&mem, gpa, 36);
		memcpy(&len, t + 4, 4);
		CHECK(!memcmp(t, i ? "APIC" : "FACP", 4) && !sum(memory_at(&mem, gpa, len), len));
		if (i)
			CHECK(len == 44 + 12 + 12 * 8 && t[56 + 7 * 8 + 3] == 9);
		else
			memcpy(&gpa, t + 140, 8);
		if (!i) {
			memcpy(&len, (uint8_t *)memory_at(&mem, gpa, 36) + 4, 4);
			t = memory_at(&mem, gpa, len);
			CHECK(!memcmp(t, "DSDT", 4) && !sum(t, len));
		}
	}
}

static void bus_finds_only_whole_accesses(void)
{
	struct bus b = {0};

	bus_claim(&b, 0x3f8, 8, serial_access, NULL, false);
	CHECK(bus_find(&b, 0x3f8, 1) && bus_find(&b, 0x3ff, 1) && !bus_find(&b, 0x3ff, 2));
	CHECK(!bus_find(&b, 0x3f7, 1) && !bus_find(&b, 0x400, 1) && !bus_find(&b, 0, 4));
	CHECK(serial_named_in("console=ttyS0") && !serial_named_in("console=hvc0"));
}

static void options_understand_disks_and_nets(void)
{
	char disk[] = "/a,,b c.img,readonly", net[] = "tap=hg1,bridge=br0,mac=52:54:00:12:34:56";
	char memory[] = "2G", cpus[] = "16";
	char *argv[] = {"hg-vmm", "--kernel", "k",    "--disk", disk, "--net",
			net,	  "--memory", memory, "--cpus", cpus, NULL};
	struct vm_config cfg;

	CHECK(options_parse(11, argv, &cfg, &err) == OPTIONS_RUN);
	CHECK(!strcmp(cfg.disks[0].path, "/a,b c.img") && cfg.disks[0].read_only);
	CHECK(!strcmp(cfg.nets[0].tap, "hg1") && !strcmp(cfg.nets[0].bridge, "br0"));
	CHECK(cfg.nets[0].mac[5] == 0x56 && cfg.memory.size == 2ull << 30 && cfg.cpus == 16);
}

static void options_know_sizes_and_defaults(void)
{
	static const struct {
		const char *text;
		uint64_t bytes; /* 0: refused */
	} sizes[] = {
		{"512", 512ull << 20},
		{"16384K", 16 << 20},
		{"16385k", (16 << 20)},
		{"1024G", 1ull << 40},
		{"1025G", 0},
		{"15M", 0},
		{"18014398509481984K", 0}, /* 2^64 bytes */
		{"0x100", 0},
		{"1e3", 0},
		{"", 0},
		{" 512", 0},
		{"512MB", 0},
	};
	char *argv[] = {"hg-vmm", "--kernel", "k", "--memory", NULL, NULL};
	struct vm_config cfg;
	unsigned int i;

	CHECK(options_parse(3, argv, &cfg, &err) == OPTIONS_RUN);
	CHECK(cfg.cpus == 1 && cfg.memory.size == 512ull << 20 && cfg.sandbox &&
	      !cfg.memory.small_pages);
	CHECK(!cfg.daemonize && !cfg.serial && !cfg.ndisks && !cfg.nnets && !cfg.control);
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		argv[4] = strdup(sizes[i].text);
		CHECK((options_parse(5, argv, &cfg, &err) == OPTIONS_RUN) == !!sizes[i].bytes);
		CHECK(!sizes[i].bytes || cfg.memory.size == sizes[i].bytes);
	}
}

static const struct unit_test tests[] = {
	TEST(each_device_has_a_gsi_and_the_rtcs_is_the_last),
	TEST(acpi_tables_are_linked_and_summed),
	TEST(mp_table_names_cpus_and_pins),
	TEST(bus_finds_only_whole_accesses),
	TEST(options_know_sizes_and_defaults),
	TEST(options_understand_disks_and_nets),
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return run_units(argc, argv, tests);
}
