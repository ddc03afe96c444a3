// SPDX-License-Identifier: Apache-2.0
/* Multiboot 1 (The Multiboot Specification, version 0.6.96). */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "boot/boot.h"
#include "layout.h"

#define SEARCH	     8192u /* bytes of the file that hold the header (3.1) */
#define HEADER_MAGIC 0x1badb002u
#define ENTRY_MAGIC  0x2badb002u

/* Header flags (3.1.2): what the image needs; bits below 16 that a loader does not know refuse. */
#define NEEDS_PAGE_ALIGN (1u << 0) /* of modules; they always are */
#define NEEDS_MEMORY	 (1u << 1) /* always told */
#define NEEDS_VIDEO	 (1u << 2)
#define REQUIREMENTS	 0xffffu
#define HAS_ADDRESSES	 (1u << 16) /* not ELF, or shall not be loaded as such */

/* Information flags (3.3). */
#define INFO_MEMORY  (1u << 0)
#define INFO_CMDLINE (1u << 2)
#define INFO_MODULES (1u << 3)
#define INFO_MAP     (1u << 6)
#define INFO_LOADER  (1u << 9)

struct header { /* 3.1.1; the fields of the video mode follow */
	uint32_t magic, flags, checksum;
	uint32_t header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr;
};

struct info { /* 3.3, as far as it is filled in */
	uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr;
	uint32_t syms[4], mmap_length, mmap_addr, drives_length, drives_addr, config_table;
	uint32_t boot_loader_name, apm_table;
};
_Static_assert(offsetof(struct info, boot_loader_name) == 64, "multiboot_info layout");

struct module {
	uint32_t start, end, string, reserved;
};

struct __attribute__((packed)) map_entry {
	uint32_t size; /* of the rest */
	uint64_t base, length;
	uint32_t type;
};

struct page { /* what START_INFO_GPA holds */
	struct info info;
	struct module module;
	struct map_entry map[E820_MAX];
	char loader[8];
};

static int bad(const struct boot_file *f, struct error *e, const char *what)
{
	return error_set(e, ERROR_USER, "%s: not a usable kernel: %s", f->path, what);
}

/* The header and its offset in the file; -1: there is none. */
static int64_t find_header(const struct boot_file *f, struct header *h)
{
	uint32_t words[SEARCH / 4] = {0};
	ssize_t n = pread(f->fd, words, sizeof(words), 0);
	unsigned int i, count = n > 0 ? (size_t)n / 4 : 0;

	for (i = 0; i + 3 <= count; i++) {
		if (words[i] != HEADER_MAGIC || words[i] + words[i + 1] + words[i + 2])
			continue;
		memset(h, 0, sizeof(*h));
		memcpy(h, &words[i], 4 * (count - i < 8 ? count - i : 8));
		return 4 * (int64_t)i;
	}
	return -1;
}

bool multiboot_is(const struct boot_file *f)
{
	struct header h;

	return find_header(f, &h) >= 0;
}

/* By the addresses of the header (3.1.3).  RAM is zeroed, and with it the bss. */
static int load_by_addresses(const struct boot_file *f, const struct guest_memory *m,
			     const struct header *h, uint64_t header_at, struct boot_layout *l,
			     struct error *e)
{
	uint64_t before = (uint64_t)h->header_addr - h->load_addr, at, len, end;

	if (h->header_addr < h->load_addr || before > header_at)
		return bad(f, e, "the multiboot header's address does not fit its place");
	at = header_at - before;
	len = f->size - at;
	if (h->load_end_addr) {
		if (h->load_end_addr <= h->load_addr)
			return bad(f, e, "the multiboot image ends before it begins");
		if (h->load_end_addr - h->load_addr > len)
			return bad(f, e, "the multiboot image is cut off");
		len = h->load_end_addr - h->load_addr;
	}
	end = h->load_addr + len;
	if (h->bss_end_addr && h->bss_end_addr < end)
		return bad(f, e, "the multiboot bss ends before it begins");
	end = h->bss_end_addr ? h->bss_end_addr : end;
	if (h->load_addr < HIGH_RAM_START)
		return bad(f, e, "its load address is below 1 MiB");
	if (end > HOLE_START || !memory_at(m, h->load_addr, end - h->load_addr))
		return error_set(e, ERROR_USER,
				 "%s: it ends at %llu MiB, past guest RAM; give more --memory",
				 f->path, (unsigned long long)(end >> 20));
	if (h->entry_addr < h->load_addr || h->entry_addr >= end)
		return bad(f, e, "the entry point is outside of the image");
	if (memory_load(m, h->load_addr, f->fd, at, len))
		return error_set(e, ERROR_USER, "%s: %s", f->path,
				 errno == ENODATA ? "the file became shorter" : strerror(errno));
	l->kernel_end = end;
	return 0;
}

int multiboot_load(const struct boot_file *f, const struct guest_memory *m,
		   struct boot_entry *entry, struct boot_layout *l, struct error *e)
{
	struct elf_info info;
	struct header h;
	int64_t at = find_header(f, &h);

	if (at < 0)
		return bad(f, e, "no multiboot header in its first 8 KiB");
	if (h.flags & NEEDS_VIDEO)
		return bad(f, e, "it needs a screen, and this machine has none");
	if (h.flags & REQUIREMENTS & ~(NEEDS_PAGE_ALIGN | NEEDS_MEMORY))
		return bad(f, e, "its multiboot header needs what version 1 does not know");
	entry->method = BOOT_MULTIBOOT;
	if (h.flags & HAS_ADDRESSES) {
		entry->rip = h.entry_addr;
		return load_by_addresses(f, m, &h, at, l, e);
	}
	if (elf_load(f, m, &info, l, e))
		return -1;
	if (info.entry >= HOLE_START)
		return bad(f, e, "the entry point is above 4 GiB");
	entry->rip = info.entry;
	return 0;
}

int multiboot_setup(const struct guest_memory *m, const struct boot_layout *l,
		    struct boot_entry *entry, struct error *e)
{
	struct page p = {.loader = "hg-vmm"};
	struct e820_range map[E820_MAX];
	unsigned int i, n = boot_memory_map(m, map);

	p.info.flags = INFO_MEMORY | INFO_CMDLINE | INFO_MAP | INFO_LOADER;
	p.info.mem_lower = LOW_RAM_END >> 10;
	p.info.mem_upper = (memory_low_end(m) - HIGH_RAM_START) >> 10;
	p.info.cmdline = CMDLINE_GPA;
	p.info.boot_loader_name = START_INFO_GPA + offsetof(struct page, loader);
	p.info.mmap_addr = START_INFO_GPA + offsetof(struct page, map);
	p.info.mmap_length = n * sizeof(p.map[0]);
	for (i = 0; i < n; i++)
		p.map[i] = (struct map_entry){sizeof(p.map[0]) - sizeof(p.map[0].size),
					      map[i].start, map[i].len, map[i].type};
	if (l->initrd_len) {
		p.info.flags |= INFO_MODULES;
		p.info.mods_count = 1;
		p.info.mods_addr = START_INFO_GPA + offsetof(struct page, module);
		p.module.start = l->initrd_gpa;
		p.module.end = l->initrd_gpa + l->initrd_len;
		p.module.string = p.info.boot_loader_name + strlen(p.loader); /* empty */
	}
	entry->rax = ENTRY_MAGIC;
	entry->rbx = START_INFO_GPA;
	if (memory_write(m, START_INFO_GPA, &p, sizeof(p)) || boot_flat_gdt(m))
		return error_set(e, ERROR_MACHINE,
				 "guest RAM is too small for the boot information");
	return 0;
}
