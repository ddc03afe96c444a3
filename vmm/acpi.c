// SPDX-License-Identifier: Apache-2.0
#include "acpi.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "aml.h"
#include "layout.h"

#define OEM_ID	    "HYPGEN"
#define OEM_TABLE   "HGVMM   "
#define TABLE_ALIGN 16

struct __attribute__((packed)) header { /* 5.2.6 */
	char signature[4];
	uint32_t length;
	uint8_t revision;
	uint8_t checksum;
	char oem_id[6];
	char oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
};

struct __attribute__((packed)) rsdp { /* 5.2.5.3 */
	char signature[8];
	uint8_t checksum;
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length;
	uint64_t xsdt;
	uint8_t extended_checksum;
	uint8_t reserved[3];
};

struct __attribute__((packed)) gas { /* 5.2.3.2, generic address */
	uint8_t space, bit_width, bit_offset, access_size;
	uint64_t address;
};

#define GAS_PORT(port)                                                                             \
	(struct gas)                                                                               \
	{                                                                                          \
		.space = 1, .bit_width = 8, .access_size = 1, .address = (port)                    \
	}

struct __attribute__((packed)) fadt { /* 5.2.9, revision 6 */
	struct header h;
	uint32_t facs, dsdt;
	uint8_t legacy[109 - 44]; /* fixed hardware that a reduced machine has not */
	uint16_t boot_flags;	  /* offset 109 */
	uint8_t reserved;
	uint32_t flags;
	struct gas reset_reg;
	uint8_t reset_value;
	uint16_t arm_boot_flags;
	uint8_t minor_revision;
	uint64_t x_facs, x_dsdt;
	struct gas x_legacy[8];
	struct gas sleep_control, sleep_status;
	uint64_t hypervisor;
};
_Static_assert(offsetof(struct fadt, boot_flags) == 109, "FADT layout");
_Static_assert(sizeof(struct fadt) == 276, "FADT layout");

#define FADT_WBINVD	     (1u << 0)
#define FADT_SLEEP_BUTTON    (1u << 5) /* none as fixed hardware */
#define FADT_POWER_BUTTON    (1u << 4) /* a control-method device */
#define FADT_RESET_SUPPORTED (1u << 10)
#define FADT_HEADLESS	     (1u << 12)
#define FADT_HW_REDUCED	     (1u << 20)
#define BOOT_NO_VGA	     (1u << 2)
#define BOOT_NO_MSI	     (1u << 3)
#define BOOT_NO_ASPM	     (1u << 4)
#define BOOT_NO_CMOS_RTC     (1u << 5)

static uint8_t checksum(const void *p, size_t n)
{
	const uint8_t *b = p;
	uint8_t sum = 0;

	while (n--)
		sum += *b++;
	return -sum;
}

/* Where the next table goes, and what is left. */
struct area {
	uint8_t *base;
	uint32_t used;
};

static uint32_t area_gpa(const struct area *area)
{
	return ACPI_GPA + area->used;
}

/* Finishes a table of h->length bytes and copies it behind the last one; returns its GPA or 0. */
static uint32_t add_table(struct area *area, struct header *h, const char *signature,
			  uint8_t revision)
{
	uint32_t gpa = area_gpa(area);

	memcpy(h->signature, signature, 4);
	h->revision = revision;
	memcpy(h->oem_id, OEM_ID, 6);
	memcpy(h->oem_table_id, OEM_TABLE, 8);
	h->oem_revision = 1;
	memcpy(h->creator_id, "HGEN", 4);
	h->creator_revision = 1;
	h->checksum = 0;
	h->checksum = checksum(h, h->length);
	if (h->length > ACPI_MAX - area->used)
		return 0;
	memcpy(area->base + area->used, h, h->length);
	area->used += (h->length + TABLE_ALIGN - 1) & ~(TABLE_ALIGN - 1);
	return gpa;
}

static size_t open_device(struct aml *a, const char *seg, const char *hid, uint32_t uid)
{
	size_t mark = aml_open(a, "\x5b\x82", 2); /* DeviceOp */

	aml_bytes(a, seg, 4);
	aml_name(a, "_HID");
	if (!strncmp(hid, "PNP", 3))
		aml_eisa_id(a, hid);
	else
		aml_string(a, hid);
	aml_name(a, "_UID");
	aml_integer(a, uid);
	return mark;
}

