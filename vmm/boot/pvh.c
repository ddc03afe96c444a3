// SPDX-License-Identifier: Apache-2.0
/* The PVH entry (Xen's docs/misc/pvh.pandoc): struct hvm_start_info, version 1. */
#include <stddef.h>
#include <string.h>

#include "boot/boot.h"
#include "layout.h"

#define START_MAGIC 0x336ec578

struct start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modlist, cmdline, rsdp, memmap;
	uint32_t memmap_entries, reserved;
};
_Static_assert(sizeof(struct start_info) == 56, "hvm_start_info layout");

struct module {
	uint64_t gpa, size, cmdline, reserved;
};

struct memmap_entry {
	uint64_t gpa, size;
	uint32_t type, reserved;
};

struct page { /* what START_INFO_GPA holds */
	struct start_info info;
	struct module module;
	struct memmap_entry map[E820_MAX];
};

int pvh_setup(const struct guest_memory *m, const struct boot_layout *l, struct error *e)
{
	struct e820_range map[E820_MAX];
	struct page p = {.info = {.magic = START_MAGIC, .version = 1, .rsdp = l->rsdp}};
	unsigned int i;

	p.info.cmdline = CMDLINE_GPA;
	if (l->initrd_len) {
		p.info.nr_modules = 1;
		p.info.modlist = START_INFO_GPA + offsetof(struct page, module);
		p.module.gpa = l->initrd_gpa;
		p.module.size = l->initrd_len;
	}
	p.info.memmap = START_INFO_GPA + offsetof(struct page, map);
	p.info.memmap_entries = boot_memory_map(m, map);
	for (i = 0; i < p.info.memmap_entries; i++)
		p.map[i] = (struct memmap_entry){map[i].start, map[i].len, map[i].type, 0};
	if (memory_write(m, START_INFO_GPA, &p, sizeof(p)) || boot_flat_gdt(m))
		return error_set(e, ERROR_MACHINE, "guest RAM is too small for the start info");
	return 0;
}
