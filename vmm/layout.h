/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's address map, in guest-physical addresses, I/O ports and GSIs.
 * ACPI (acpi.c) tells the guest; nothing here is probed for.
 */
#ifndef HG_LAYOUT_H
#define HG_LAYOUT_H

/* Boot structures in conventional memory; free for the guest once it has read them. */
#define GDT_GPA	       0x500ull
#define START_INFO_GPA 0x6000ull  /* PVH hvm_start_info, module list, memory map: one page */
#define ZERO_PAGE_GPA  0x7000ull  /* struct boot_params, one page */
#define PAGE_TABLE_GPA 0x9000ull  /* PML4, PDPT, one PD: three pages */
#define CMDLINE_GPA    0x20000ull /* up to CMDLINE_MAX bytes with the NUL */
#define CMDLINE_MAX    0x10000ull
#define LOW_RAM_END    0x9fc00ull  /* where a PC's EBDA begins; reserved from here to 1 MiB */
#define MPTABLE_GPA    LOW_RAM_END /* the last KiB of 640: one of the places to look (MP 1.4, 4) */
#define VMGENID_GPA    0xdf000ull  /* 16 bytes, on a page of their own (vmgenid.h) */
#define ACPI_GPA       0xe0000ull  /* RSDP first: kernels that scan for it find it here too */
#define ACPI_MAX       0x20000ull
#define HIGH_RAM_START 0x100000ull

/* RAM ends at the hole and goes on at 4 GiB. */
#define HOLE_START 0xc0000000ull
#define HOLE_END   0x100000000ull

#define VIRTIO_MMIO_BASE   0xd0000000ull
#define VIRTIO_MMIO_STRIDE 0x1000ull
#define IOAPIC_GPA	   0xfec00000u
#define LAPIC_GPA	   0xfee00000u
/* Two areas that KVM on Intel wants for itself (real-mode TSS, identity map). */
#define KVM_IDENTITY_GPA 0xfffbc000ull
#define KVM_TSS_GPA	 0xfffbd000ull

#define SERIAL_PORT	   0x3f8
#define PVPANIC_PORT	   0x505
#define SLEEP_CONTROL_PORT 0x600
#define SLEEP_STATUS_PORT  0x601
#define RESET_PORT	   0x602
#define KEYBOARD_PORT	   0x64

#define RESET_VALUE   0x01
#define SLEEP_TYPE_S5 5

#define GSI_GENERATION 3 /* ACPI generic event device: another generation ID */
#define GSI_SERIAL     4
#define GSI_EVENT      5 /* ACPI generic event device: the power button */
#define GSI_VIRTIO     6 /* and up, one a device: gsi_virtio() */
#define GSI_RTC	       8
#define GSI_COUNT      24 /* pins of KVM's IOAPIC */
#define MAX_VIRTIO     (GSI_COUNT - GSI_VIRTIO)

/*
 * The GSI of device i, below MAX_VIRTIO.  KVM takes pin 8 for an RTC's and wants each of its EOIs,
 * an exit where a CPU else keeps interrupts to itself (Intel SDM vol. 3, "EOI Virtualization"):
 * that pin is the last device's.
 */
static inline unsigned int gsi_virtio(unsigned int i)
{
	i += GSI_VIRTIO;
	if (i < GSI_RTC)
		return i;
	return i + 1 < GSI_COUNT ? i + 1 : GSI_RTC;
}

#endif
