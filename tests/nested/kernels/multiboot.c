// SPDX-License-Identifier: Apache-2.0
/*
 * The smallest multiboot 1 kernel: tells on the 8250 what it was given (The Multiboot
 * Specification 0.6.96, section 3.3) and powers off by the ACPI sleep port.
 *
 * With ADDRESSES the header says where things go and the file need not be ELF (3.1.3).
 */
#include <stdint.h>

__asm__(".section .multiboot, \"ax\"\n"
	".align 4\n"
	"header:\n"
	".globl _start\n"
	".long 0x1badb002\n"
#ifdef ADDRESSES
	".long 0x10003, -(0x1badb002 + 0x10003)\n"
	".long header, _image, _image_end, _bss_end, _start\n"
#else
	".long 3, -(0x1badb002 + 3)\n"
#endif
	"_start:\n"
	"	mov $stack_end, %esp\n"
	"	push %ebx\n"
	"	push %eax\n"
	"	call kernel\n"
	".text\n");

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

uint8_t stack[8192];
__asm__(".globl stack_end\n.set stack_end, stack + 8192\n");

static volatile uint32_t zeroed[1024]; /* bss that no file holds */

static void out(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static void text(const char *s)
{
	for (; *s; s++)
		out(0x3f8, *s);
}

static void hex(const char *name, uint64_t value)
{
	int shift = 60;

	text(name);
	while (shift && !(value >> shift))
		shift -= 4;
	for (; shift >= 0; shift -= 4)
		out(0x3f8, "0123456789abcdef"[value >> shift & 15]);
}

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
	out(0x600, 0x34); /* S5 */
	for (;;)
		__asm__ volatile("hlt");
}
