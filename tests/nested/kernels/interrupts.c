// SPDX-License-Identifier: Apache-2.0
/*
 * Counts its interrupts, and those that come while their own handler runs: RFLAGS.IF is 0 there, so
 * there may be none. The timer of the APIC ticks each millisecond, the handler takes a part of it.
 */
#include "multiboot.h"

#define TICKS  3000
#define VECTOR 0xec

struct gate {
	uint16_t low, selector;
	uint8_t zero, type;
	uint16_t high;
} __attribute__((packed));

static volatile uint32_t *const apic = (uint32_t *)0xfee00000;
static volatile uint32_t depth, nested, ticks, work;
static struct gate idt[256];

extern char entry[];
__asm__("entry:\n"
	"	pusha\n"
	"	cld\n"
	"	call handler\n"
	"	popa\n"
	"	iret\n");

void handler(void);
void handler(void)
{
	if (depth++)
		nested++;
	if (ticks < TICKS) /* one more may come before the loop's end is seen */
		ticks++;
	if (depth < 4) /* no more than the stack holds */
		for (uint32_t i = 0; i < 60000; i++)
			work += i;
	depth--;
	apic[0xb0 / 4] = 0; /* EOI */
}

void kernel(void);
void kernel(void)
{
	struct {
		uint16_t limit;
		uint32_t base;
	} __attribute__((packed)) idtr = {sizeof(idt) - 1, (uint32_t)idt};
	uint16_t cs;

	__asm__ volatile("mov %%cs, %0" : "=r"(cs));
	for (uint32_t i = 0; i < 256; i++)
		idt[i] = (struct gate){
			.low = (uint32_t)entry,
			.selector = cs,
			.type = 0x8e, /* 32-bit interrupt gate */
			.high = (uint32_t)entry >> 16,
		};
	__asm__ volatile("lidt %0" : : "m"(idtr));
	apic[0xf0 / 4] = 0x1ff;		    /* on; spurious vector */
	apic[0x3e0 / 4] = 0xb;		    /* timer: divide by 1 */
	apic[0x320 / 4] = 1 << 17 | VECTOR; /* periodic */
	apic[0x380 / 4] = 1000000;	    /* ns on KVM */
	text("ticking\n");
	__asm__ volatile("sti");
	while (ticks < TICKS)
		__asm__ volatile("pause");
	__asm__ volatile("cli");
	hex("ticks ", ticks);
	hex("\nnested ", nested);
	text("\n");
	power_off();
}
