// SPDX-License-Identifier: Apache-2.0
/*
 * The smallest multiboot 1 kernel: tells on the 8250 what it was given (The Multiboot
 * Specification 0.6.96, section 3.3) and powers off by the ACPI sleep port.
 */
#include "multiboot.h"

struct info {
	uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr;
	uint32_t syms[4], mmap_length, mmap_addr, drives[2], config, loader;
};

struct module {
	uint32_t start, end, string, reserved;
};

struct map_entry {
	uint32_t size;
	uint64_t base, length;
	uint32_t type;
} __attribute__((packed));

static volatile uint32_t zeroed[1024]; /* bss that no file holds */

void kernel(uint32_t magic, const struct info *info);
void kernel(uint32_t magic, const struct info *info)
{
	const struct module *mod = (const struct module *)info->mods_addr;
	const struct map_entry *e = (const struct map_entry *)info->mmap_addr;
	const struct map_entry *end =
		(const struct map_entry *)(info->mmap_addr + info->mmap_length);
	uint32_t i, sum = 0, cr0;

	__asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
	hex("magic ", magic);
	hex("\nflags ", info->flags);
	hex("\npaging ", cr0 >> 31);
	hex("\nlower ", info->mem_lower);
	hex("\nupper ", info->mem_upper);
	text("\ncmdline ");
	text((const char *)info->cmdline);
	text("\nloader ");
	text((const char *)info->loader);
	for (; e < end; e = (const struct map_entry *)((const uint8_t *)e + e->size + 4)) {
		hex("\nmap ", e->base);
		hex(" ", e->length);
		hex(" ", e->type);
	}
	for (i = 0; i < info->mods_count; i++) {
		text("\nmodule ");
		for (const char *p = (const char *)mod[i].start; p < (const char *)mod[i].end; p++)
			out(0x3f8, *p);
	}
	for (i = 0; i < 1024; i++)
		sum |= zeroed[i];
	hex("\nbss ", sum);
	text("\n");
	power_off();
}
