// SPDX-License-Identifier: Apache-2.0
/* C HermitCore: its header in the image, and what both kinds of kernel share. */
#include <string.h>

#include "hermit/hermit.h"
#include "hermit/load.h"

#define GDT_GPA_C    0x1000ull
#define PML4_GPA     0x10000ull
#define TABLES_GPA   0x11000ull
#define TABLES_END_C 0x13000ull
#define MAPPED	     0x40000000ull

/* Offsets in the header at the image's start (libhermit's kernel_header). */
#define HEAD_BASE	0x08
#define HEAD_LIMIT	0x10
#define HEAD_MHZ	0x18
#define HEAD_ONLINE	0x20
#define HEAD_POSSIBLE	0x24
#define HEAD_BOOT_ID	0x30
#define HEAD_IMAGE_SIZE 0x38
#define HEAD_ISLES	0x60
#define HEAD_UHYVE	0x94
#define HEAD_UART	0x98
#define HEAD_IP		0xb0 /* address, gateway, mask: four bytes each */
#define HEAD_HOST	0xbc
#define UART_PORT	0x800

#define PAGE_PRESENT 1ull
#define PAGE_WRITE   2ull
#define PAGE_HUGE    0x80ull
#define HUGE	     0x200000ull
#define ADDRESS	     0x000ffffffffff000ull

int hermit_gdt(const struct guest_memory *m, uint64_t gpa)
{
	static const uint64_t gdt[HERMIT_GDT_BYTES / 8] = {
		0,
		0x00af9b000000ffffull, /* code: 64-bit, present, accessed */
		0x00cf93000000ffffull, /* data */
	};

	return memory_write(m, gpa, gdt, sizeof(gdt));
}

/* The table that entry `index` of `table` points to, made when there is none; 0: no room. */
static uint64_t below(const struct guest_memory *m, uint64_t table, unsigned int index,
		      uint64_t *next, uint64_t end)
{
	uint64_t entry;

	if (memory_read(m, table + 8 * index, &entry, sizeof(entry)))
		return 0;
	if (entry & PAGE_PRESENT)
		return entry & ADDRESS;
	if (*next + 4096 > end)
		return 0;
	entry = *next | PAGE_PRESENT | PAGE_WRITE;
	*next += 4096;
	return memory_write(m, table + 8 * index, &entry, sizeof(entry)) ? 0 : entry & ADDRESS;
}

int hermit_map(const struct guest_memory *m, uint64_t pml4, uint64_t tables, uint64_t tables_end,
	       uint64_t from, uint64_t to)
{
	uint64_t self = pml4 | PAGE_PRESENT | PAGE_WRITE, at, pdpt, pd, entry;

	/* The last entry points to the table itself: kernels reach their page tables through it. */
	if (memory_write(m, pml4 + 8 * 511, &self, sizeof(self)))
		return -1;
	for (at = from; at < to; at += HUGE) {
		pdpt = below(m, pml4, at >> 39 & 511, &tables, tables_end);
		pd = pdpt ? below(m, pdpt, at >> 30 & 511, &tables, tables_end) : 0;
		entry = at | PAGE_PRESENT | PAGE_WRITE | PAGE_HUGE;
		if (!pd || memory_write(m, pd + 8 * (at >> 21 & 511), &entry, sizeof(entry)))
			return -1;
	}
	return 0;
}

static int put(const struct guest_memory *m, uint64_t gpa, uint64_t value, unsigned int bytes)
{
	return memory_write(m, gpa, &value, bytes); /* little endian: the low bytes come first */
}

static int put_network(const struct hermit *h, const struct guest_memory *m)
{
	const struct hermit_ip *ip = &h->cfg.ip;

	/* What hermit-caves says of a kernel that has no address; the image has one of its own. */
	if (!ip->given)
		return put(m, h->at.kernel + HEAD_IP, UINT32_MAX, 4);
	return memory_write(m, h->at.kernel + HEAD_IP, ip->address, 4) ||
	       memory_write(m, h->at.kernel + HEAD_IP + 4, ip->gateway, 4) ||
	       memory_write(m, h->at.kernel + HEAD_IP + 8, ip->mask, 4);
}

int hermit_boot_core(struct hermit *h, const struct guest_memory *m, unsigned int cpus,
		     uint32_t tsc_khz, struct error *e)
{
	uint64_t head = h->at.kernel;
	int r;

	r = put(m, head + HEAD_BASE, head, 8) || put(m, head + HEAD_LIMIT, m->size, 8) ||
	    put(m, head + HEAD_MHZ, tsc_khz / 1000, 4) || put(m, head + HEAD_POSSIBLE, cpus, 4) ||
	    put(m, head + HEAD_ONLINE, 0, 4) || put(m, head + HEAD_BOOT_ID, 0, 4) ||
	    put(m, head + HEAD_IMAGE_SIZE, h->image.size, 8) || put(m, head + HEAD_ISLES, 1, 4) ||
	    put(m, head + HEAD_UHYVE, 1, 4) ||
	    put(m, head + HEAD_UART, h->cfg.verbose ? UART_PORT : 0, 8) ||
	    /* The place of its memory in our address space is no business of a guest's. */
	    put(m, head + HEAD_HOST, 0, 8) || put_network(h, m) || hermit_gdt(m, GDT_GPA_C) ||
	    hermit_map(m, PML4_GPA, TABLES_GPA, TABLES_END_C, 0, MAPPED);
	if (r)
		return error_set(e, ERROR_USER, "the unikernel's memory is too small for it");
	return 0;
}

int hermit_boot(struct hermit *h, const struct boot_file *f, const struct guest_memory *m,
		unsigned int cpus, uint32_t tsc_khz, struct error *e)
{
	if (hermit_load(f, &h->image, m, h->at.kernel, e))
		return -1;
	return h->image.abi == HERMIT_C ? hermit_boot_core(h, m, cpus, tsc_khz, e)
					: hermit_boot_rust(h, m, cpus, tsc_khz, e);
}

bool hermit_may_start(const struct hermit *h, const struct guest_memory *m, unsigned int index)
{
	uint64_t head = h->at.kernel;
	uint32_t *online, id = index;

	if (h->image.abi != HERMIT_C || index == 0)
		return true;
	online = memory_at(m, head + HEAD_ONLINE, sizeof(*online));
	if (!online || __atomic_load_n(online, __ATOMIC_ACQUIRE) < index)
		return false;
	memory_write(m, head + HEAD_BOOT_ID, &id, sizeof(id));
	return true;
}
