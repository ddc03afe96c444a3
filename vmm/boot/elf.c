// SPDX-License-Identifier: Apache-2.0
/* ELF kernels (System V gABI, chapters 4 and 5) and the PVH note (Xen's pvh.txt). */
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "boot/boot.h"
#include "layout.h"

#define MAX_SEGMENTS		 64
#define MAX_NOTES		 65536u /* bytes of one PT_NOTE segment that are looked at */
#define XEN_ELFNOTE_PHYS32_ENTRY 18

static int bad(const struct boot_file *f, struct error *e, const char *what)
{
	return error_set(e, ERROR_USER, "%s: not a usable kernel: %s", f->path, what);
}

static int read_at(const struct boot_file *f, void *to, uint64_t len, uint64_t offset)
{
	if (offset > f->size || len > f->size - offset)
		return -1;
	return pread(f->fd, to, len, offset) == (ssize_t)len ? 0 : -1;
}

/* What stands in the same place in both classes: type and machine. */
static int check_ident(const struct boot_file *f, const Elf64_Ehdr *h, struct error *e)
{
	bool wide = h->e_ident[EI_CLASS] == ELFCLASS64;

	if (memcmp(h->e_ident, ELFMAG, SELFMAG))
		return bad(f, e, "neither ELF nor with addresses in a multiboot header");
	if ((!wide && h->e_ident[EI_CLASS] != ELFCLASS32) || h->e_ident[EI_DATA] != ELFDATA2LSB)
		return bad(f, e, "the ELF file is not 32 or 64-bit little endian");
	if (h->e_machine != (wide ? EM_X86_64 : EM_386))
		return bad(f, e, "the ELF file is not for x86");
	if (h->e_type != ET_EXEC && h->e_type != ET_DYN)
		return bad(f, e, "the ELF file is not an executable");
	return 0;
}

static int check_table(const struct boot_file *f, unsigned int entry_size, unsigned int want,
		       unsigned int count, struct error *e)
{
	if (entry_size != want || !count || count > MAX_SEGMENTS)
		return bad(f, e, "the ELF program headers have a bad size or number");
	return 0;
}

/* A 32-bit file in the 64-bit form, as far as it is used here. */
static int read_header32(const struct boot_file *f, Elf64_Ehdr *h, Elf64_Phdr *ph, struct error *e)
{
	Elf32_Phdr ph32[MAX_SEGMENTS];
	Elf32_Ehdr h32;
	unsigned int i;

	if (read_at(f, &h32, sizeof(h32), 0))
		return bad(f, e, "the ELF header is cut off");
	if (check_table(f, h32.e_phentsize, sizeof(*ph32), h32.e_phnum, e))
		return -1;
	if (read_at(f, ph32, h32.e_phnum * sizeof(*ph32), h32.e_phoff))
		return bad(f, e, "the ELF program headers are cut off");
	h->e_entry = h32.e_entry;
	h->e_phnum = h32.e_phnum;
	for (i = 0; i < h32.e_phnum; i++)
		ph[i] = (Elf64_Phdr){.p_type = ph32[i].p_type,
				     .p_offset = ph32[i].p_offset,
				     .p_vaddr = ph32[i].p_vaddr,
				     .p_paddr = ph32[i].p_paddr,
				     .p_filesz = ph32[i].p_filesz,
				     .p_memsz = ph32[i].p_memsz};
	return 0;
}

static int read_header(const struct boot_file *f, Elf64_Ehdr *h, Elf64_Phdr *ph, struct error *e)
{
	if (read_at(f, h, sizeof(Elf32_Ehdr), 0))
		return bad(f, e, "the ELF header is cut off");
	if (check_ident(f, h, e))
		return -1;
	if (h->e_ident[EI_CLASS] == ELFCLASS32)
		return read_header32(f, h, ph, e);
	if (read_at(f, h, sizeof(*h), 0))
		return bad(f, e, "the ELF header is cut off");
	if (check_table(f, h->e_phentsize, sizeof(*ph), h->e_phnum, e))
		return -1;
	if (read_at(f, ph, h->e_phnum * sizeof(*ph), h->e_phoff))
		return bad(f, e, "the ELF program headers are cut off");
	return 0;
}

