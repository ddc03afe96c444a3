// SPDX-License-Identifier: Apache-2.0
/*
 * A unikernel as Unikraft's and Solo5's are: ENTRY says how it boots, 1 multiboot 1 and 2 PVH (in
 * 32-bit mode), 3 Linux's protocol for an ELF64 file, which Unikraft calls lxboot.  It tells its
 * command line on the UART, uses Unilib-FS, timer and clock, and ends by the way that its last
 * argument names: a number at port 0x501, "pm" and "reset" as Unikraft does on QEMU and on
 * Firecracker.
 */
#include <stddef.h>
#include <stdint.h>

#include "../../vmm/hermit/params.h"

#define MULTIBOOT 1
#define PVH	  2
#define LXBOOT	  3

__attribute__((aligned(16), used)) uint8_t stack[16384];

#if ENTRY == LXBOOT
__asm__(".pushsection .text.first, \"ax\"\n.globl _start\n_start:\n"
	"	mov	$stack + 16384, %rsp\n"
	"	mov	%rsi, %rdi\n"
	"	call	kernel\n.popsection\n");
#else
__asm__(".pushsection .text.first, \"ax\"\n.balign 4\n"
#if ENTRY == MULTIBOOT
	".long 0x1badb002, 3, -(0x1badb002 + 3)\n"
#endif
	".globl _start\n_start:\n"
	"	mov	$stack + 16384, %esp\n"
	"	push	%ebx\n"
	"	call	kernel\n.popsection\n");
#endif
#if ENTRY == PVH
__asm__(".pushsection .note.pvh, \"a\", @note\n"
	"	.long	4, 4, 18\n" /* XEN_ELFNOTE_PHYS32_ENTRY */
	"	.asciz	\"Xen\"\n"
	"	.long	_start\n.popsection\n");
#endif

static void out8(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static uint8_t in8(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static void out16(uint16_t port, uint16_t value)
{
	__asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}

static void unilib_out(struct unilib_call *c)
{
	__asm__ volatile("outl %%eax, %%dx"
			 :
			 : "a"((uint32_t)(uintptr_t)c), "d"((uint16_t)0x1300)
			 : "memory");
}

#include "unilib.h"

static void text(const char *s)
{
	for (; *s; s++)
		out8(0x3f8, (uint8_t)*s);
}

static const char *command_line(const uint8_t *given)
{
#if ENTRY == MULTIBOOT
	return (const char *)*(const uintptr_t *)(given + 16);
#elif ENTRY == PVH
	return (const char *)(uintptr_t)*(const uint64_t *)(given + 24);
#else
	return (const char *)(uintptr_t)*(const uint32_t *)(given + 0x228);
#endif
}

/* As Solo5 does: the 8259 begins anew, the 8254's counter is loaded without a word of its mode. */
static const char *try_timer(void)
{
	unsigned int tries;

	if (in8(0x21) != 0xff || in8(0xa1) != 0xff)
		return "interrupts are not masked";
	out8(0x20, 0x11);
	out8(0x21, 32);
	out8(0x21, 4);
	out8(0x21, 1);
	out8(0x40, 0xff);
	out8(0x40, 0);
	out8(0x20, 0x0a); /* what is requested can be read */
	for (tries = 0; tries < 1000000; tries++)
		if (in8(0x20) & 1)
			return 0;
	return "the timer does not count";
}

static uint8_t clock_register(uint8_t reg)
{
	out8(0x70, reg);
	return in8(0x71);
}

static const char *try_clock(void)
{
	unsigned int tries = 1000;

	while (clock_register(0x0a) & 0x80) /* an update is under way */
		if (!--tries)
			return "the clock never holds still";
	return clock_register(0x32) == 0x20 ? 0 : "not this century";
}

__attribute__((used)) static void kernel(const uint8_t *given)
{
	const char *line = command_line(given), *last, *wrong = unilib_try();
	unsigned int status = 0;

	if (!wrong)
		wrong = try_timer();
	if (!wrong)
		wrong = try_clock();
	text("command line: ");
	text(line);
	text("\n");
	text(wrong ? wrong : "all is well");
	text("\n");
	for (last = line; *line; line++)
		if (*line == ' ')
			last = line + 1;
	for (line = last; *line >= '0' && *line <= '9'; line++)
		status = 10 * status + (unsigned int)(*line - '0');
	if (*last == 'r')
		out8(0x64, 0xfe);
	else if (*last == 'p')
		out16(0x604, 0x2000);
	else
		out16(0x501, (uint16_t)status);
	for (;;)
		__asm__ volatile("hlt");
}
