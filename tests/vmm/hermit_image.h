/* SPDX-License-Identifier: Apache-2.0 */
/* Makes unikernel images byte by byte, for tests of what reads them. */
#ifndef TEST_HERMIT_IMAGE_H
#define TEST_HERMIT_IMAGE_H

#include <elf.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "boot/boot.h"
#include "units.h"

/* What an image says of itself; 0 leaves the note out. */
struct recipe {
	uint16_t type, machine;
	uint8_t abi, entry_version;
	uint32_t interface, version_minor;
	bool linux_program; /* by its ABI tag */
	uint64_t where;	    /* of the segment */
	unsigned int nrela;
	Elf64_Rela rela[4];
	uint64_t rela_size; /* when not 0: what the dynamic table claims */
};

#define CODE_AT	   0x1000u /* file offset and, from `where` on, the place of the segment */
#define CODE_BYTES 0x1000u
#define RELA_AT	   0x400u /* in the segment */
#define DYNAMIC_AT 0x600u
#define SYMBOLS_AT 0x800u

static inline size_t add_note(uint8_t *to, uint32_t type, const char *name, const void *desc,
			      uint32_t len)
{
	Elf64_Nhdr h = {(uint32_t)strlen(name) + 1, len, type};
	size_t name_len = (h.n_namesz + 3) & ~3u;

	memcpy(to, &h, sizeof(h));
	memcpy(to + sizeof(h), name, h.n_namesz);
	memcpy(to + sizeof(h) + name_len, desc, len);
	return sizeof(h) + name_len + ((len + 3) & ~3u);
}

static inline size_t add_notes(uint8_t *to, const struct recipe *r)
{
	uint32_t interface = __builtin_bswap32(r->interface), tag[4] = {6, 0, r->version_minor, 0};
	size_t n = 0;

	if (r->entry_version)
		n += add_note(to + n, 0x5a00, "HERMIT", &r->entry_version, 1);
	if (r->interface)
		n += add_note(to + n, 0x5b00, "UHYVEIF", &interface, 4);
	if (r->linux_program)
		tag[0] = ELF_NOTE_OS_LINUX;
	if (r->version_minor || r->linux_program)
		n += add_note(to + n, NT_GNU_ABI_TAG, "GNU", tag, sizeof(tag));
	return n;
}

/* An image of two pages in a memfd; *size is the file's. */
static inline struct boot_file make_image(const struct recipe *r)
{
	static uint8_t file[CODE_AT + CODE_BYTES];
	Elf64_Ehdr *h = (Elf64_Ehdr *)file;
	Elf64_Phdr *p = (Elf64_Phdr *)(file + sizeof(*h));
	Elf64_Dyn *d = (Elf64_Dyn *)(file + CODE_AT + DYNAMIC_AT);
	uint64_t rela_size = r->rela_size ? r->rela_size : r->nrela * sizeof(Elf64_Rela);
	struct boot_file f = {.size = sizeof(file), .path = "image"};

	memset(file, 0, sizeof(file));
	memset(file + CODE_AT, 0x90, 16);
	memcpy(h->e_ident, ELFMAG, SELFMAG);
	h->e_ident[EI_CLASS] = ELFCLASS64;
	h->e_ident[EI_DATA] = ELFDATA2LSB;
	h->e_ident[EI_OSABI] = r->abi;
	h->e_type = r->type;
	h->e_machine = r->machine ? r->machine : EM_X86_64;
	h->e_entry = r->where + 8;
	h->e_phoff = sizeof(*h);
	h->e_phentsize = sizeof(*p);
	h->e_phnum = 4;
	p[0] = (Elf64_Phdr){.p_type = PT_LOAD,
			    .p_offset = CODE_AT,
			    .p_vaddr = r->where,
			    .p_paddr = r->where,
			    .p_filesz = CODE_BYTES,
			    .p_memsz = 2 * CODE_BYTES};
	p[1] = (Elf64_Phdr){.p_type = PT_NOTE, .p_offset = 0x400, .p_align = 4};
	p[1].p_filesz = p[1].p_memsz = add_notes(file + 0x400, r);
	p[2] = (Elf64_Phdr){.p_type = PT_TLS,
			    .p_vaddr = r->where + 0x100,
			    .p_filesz = 8,
			    .p_memsz = 64,
			    .p_align = 16};
	p[3] = (Elf64_Phdr){
		.p_type = PT_DYNAMIC, .p_vaddr = r->where + DYNAMIC_AT, .p_memsz = 5 * sizeof(*d)};
	memcpy(file + CODE_AT + RELA_AT, r->rela, sizeof(r->rela));
	d[0] = (Elf64_Dyn){DT_RELA, {r->where + RELA_AT}};
	d[1] = (Elf64_Dyn){DT_RELASZ, {rela_size}};
	d[2] = (Elf64_Dyn){DT_RELAENT, {sizeof(Elf64_Rela)}};
	d[3] = (Elf64_Dyn){DT_SYMTAB, {r->where + SYMBOLS_AT}};
	f.fd = memfd_create("image", MFD_CLOEXEC);
	CHECK(f.fd >= 0 && write(f.fd, file, sizeof(file)) == (ssize_t)sizeof(file));
	return f;
}

#endif