static int load_segment(const struct boot_file *f, const struct guest_memory *m,
			const Elf64_Phdr *p, struct boot_layout *l, struct error *e)
{
	uint64_t end;

	if (!p->p_memsz)
		return 0;
	if (p->p_filesz > p->p_memsz)
		return bad(f, e, "a segment is larger in the file than in memory");
	if (p->p_offset > f->size || p->p_filesz > f->size - p->p_offset)
		return bad(f, e, "a segment lies past the end of the file");
	if (p->p_paddr < HIGH_RAM_START || __builtin_add_overflow(p->p_paddr, p->p_memsz, &end))
		return bad(f, e, "a segment's load address is below 1 MiB or wraps around");
	if (!memory_at(m, p->p_paddr, p->p_memsz))
		return error_set(
			e, ERROR_USER,
			"%s: a segment ends at %llu MiB, past guest RAM; give more --memory",
			f->path, (unsigned long long)(end >> 20));
	if (p->p_filesz && memory_load(m, p->p_paddr, f->fd, p->p_offset, p->p_filesz))
		return error_set(e, ERROR_USER, "%s: %s", f->path, strerror(errno));
	if (end <= HOLE_START && end > l->kernel_end)
		l->kernel_end = end;
	return 0;
}

/* Looks for the "Xen" note of type 18, which holds an entry point, and for any "Linux" one. */
static void scan_notes(const uint8_t *notes, uint64_t size, struct elf_info *info)
{
	uint64_t at = 0, name, desc;
	Elf64_Nhdr n;
	uint32_t entry;

	while (size - at >= sizeof(n)) {
		memcpy(&n, notes + at, sizeof(n));
		at += sizeof(n);
		name = ((uint64_t)n.n_namesz + 3) & ~3ull;
		desc = ((uint64_t)n.n_descsz + 3) & ~3ull;
		if (name > size - at || desc > size - at - name)
			break;
		if (n.n_type == XEN_ELFNOTE_PHYS32_ENTRY && n.n_namesz == 4 &&
		    !memcmp(notes + at, "Xen", 4) && n.n_descsz >= sizeof(entry)) {
			memcpy(&entry, notes + at + name, sizeof(entry));
			if (!info->pvh_entry)
				info->pvh_entry = entry;
		}
		if (n.n_namesz == 6 && !memcmp(notes + at, "Linux", 6))
			info->linux_kernel = true;
		at += name + desc;
	}
}

static int read_notes(const struct boot_file *f, const Elf64_Phdr *p, struct elf_info *info,
		      struct error *e)
{
	uint64_t size = p->p_filesz < MAX_NOTES ? p->p_filesz : MAX_NOTES;
	uint8_t *notes = malloc(size + 1);
	int r = 0;

	if (!notes)
		return error_set(e, ERROR_MACHINE, "out of memory");
	if (read_at(f, notes, size, p->p_offset))
		r = bad(f, e, "a note segment lies past the end of the file");
	else
		scan_notes(notes, size, info);
	free(notes);
	return r;
}

/* vmlinux states e_entry physically; others state it virtually. */
static uint64_t entry_gpa(const Elf64_Ehdr *h, const Elf64_Phdr *ph)
{
	unsigned int i;

	for (i = 0; i < h->e_phnum; i++)
		if (ph[i].p_type == PT_LOAD && h->e_entry >= ph[i].p_vaddr &&
		    h->e_entry - ph[i].p_vaddr < ph[i].p_memsz)
			return ph[i].p_paddr + (h->e_entry - ph[i].p_vaddr);
	return h->e_entry;
}

int elf_load(const struct boot_file *f, const struct guest_memory *m, struct elf_info *info,
	     struct boot_layout *l, struct error *e)
{
	Elf64_Phdr ph[MAX_SEGMENTS];
	bool loaded = false;
	Elf64_Ehdr h;
	unsigned int i;

	memset(info, 0, sizeof(*info));
	if (read_header(f, &h, ph, e))
		return -1;
	info->wide = h.e_ident[EI_CLASS] == ELFCLASS64;
	for (i = 0; i < h.e_phnum; i++) {
		if (ph[i].p_type == PT_NOTE && read_notes(f, &ph[i], info, e))
			return -1;
		if (ph[i].p_type != PT_LOAD)
			continue;
		if (load_segment(f, m, &ph[i], l, e))
			return -1;
		loaded = true;
	}
	if (!loaded)
		return bad(f, e, "the ELF file has nothing to load");
	info->entry = entry_gpa(&h, ph);
	if (!memory_at(m, info->entry, 1) || (info->pvh_entry && !memory_at(m, info->pvh_entry, 1)))
		return bad(f, e, "the entry point is not in guest RAM");
	return 0;
}
