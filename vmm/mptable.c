// SPDX-License-Identifier: Apache-2.0
#include "mptable.h"

#include <string.h>

#include "layout.h"

#define REVISION       4    /* of the specification: 1.4 */
#define LAPIC_VERSION  0x14 /* what KVM's local APIC says */
#define IOAPIC_VERSION 0x11
#define CPU_ENABLED    1
#define CPU_BOOT       2
#define IOAPIC_ENABLED 1
#define ACTIVE_HIGH    1
#define EDGE_TRIGGERED (1 << 2)
#define IOAPIC_ID      0xf0 /* above those of the CPUs, which stay below 128 */

struct __attribute__((packed)) pointer { /* 4.1 */
	char signature[4] __attribute__((nonstring));
	uint32_t table;
	uint8_t length, revision, checksum, features[5];
};

struct __attribute__((packed)) header { /* 4.2 */
	char signature[4] __attribute__((nonstring));
	uint16_t length;
	uint8_t revision, checksum;
	char oem_id[8], product_id[12];
	uint32_t oem_table;
	uint16_t oem_length, entries;
	uint32_t lapic, extended;
};

enum { PROCESSOR, BUS, IOAPIC, INTERRUPT }; /* the first byte of an entry, 4.3 */

struct __attribute__((packed)) processor {
	uint8_t type, apic_id, apic_version, flags;
	uint32_t signature, features, reserved[2];
};

struct __attribute__((packed)) bus_entry {
	uint8_t type, id;
	char name[6];
};

struct __attribute__((packed)) ioapic {
	uint8_t type, id, version, flags;
	uint32_t gpa;
};

struct __attribute__((packed)) interrupt {
	uint8_t type, kind;
	uint16_t flags;
	uint8_t bus, bus_irq, ioapic, pin;
};

/* Where the table begins: the bytes that it consists of come one entry after another. */
struct table {
	struct pointer pointer;
	struct header head;
	uint8_t entries[MAX_CPUS * sizeof(struct processor) + sizeof(struct bus_entry) +
			sizeof(struct ioapic) + GSI_COUNT * sizeof(struct interrupt)];
};
_Static_assert(sizeof(struct pointer) == 16 && sizeof(struct header) == 44, "MP 1.4, 4.1, 4.2");
_Static_assert(sizeof(struct processor) == 20 && sizeof(struct interrupt) == 8, "MP 1.4, 4.3");
_Static_assert(sizeof(struct table) <= ACPI_GPA - MPTABLE_GPA, "room for the MP table");

static uint8_t checksum(const void *p, size_t n)
{
	const uint8_t *b = p;
	uint8_t sum = 0;

	while (n--)
		sum += *b++;
	return -sum;
}

/* An entry that the caller has filled in; t has room for one of each that there can be. */
static void add(struct table *t, const void *entry, size_t size)
{
	memcpy(t->entries + t->head.length - sizeof(t->head), entry, size);
	t->head.length += size;
	t->head.entries++;
}

static void add_processors(struct table *t, const struct cpu_topology *topology)
{
	struct processor p = {.type = PROCESSOR, .apic_version = LAPIC_VERSION};
	unsigned int i;

	/* Signature and features are left open: CPUID tells them better. */
	for (i = 0; i < topology_cpus(topology); i++) {
		p.apic_id = topology_apic_id(topology, i);
		p.flags = CPU_ENABLED | (i ? 0 : CPU_BOOT);
		add(t, &p, sizeof(p));
	}
}

static void add_interrupts(struct table *t)
{
	struct bus_entry bus = {.type = BUS, .name = "ISA   "};
	struct ioapic ioapic = {.type = IOAPIC, .id = IOAPIC_ID, .version = IOAPIC_VERSION};
	struct interrupt irq = {.type = INTERRUPT, .ioapic = IOAPIC_ID};
	unsigned int i;

	ioapic.flags = IOAPIC_ENABLED;
	ioapic.gpa = IOAPIC_GPA;
	irq.flags = ACTIVE_HIGH | EDGE_TRIGGERED;
	add(t, &bus, sizeof(bus));
	add(t, &ioapic, sizeof(ioapic));
	for (i = 0; i < GSI_COUNT; i++) {
		irq.bus_irq = irq.pin = i;
		add(t, &irq, sizeof(irq));
	}
}

int mptable_build(const struct guest_memory *m, const struct cpu_topology *topology)
{
	struct table t = {.pointer = {.signature = "_MP_", .length = 1, .revision = REVISION},
			  .head = {.signature = "PCMP", .revision = REVISION}};

	t.head.length = sizeof(t.head);
	t.head.lapic = LAPIC_GPA;
	memcpy(t.head.oem_id, "HYPERGEN", 8);
	memcpy(t.head.product_id, "HG-VMM      ", 12);
	add_processors(&t, topology);
	add_interrupts(&t);
	t.head.checksum = checksum(&t.head, t.head.length);
	t.pointer.table = MPTABLE_GPA + sizeof(t.pointer);
	t.pointer.checksum = checksum(&t.pointer, sizeof(t.pointer));
	return memory_write(m, MPTABLE_GPA, &t, sizeof(t.pointer) + t.head.length);
}