static void add_virtio(struct aml *a, unsigned int index)
{
	struct aml_crs crs;
	char seg[5];
	size_t mark;

	snprintf(seg, sizeof(seg), "VR%02u", index % 100);
	mark = open_device(a, seg, "LNRO0005", index);
	aml_name(a, "_CCA"); /* DMA is coherent */
	aml_integer(a, 1);
	crs = aml_crs_open(a);
	aml_crs_memory(a, VIRTIO_MMIO_BASE + index * VIRTIO_MMIO_STRIDE, VIRTIO_MMIO_STRIDE);
	aml_crs_irq(a, gsi_virtio(index));
	aml_crs_close(a, &crs);
	aml_close(a, mark);
}

static void add_serial(struct aml *a)
{
	size_t mark = open_device(a, "COM1", "PNP0501", 1);
	struct aml_crs crs = aml_crs_open(a);

	aml_crs_io(a, SERIAL_PORT, 8);
	aml_crs_irq(a, GSI_SERIAL);
	aml_crs_close(a, &crs);
	aml_close(a, mark);
}

static void add_pvpanic(struct aml *a)
{
	size_t mark = open_device(a, "PEVT", "QEMU0001", 0);
	struct aml_crs crs = aml_crs_open(a);

	aml_crs_io(a, PVPANIC_PORT, 1);
	aml_crs_close(a, &crs);
	aml_close(a, mark);
}

/* Where the generation ID is: ADDR () {low half, high half} (VM Generation ID, "ACPI"). */
static void add_generation_id(struct aml *a)
{
	size_t mark = open_device(a, "VGEN", "HGVM0001", 0), pkg;

	aml_name(a, "_CID");
	aml_string(a, "VM_Gen_Counter");
	aml_name(a, "_DDN");
	aml_string(a, "VM_Gen_Counter");
	aml_name(a, "ADDR");
	pkg = aml_open(a, "\x12", 1); /* Package (2) */
	aml_byte(a, 2);
	aml_integer(a, VMGENID_GPA);
	aml_integer(a, 0);
	aml_close(a, pkg);
	aml_close(a, mark);
}

/* If (LEqual (Arg0, gsi)) {Notify (seg, 0x80)} */
static void add_event(struct aml *a, uint32_t gsi, const char *seg)
{
	size_t cond = aml_open(a, "\xa0", 1);

	aml_bytes(a, "\x93\x68", 2);
	aml_integer(a, gsi);
	aml_byte(a, 0x86);
	aml_bytes(a, seg, 4);
	aml_integer(a, 0x80);
	aml_close(a, cond);
}

/* A power button (PNP0C0C), and what presses it: the generic event device (5.6.9). */
static void add_events(struct aml *a)
{
	struct aml_crs crs;
	size_t mark, method;

	mark = open_device(a, "PWRB", "PNP0C0C", 0);
	aml_close(a, mark);
	mark = open_device(a, "GED0", "ACPI0013", 0);
	crs = aml_crs_open(a);
	aml_crs_irq(a, GSI_EVENT);
	aml_crs_irq(a, GSI_GENERATION);
	aml_crs_close(a, &crs);
	method = aml_open(a, "\x14", 1); /* Method (_EVT, 1, Serialized) */
	aml_bytes(a, "_EVT\x09", 5);
	add_event(a, GSI_EVENT, "PWRB");
	add_event(a, GSI_GENERATION, "VGEN");
	aml_close(a, method);
	aml_close(a, mark);
}

