// SPDX-License-Identifier: Apache-2.0
/* The 64-bit entry of the Linux/x86 boot protocol (boot.rst, "64-bit Boot Protocol"). */
#include <asm/bootparam.h>
#include <string.h>

#include "boot/boot.h"
#include "layout.h"

#define PTE_PRESENT 1ull
#define PTE_WRITE   2ull
#define PTE_HUGE    0x80ull
#define LOADER_ID   0xff /* no assigned number */

/* Identity-maps the first GiB with 2 MiB pages; kernel, zero page and command line are in it. */
static int write_page_tables(const struct guest_memory *m)
{
	uint64_t *t = memory_at(m, PAGE_TABLE_GPA, 3 * 4096);
	unsigned int i;

	if (!t)
		return -1;
	t[0] = (PAGE_TABLE_GPA + 0x1000) | PTE_PRESENT | PTE_WRITE;
	t[512] = (PAGE_TABLE_GPA + 0x2000) | PTE_PRESENT | PTE_WRITE;
	for (i = 0; i < 512; i++)
		t[1024 + i] = (uint64_t)i << 21 | PTE_PRESENT | PTE_WRITE | PTE_HUGE;
	return 0;
}

/* __BOOT_CS = 0x10: flat 64-bit code; __BOOT_DS = 0x18: flat data. */
static const uint64_t gdt[4] = {0, 0, 0x00af9b000000ffffull, 0x00cf93000000ffffull};

static void write_e820(const struct guest_memory *m, struct boot_params *bp)
{
	struct e820_range map[E820_MAX];
	unsigned int i, n = boot_memory_map(m, map);

	for (i = 0; i < n; i++) {
		bp->e820_table[i].addr = map[i].start;
		bp->e820_table[i].size = map[i].len;
		bp->e820_table[i].type = map[i].type;
	}
	bp->e820_entries = n;
}

int linux64_setup(const struct guest_memory *m, struct boot_params *bp, const struct boot_layout *l,
		  struct error *e)
{
	struct setup_header *h = &bp->hdr;

	if (h->header == 0) {
		/* A vmlinux brings no setup header; what the kernel reads of it is this. */
		h->boot_flag = 0xaa55;
		h->header = 0x53726448;
		h->version = 0x020f;
		h->loadflags = LOADED_HIGH;
		h->kernel_alignment = 0x1000000;
		h->cmdline_size = l->cmdline_len;
	}
	h->type_of_loader = LOADER_ID;
	h->cmd_line_ptr = CMDLINE_GPA;
	h->ramdisk_image = l->initrd_gpa; /* below the hole, so 32 bits are enough */
	h->ramdisk_size = l->initrd_len;
	bp->acpi_rsdp_addr = l->rsdp;
	write_e820(m, bp);
	if (write_page_tables(m) || memory_write(m, GDT_GPA, gdt, sizeof(gdt)) ||
	    memory_write(m, ZERO_PAGE_GPA, bp, sizeof(*bp)))
		return error_set(e, ERROR_MACHINE, "guest RAM is too small for the zero page");
	return 0;
}
