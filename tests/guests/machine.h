/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine below a unikernel of ours: ports, interrupts, a clock, and what the VMM tells of
 * addresses.  One CPU; the first gigabyte or the image is mapped one to one.
 */
#ifndef GUEST_MACHINE_H
#define GUEST_MACHINE_H

#include "hermit.h"

#define NIC_VECTOR   43 /* IOAPIC pin 11, as Hermit's kernels count: 32 + 11 */
#define TIMER_VECTOR 48

#define MSR_APIC_BASE	 0x1b
#define MSR_TSC_DEADLINE 0x6e0
#define MSR_X2APIC_EOI	 0x80b
#define MSR_X2APIC_SVR	 0x80f
#define MSR_X2APIC_TIMER 0x832
#define IOAPIC		 0xfec00000ull

static inline void out32(uint16_t port, uint32_t value)
{
	__asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint32_t in32(uint16_t port)
{
	uint32_t value;

	__asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline void write_msr(uint32_t msr, uint64_t value)
{
	__asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)));
}

static inline uint64_t read_msr(uint32_t msr)
{
	uint32_t low, high;

	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
	return (uint64_t)high << 32 | low;
}

static inline uint64_t read_tsc(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return (uint64_t)high << 32 | low;
}

static inline void barrier(void)
{
	__asm__ volatile("" : : : "memory");
}

/* The compiler calls these for what it will not spell out itself. */
__attribute__((used)) void *memcpy(void *to, const void *from, size_t n)
{
	void *start = to;

	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
	return start;
}

__attribute__((used)) void *memset(void *to, int value, size_t n)
{
	void *start = to;

	__asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(value) : "memory");
	return start;
}

__attribute__((used)) int memcmp(const void *a, const void *b, size_t n)
{
	const uint8_t *x = a, *y = b;

	for (; n && *x == *y; n--)
		x++, y++;
	return n ? *x - *y : 0;
}

/* --- memory --- */

#if ABI != 0
__attribute__((aligned(4096))) static uint64_t device_pages[512];

/* Devices between 3 and 4 GiB, which no kernel finds mapped. */
static inline void map_devices(void)
{
	uint64_t *table, i;

	__asm__ volatile("mov %%cr3, %0" : "=r"(table));
	table = (uint64_t *)((uint64_t)table & ~4095ull);
	for (i = 0; i < 512; i++) /* 2 MiB each: present, writable, not cached */
		device_pages[i] = (0xc0000000ull + (i << 21)) | 0x9b;
	table = (uint64_t *)(table[0] & 0xffffffffff000ull);
	table[3] = (uint64_t)device_pages | 3;
	__asm__ volatile("mov %%cr3, %%rax\n\tmov %%rax, %%cr3" : : : "rax", "memory");
}
#endif

/* --- the clock --- */

static uint64_t tsc_per_ms = 1000000, tsc_start;

static inline uint64_t now_ms(void)
{
	return (read_tsc() - tsc_start) / tsc_per_ms;
}

/* --- interrupts --- */

struct interrupt_frame;

static volatile int nic_called, timer_called;
static void (*nic_acknowledge)(void); /* takes a level back before it would strike again */

__attribute__((interrupt)) static void on_nic(struct interrupt_frame *frame)
{
	(void)frame;
	nic_called = 1;
	if (nic_acknowledge)
		nic_acknowledge();
	write_msr(MSR_X2APIC_EOI, 0);
}

__attribute__((interrupt)) static void on_timer(struct interrupt_frame *frame)
{
	(void)frame;
	timer_called = 1;
	write_msr(MSR_X2APIC_EOI, 0);
}

struct gate {
	uint16_t low, selector, type, middle;
	uint32_t high, zero;
};

static void set_gate(struct gate *g, void (*handler)(struct interrupt_frame *))
{
	uint64_t at = (uint64_t)handler;

	*g = (struct gate){.low = (uint16_t)at,
			   .selector = 8,
			   .type = 0x8e00,
			   .middle = (uint16_t)(at >> 16),
			   .high = (uint32_t)(at >> 32)};
}