static uint32_t add_dsdt(struct area *area, const struct acpi_machine *machine)
{
	static uint8_t buf[8192]; /* one machine a process; zero pages until here */
	struct aml a = {.buf = buf, .len = sizeof(struct header), .room = sizeof(buf)};
	struct header *h = (struct header *)buf;
	unsigned int i;
	size_t scope, pkg;

	aml_name(&a, "_S5_");
	pkg = aml_open(&a, "\x12", 1); /* Package (2) {type, 0} */
	aml_byte(&a, 2);
	aml_integer(&a, SLEEP_TYPE_S5);
	aml_integer(&a, 0);
	aml_close(&a, pkg);
	scope = aml_open(&a, "\x10", 1); /* Scope (\_SB) */
	aml_bytes(&a, "\\_SB_", 5);
	for (i = 0; i < machine->nvirtio; i++)
		add_virtio(&a, i);
	if (machine->serial)
		add_serial(&a);
	add_pvpanic(&a);
	add_generation_id(&a);
	add_events(&a);
	aml_close(&a, scope);
	if (a.overflow)
		return 0;
	h->length = a.len;
	return add_table(area, h, "DSDT", 2);
}

static uint32_t add_fadt(struct area *area, uint32_t dsdt)
{
	struct fadt f = {.h.length = sizeof(f)};

	f.dsdt = dsdt;
	f.x_dsdt = dsdt;
	f.boot_flags = BOOT_NO_VGA | BOOT_NO_MSI | BOOT_NO_ASPM | BOOT_NO_CMOS_RTC;
	f.flags = FADT_WBINVD | FADT_POWER_BUTTON | FADT_SLEEP_BUTTON | FADT_RESET_SUPPORTED |
		  FADT_HEADLESS | FADT_HW_REDUCED;
	f.reset_reg = GAS_PORT(RESET_PORT);
	f.reset_value = RESET_VALUE;
	f.minor_revision = 4;
	f.sleep_control = GAS_PORT(SLEEP_CONTROL_PORT);
	f.sleep_status = GAS_PORT(SLEEP_STATUS_PORT);
	memcpy(&f.hypervisor, "HYPERGEN", 8);
	return add_table(area, &f.h, "FACP", 6);
}

static uint32_t add_madt(struct area *area, const struct cpu_topology *topology)
{
	struct __attribute__((packed)) {
		struct header h;
		uint32_t lapic, flags; /* flags 0: no 8259s */
		struct __attribute__((packed)) {
			uint8_t type, length, id, reserved;
			uint32_t gpa, gsi_base;
		} ioapic;
		struct __attribute__((packed)) {
			uint8_t type, length, uid, apic_id;
			uint32_t flags;
		} cpu[MAX_CPUS];
	} m = {.lapic = LAPIC_GPA};
	unsigned int i;

	m.ioapic.type = 1;
	m.ioapic.length = sizeof(m.ioapic);
	m.ioapic.gpa = IOAPIC_GPA;
	for (i = 0; i < topology_cpus(topology) && i < MAX_CPUS; i++) {
		m.cpu[i].length = sizeof(m.cpu[i]);
		m.cpu[i].uid = i;
		m.cpu[i].apic_id = topology_apic_id(topology, i);
		m.cpu[i].flags = 1; /* enabled */
	}
	m.h.length = offsetof(typeof(m), cpu) + i * sizeof(m.cpu[0]);
	return add_table(area, &m.h, "APIC", 5);
}

int acpi_build(const struct guest_memory *m, const struct acpi_machine *machine)
{
	struct area area = {.base = memory_at(m, ACPI_GPA, ACPI_MAX), .used = 64};
	struct __attribute__((packed)) {
		struct header h;
		uint64_t entries[2];
	} xsdt = {.h.length = sizeof(xsdt)};
	struct rsdp rsdp = {.revision = 2, .length = sizeof(rsdp)};
	uint32_t dsdt;

	if (!area.base)
		return -1;
	dsdt = add_dsdt(&area, machine);
	xsdt.entries[0] = add_fadt(&area, dsdt);
	xsdt.entries[1] = add_madt(&area, &machine->topology);
	rsdp.xsdt = add_table(&area, &xsdt.h, "XSDT", 1);
	if (!dsdt || !xsdt.entries[0] || !xsdt.entries[1] || !rsdp.xsdt)
		return -1;
	memcpy(rsdp.signature, "RSD PTR ", 8);
	memcpy(rsdp.oem_id, OEM_ID, 6);
	rsdp.checksum = checksum(&rsdp, 20);
	rsdp.extended_checksum = checksum(&rsdp, sizeof(rsdp));
	memcpy(area.base, &rsdp, sizeof(rsdp));
	return 0;
}
