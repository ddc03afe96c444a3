// SPDX-License-Identifier: Apache-2.0
/*
 * What the multiboot 1 kernels here share: header, entry and stack (The Multiboot Specification
 * 0.6.96, 3.1), and text on the 8250.
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

uint8_t stack[8192];
__asm__(".globl stack_end\n.set stack_end, stack + 8192\n");

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

/* The ACPI sleep port: S5. */
static _Noreturn void power_off(void)
{
	out(0x600, 0x34);
	for (;;)
		__asm__ volatile("hlt");
}
