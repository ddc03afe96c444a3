// SPDX-License-Identifier: Apache-2.0
#include "hermit/load.h"

#include <errno.h>
#include <string.h>

#define MAX_DYNAMIC 256 /* entries of PT_DYNAMIC that are looked at */

/* All addresses here are the file's; `bias` makes GPAs of them. */
struct dynamic {
	uint64_t rela, rela_size, rela_entry, symbols;
};

static int bad(const struct boot_file *f, struct error *e, const char *what)
{
	return error_set(e, ERROR_USER, "%s: not a usable unikernel: %s", f->path, what);
}

static int load_segment(const struct boot_file *f, const struct guest_memory *m, uint64_t gpa,
			const Elf64_Phdr *p, struct error *e)
{
	if (!p->p_memsz)
		return 0;
	if (!memory_at(m, gpa, p->p_memsz))
		return error_set(e, ERROR_USER,
				 "%s: a segment ends at %llu MiB, past guest RAM; give more memory",
				 f->path, (unsigned long long)((gpa + p->p_memsz) >> 20));
	if (p->p_filesz && memory_load(m, gpa, f->fd, p->p_offset, p->p_filesz))
		return error_set(e, ERROR_USER, "%s: %s", f->path,
				 errno == ENODATA ? "the file became shorter" : strerror(errno));
	return 0;
}

static int read_dynamic(const struct boot_file *f, const struct guest_memory *m, uint64_t bias,
			const Elf64_Phdr *p, struct dynamic *d, struct error *e)
{
	unsigned int i;
	Elf64_Dyn dyn;

	for (i = 0; i < MAX_DYNAMIC && (i + 1) * sizeof(dyn) <= p->p_memsz; i++) {
		if (memory_read(m, bias + p->p_vaddr + i * sizeof(dyn), &dyn, sizeof(dyn)))
			return bad(f, e, "its dynamic table is not in memory");
		switch (dyn.d_tag) {
		case DT_NULL:
			return 0;
		case DT_NEEDED:
			return bad(f, e, "it needs shared libraries");
		case DT_RELA:
			d->rela = dyn.d_un.d_ptr;
			break;
		case DT_RELASZ:
			d->rela_size = dyn.d_un.d_val;
			break;
		case DT_RELAENT:
			d->rela_entry = dyn.d_un.d_val;
			break;
		case DT_SYMTAB:
			d->symbols = dyn.d_un.d_ptr;
			break;
		}
	}
	return 0;
}

/* 1: *value is what the relocation stores.  0: nothing is to be stored.  -1: not possible. */
static int resolve(const struct guest_memory *m, uint64_t bias, const struct dynamic *d,
		   const Elf64_Rela *r, uint64_t *value)
{
	Elf64_Sym symbol;

	if (ELF64_R_TYPE(r->r_info) == R_X86_64_RELATIVE) {
		*value = bias + (uint64_t)r->r_addend;
		return 1;
	}
	if (ELF64_R_TYPE(r->r_info) != R_X86_64_64 && ELF64_R_TYPE(r->r_info) != R_X86_64_GLOB_DAT)
		return -1;
	if (memory_read(m, bias + d->symbols + ELF64_R_SYM(r->r_info) * sizeof(symbol), &symbol,
			sizeof(symbol)))
		return -1;
	if (symbol.st_shndx == SHN_UNDEF) /* weak ones stay 0, others nobody could provide */
		return ELF64_ST_BIND(symbol.st_info) == STB_WEAK ? 0 : -1;
	*value = bias + symbol.st_value + (uint64_t)r->r_addend;
	return 1;
}

static int relocate(const struct boot_file *f, const struct hermit_image *image,
		    const struct guest_memory *m, uint64_t bias, const struct dynamic *d,
		    struct error *e)
{
	uint64_t at, value;
	Elf64_Rela r;
	int what;

	if (!d->rela_size)
		return 0;
	if (d->rela_entry != sizeof(r) || d->rela_size % sizeof(r) ||
	    !memory_at(m, bias + d->rela, d->rela_size))
		return bad(f, e, "its relocation table has a bad size or place");
	for (at = 0; at < d->rela_size; at += sizeof(r)) {
		memory_read(m, bias + d->rela + at, &r, sizeof(r));
		what = resolve(m, bias, d, &r, &value);
		if (what < 0)
			return error_set(e, ERROR_USER,
					 "%s: not a usable unikernel: relocation of type %u",
					 f->path, (unsigned int)ELF64_R_TYPE(r.r_info));
		if (r.r_offset < image->start || image->size < sizeof(value) ||
		    r.r_offset - image->start > image->size - sizeof(value) ||
		    (what && memory_write(m, bias + r.r_offset, &value, sizeof(value))))
			return bad(f, e, "a relocation lies outside of the image");
	}
	return 0;
}

int hermit_load(const struct boot_file *f, const struct hermit_image *image,
		const struct guest_memory *m, uint64_t kernel, struct error *e)
{
	uint64_t bias = hermit_bias(image, kernel);
	struct dynamic d = {0};
	const Elf64_Phdr *p;
	unsigned int i;

	for (i = 0; i < image->nsegments; i++) {
		p = &image->segments[i];
		if (p->p_type == PT_LOAD &&
		    load_segment(f, m, bias + (image->abi == HERMIT_C ? p->p_paddr : p->p_vaddr), p,
				 e))
			return -1;
	}
	if (!image->relocatable)
		return 0;
	for (i = 0; i < image->nsegments; i++)
		if (image->segments[i].p_type == PT_DYNAMIC &&
		    read_dynamic(f, m, bias, &image->segments[i], &d, e))
			return -1;
	return relocate(f, image, m, bias, &d, e);
}

struct hermit_tls hermit_tls(const struct hermit_image *image, uint64_t kernel)
{
	const Elf64_Phdr *p;
	unsigned int i;

	for (i = 0; i < image->nsegments; i++) {
		p = &image->segments[i];
		if (p->p_type == PT_TLS)
			return (struct hermit_tls){hermit_bias(image, kernel) + p->p_vaddr,
						   p->p_filesz, p->p_memsz, p->p_align};
	}
	return (struct hermit_tls){0};
}
