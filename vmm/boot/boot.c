// SPDX-License-Identifier: Apache-2.0
#include "boot/boot.h"

#include <asm/bootparam.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "layout.h"

#define PAGE		  4096ull
#define LINUX_CMDLINE_MAX 2047 /* COMMAND_LINE_SIZE of x86, without the NUL */

int boot_open(struct boot_file *f, const char *path, const char *what, struct error *e)
{
	struct stat st;

	f->path = path;
	f->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (f->fd < 0)
		return error_set(e, ERROR_USER, "%s %s: %s", what, path, strerror(errno));
	if (fstat(f->fd, &st) || !S_ISREG(st.st_mode))
		return error_set(e, ERROR_USER, "%s %s: not a regular file", what, path);
	if (!st.st_size)
		return error_set(e, ERROR_USER, "%s %s: the file is empty", what, path);
	f->size = st.st_size;
	return 0;
}

unsigned int boot_memory_map(const struct guest_memory *m, struct e820_range map[E820_MAX])
{
	unsigned int n = 0;

	map[n++] = (struct e820_range){0, LOW_RAM_END, E820_RAM};
	map[n++] = (struct e820_range){LOW_RAM_END, HIGH_RAM_START - LOW_RAM_END, E820_RESERVED};
	map[n++] = (struct e820_range){HIGH_RAM_START, m->low - HIGH_RAM_START, E820_RAM};
	if (m->size > m->low)
		map[n++] = (struct e820_range){m->high, m->size - m->low, E820_RAM};
	return n;
}

/* As high as allowed below the hole: the kernel's own allocations grow from below. */
static int place_initrd(const struct boot_file *f, const struct guest_memory *m,
			struct boot_layout *l, struct error *e)
{
	uint64_t top = memory_low_end(m), gpa;

	if (f->fd < 0)
		return 0;
	if (l->initrd_max + 1 < top)
		top = l->initrd_max + 1;
	if (f->size > top || (gpa = (top - f->size) & ~(PAGE - 1)) < l->kernel_end)
		return error_set(
			e, ERROR_USER,
			"initrd %s: %llu KiB do not fit into guest RAM; give more --memory",
			f->path, (unsigned long long)(f->size >> 10));
	if (memory_load(m, gpa, f->fd, 0, f->size))
		return error_set(e, ERROR_USER, "initrd %s: %s", f->path,
				 errno == ENODATA ? "the file became shorter" : strerror(errno));
	l->initrd_gpa = gpa;
	l->initrd_len = f->size;
	return 0;
}

/*
 * Linux takes kvmclock where its TSC is not invariant, and yet compares the two twice a second for
 * ever, which wakes an idle guest (kernel-parameters.txt, tsc=; a kernel that does not know the
 * word passes over it).  First, as behind "--" it would be init's.
 */
static const char *our_parameters(const struct boot_source *src, const struct boot_layout *l)
{
	static const char unwatched[] = "tsc=nowatchdog ";

	if (!l->linux_kernel || src->tsc_invariant || strstr(src->cmdline, "tsc=") ||
	    strlen(src->cmdline) + strlen(unwatched) > l->cmdline_max)
		return "";
	return unwatched;
}

static int place_cmdline(const struct boot_source *src, const struct guest_memory *m,
			 struct boot_layout *l, struct error *e)
{
	const char *before = our_parameters(src, l);
	size_t len = strlen(src->cmdline), add = strlen(before);
	char *to;

	if (len > l->cmdline_max)
		return error_set(e, ERROR_USER,
				 "--cmdline is %zu bytes long, this kernel takes %llu", len,
				 (unsigned long long)l->cmdline_max);
	l->cmdline_len = add + len;
	to = memory_at(m, CMDLINE_GPA, l->cmdline_len + 1);
	if (!to)
		return -1;
	memcpy(to, before, add);
	memcpy(to + add, src->cmdline, len + 1);
	return 0;
}