/* `route`: the low half of the IOAPIC's entry; C kernels find it set by the VMM. */
static inline void start_machine(uint64_t boot_info, uint32_t route)
{
	static struct gate gates[64];
	struct __attribute__((packed)) {
		uint16_t limit;
		uint64_t base;
	} idt = {sizeof(gates) - 1, (uint64_t)gates};
	uint32_t khz;

#if ABI == 0
	(void)boot_info, (void)route;
	khz = *(volatile uint32_t *)0x800018 * 1000;
#else
	khz = *(uint32_t *)(boot_info + 104);
	map_devices();
	*(volatile uint32_t *)IOAPIC = 0x10 + 2 * 11;
	*(volatile uint32_t *)(IOAPIC + 0x10) = route;
#endif
	if (khz)
		tsc_per_ms = khz;
	tsc_start = read_tsc();
	set_gate(&gates[NIC_VECTOR], on_nic);
	set_gate(&gates[TIMER_VECTOR], on_timer);
	__asm__ volatile("lidt %0" : : "m"(idt));
	write_msr(MSR_APIC_BASE, read_msr(MSR_APIC_BASE) | 0xc00); /* x2APIC mode */
	write_msr(MSR_X2APIC_SVR, 0x1ff);
	write_msr(MSR_X2APIC_TIMER, TIMER_VECTOR | 2 << 17); /* by the TSC's deadline */
}

/* Sleeps until the network calls, or `ms` have passed (0: it alone wakes us). */
static inline void wait_for_network(uint64_t ms)
{
	timer_called = 0;
	write_msr(MSR_TSC_DEADLINE, ms ? read_tsc() + ms * tsc_per_ms : 0);
	__asm__ volatile("cli");
	while (!nic_called && !timer_called)
		__asm__ volatile("sti\n\thlt\n\tcli" : : : "memory");
	nic_called = 0;
	__asm__ volatile("sti");
}

/* --- what the VMM tells --- */

#if ABI != 0
static inline uint32_t big32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static inline int equal(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

/* /chosen's bootargs in the device tree (Devicetree Specification, chapter 5). */
static inline const char *boot_arguments(uint64_t boot_info)
{
	const uint8_t *tree = *(const uint8_t **)(boot_info + 24), *at;
	const char *strings;

	if (!tree || big32(tree) != 0xd00dfeed)
		return "";
	at = tree + big32(tree + 8);
	strings = (const char *)tree + big32(tree + 12);
	for (;;) {
		switch (big32(at)) {
		case 1: /* a node begins; its name */
			at += 4 + ((length((const char *)at + 4) + 4) & ~3ull);
			break;
		case 3: /* a property */
			if (equal(strings + big32(at + 8), "bootargs"))
				return (const char *)at + 12;
			at += 12 + ((big32(at + 4) + 3) & ~3u);
			break;
		case 2:
		case 4:
			at += 4;
			break;
		default:
			return "";
		}
	}
}
#endif

/* Four numbers with dots; 0 when they are not there. */
static inline int read_address(const char *text, uint8_t ip[4])
{
	unsigned int i, n;

	for (i = 0; i < 4; i++) {
		if (*text < '0' || *text > '9')
			return 0;
		for (n = 0; *text >= '0' && *text <= '9' && n < 256; text++)
			n = n * 10 + (unsigned int)(*text - '0');
		if (n > 255 || (i < 3 && *text++ != '.'))
			return 0;
		ip[i] = (uint8_t)n;
	}
	return 1;
}

/* Our own address: in a C kernel's header, else HERMIT_IP among the variables. */
static inline int own_address(uint64_t boot_info, uint8_t ip[4])
{
#if ABI == 0
	(void)boot_info, (void)read_address;
	memcpy(ip, (const void *)0x8000b0, 4);
	return ip[0] != 0xff;
#else
	static const char name[] = "env=HERMIT_IP=";
	const char *at = boot_arguments(boot_info);
	size_t i;

	for (; *at; at++) {
		for (i = 0; name[i] && at[i] == name[i]; i++)
			;
		if (!name[i])
			return read_address(at + i, ip);
	}
	return 0;
#endif
}

#endif