/* 0x10: flat 32-bit code; 0x18: flat data; 0x20: a TSS of no use but to be valid. */
int boot_flat_gdt(const struct guest_memory *m)
{
	static const uint64_t gdt[5] = {0, 0, 0x00cf9b000000ffffull, 0x00cf93000000ffffull,
					0x00008b0000000067ull};

	return memory_write(m, GDT_GPA, gdt, sizeof(gdt));
}

static int load_elf(const struct boot_source *src, const struct guest_memory *m,
		    struct boot_layout *l, struct boot_entry *entry, struct error *e)
{
	struct elf_info info;

	if (elf_load(&src->kernel, m, &info, l, e))
		return -1;
	if (!info.wide)
		return error_set(e, ERROR_USER,
				 "%s: not a usable kernel: a 32-bit ELF file without a multiboot "
				 "header",
				 src->kernel.path);
	l->linux_kernel = info.linux_kernel;
	entry->method = src->method;
	if (entry->method == BOOT_AUTO && !info.pvh_entry && !info.linux_kernel &&
	    multiboot_is(&src->kernel))
		return multiboot_load(&src->kernel, m, entry, l, e);
	if (entry->method == BOOT_AUTO)
		entry->method = info.pvh_entry && !info.linux_kernel ? BOOT_PVH : BOOT_LINUX64;
	if (entry->method == BOOT_PVH && !info.pvh_entry)
		return error_set(e, ERROR_USER,
				 "%s: no PVH note in it (CONFIG_PVH); use --boot auto",
				 src->kernel.path);
	entry->rip = entry->method == BOOT_PVH ? info.pvh_entry : info.entry;
	return 0;
}

static int load_kernel(const struct boot_source *src, const struct guest_memory *m,
		       struct boot_params *bp, struct boot_layout *l, struct boot_entry *entry,
		       struct error *e)
{
	uint8_t magic[5]; /* of ELF, and its class */
	bool elf;

	if (pread(src->kernel.fd, magic, sizeof(magic), 0) != sizeof(magic))
		return error_set(e, ERROR_USER, "%s: not a kernel (too short)", src->kernel.path);
	elf = !memcmp(magic, "\177ELF", 4);
	/* Linux is never asked for such a header: its search would be a part of each boot. */
	if (src->method == BOOT_MULTIBOOT ||
	    (src->method == BOOT_AUTO && (elf ? magic[4] == 1 : !bzimage_is(&src->kernel)) &&
	     multiboot_is(&src->kernel)))
		return multiboot_load(&src->kernel, m, entry, l, e);
	if (elf)
		return load_elf(src, m, l, entry, e);
	if (src->method == BOOT_PVH)
		return error_set(e, ERROR_USER, "%s: not an ELF file, so no PVH entry",
				 src->kernel.path);
	entry->method = BOOT_LINUX64;
	l->linux_kernel = true;
	return bzimage_load(&src->kernel, m, bp, &entry->rip, l, e);
}

int boot_load(const struct boot_source *src, const struct guest_memory *m, struct boot_entry *entry,
	      struct error *e)
{
	struct boot_layout l = {
		.initrd_max = HOLE_START - 1, .cmdline_max = LINUX_CMDLINE_MAX, .rsdp = src->rsdp};
	struct boot_params bp = {0};

	memset(entry, 0, sizeof(*entry));
	if (load_kernel(src, m, &bp, &l, entry, e) || place_initrd(&src->initrd, m, &l, e) ||
	    place_cmdline(src, m, &l, e))
		return -1;
	if (entry->method == BOOT_MULTIBOOT)
		return multiboot_setup(m, &l, entry, e);
	if (entry->method == BOOT_PVH) {
		entry->rbx = START_INFO_GPA;
		return pvh_setup(m, &l, e);
	}
	/* linux64.c maps no more than this; such a kernel could not even fetch its first byte. */
	if (entry->rip >= LINUX64_MAPPED)
		return error_set(e, ERROR_USER, "%s: its 64-bit entry is above 1 GiB",
				 src->kernel.path);
	entry->rsi = ZERO_PAGE_GPA;
	return linux64_setup(m, &bp, &l, e);
}
