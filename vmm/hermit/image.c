// SPDX-License-Identifier: Apache-2.0
#include "hermit/image.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NOTE_ENTRY_VERSION     0x5a00
#define NOTE_INTERFACE_VERSION 0x5b00
#define ABI_TAG_HERMIT	       6
#define ENTRY_VERSION	       4 /* of hermit-entry, since Hermit 0.4 */
#define MAX_INTERFACE	       3
#define MAX_NOTES	       4096u /* bytes of one PT_NOTE that are looked at */
#define MAX_HEADERS	       64
#define MAX_IMAGE	       (1ull << 32) /* bytes in memory: offsets cannot overflow below it */

struct notes {
	bool entry, interface, tag;
	bool linux_tag; /* of a program for Linux */
	uint8_t entry_version;
	uint32_t interface_version;
	uint32_t version[3];
};

static int bad(const struct boot_file *f, struct error *e, const char *what)
{
	return error_set(e, ERROR_USER, "%s: not a usable unikernel: %s", f->path, what);
}

static int read_at(const struct boot_file *f, void *to, uint64_t len, uint64_t offset)
{
	if (offset > f->size || len > f->size - offset)
		return -1;
	return pread(f->fd, to, len, offset) == (ssize_t)len ? 0 : -1;
}

static void take_note(struct notes *n, uint32_t type, const char *name, uint32_t name_len,
		      const uint8_t *desc, uint32_t desc_len)
{
	uint32_t words[4];

	if (type == NOTE_ENTRY_VERSION && name_len == 7 && !memcmp(name, "HERMIT", 7) && desc_len) {
		n->entry = true;
		n->entry_version = desc[0];
	} else if (type == NOTE_INTERFACE_VERSION && name_len == 8 && !memcmp(name, "UHYVEIF", 8) &&
		   desc_len == 4) {
		n->interface = true;
		n->interface_version =
			(uint32_t)desc[0] << 24 | desc[1] << 16 | desc[2] << 8 | desc[3];
	} else if (type == NT_GNU_ABI_TAG && name_len == 4 && !memcmp(name, "GNU", 4) &&
		   desc_len == sizeof(words)) {
		memcpy(words, desc, sizeof(words));
		n->tag = words[0] == ABI_TAG_HERMIT;
		n->linux_tag = words[0] == ELF_NOTE_OS_LINUX;
		memcpy(n->version, words + 1, sizeof(n->version));
	}
}

static uint64_t padded(uint32_t len, uint64_t align)
{
	return (len + align - 1) & ~(align - 1);
}

/* Padding follows p_align where that is 8, as the linker lays such notes out; else it is 4. */
static void scan_notes(struct notes *n, const uint8_t *at, uint64_t size, uint64_t align)
{
	uint64_t name, desc;
	Elf64_Nhdr h;

	align = align == 8 ? 8 : 4;
	while (size >= sizeof(h)) {
		memcpy(&h, at, sizeof(h));
		name = padded((uint32_t)sizeof(h) + h.n_namesz, align);
		if (h.n_namesz > size || name > size)
			return;
		desc = h.n_descsz;
		if (desc > size - name)
			return;
		take_note(n, h.n_type, (const char *)at + sizeof(h), h.n_namesz, at + name,
			  h.n_descsz);
		desc = padded(h.n_descsz, align);
		if (desc > size - name)
			return;
		at += name + desc;
		size -= name + desc;
	}
}

static int read_notes(const struct boot_file *f, const Elf64_Phdr *p, struct notes *n)
{
	uint64_t size = p->p_filesz < MAX_NOTES ? p->p_filesz : MAX_NOTES;
	uint8_t notes[MAX_NOTES];

	if (read_at(f, notes, size, p->p_offset))
		return -1;
	scan_notes(n, notes, size, p->p_align);
	return 0;
}

static int check_load(const struct boot_file *f, const Elf64_Phdr *p, struct hermit_image *image,
		      uint64_t *end, struct error *e)
{
	uint64_t at = image->abi == HERMIT_C ? p->p_paddr : p->p_vaddr, top;

	if (p->p_filesz > p->p_memsz)
		return bad(f, e, "a segment is larger in the file than in memory");
	if (p->p_offset > f->size || p->p_filesz > f->size - p->p_offset)
		return bad(f, e, "a segment lies past the end of the file");
	if (__builtin_add_overflow(at, p->p_memsz, &top) || top > MAX_IMAGE)
		return bad(f, e, "a segment reaches above 4 GiB");
	if (at < image->start)
		image->start = at;
	if (top > *end)
		*end = top;
	return 0;
}

static int keep_segments(const struct boot_file *f, const Elf64_Phdr *ph, unsigned int count,
			 struct hermit_image *image, struct error *e)
{
	uint64_t end = 0;
	unsigned int i;

	image->start = UINT64_MAX;
	for (i = 0; i < count; i++) {
		if (ph[i].p_type != PT_LOAD && ph[i].p_type != PT_TLS && ph[i].p_type != PT_DYNAMIC)
			continue;
		if (ph[i].p_type == PT_LOAD && ph[i].p_memsz &&
		    check_load(f, &ph[i], image, &end, e))
			return -1;
		if (image->nsegments == HERMIT_MAX_SEGMENTS)
			return bad(f, e, "it has too many segments");
		image->segments[image->nsegments++] = ph[i];
	}
	if (!end)
		return bad(f, e, "it has nothing to load");
	image->size = end - image->start;
	return 0;
}

static const char *machine_name(uint16_t machine, char text[16])
{
	if (machine == EM_AARCH64)
		return "aarch64";
	if (machine == EM_RISCV)
		return "riscv64";
	snprintf(text, 16, "machine %u", machine);
	return text;
}

const char *hermit_name(const struct hermit_image *image, char text[48])
{
	if (image->abi == HERMIT_C)
		return "HermitCore";
	if (!image->tagged)
		return "Hermit before 0.10";
	snprintf(text, 48, "Hermit %u.%u.%u", image->version[0], image->version[1],
		 image->version[2]);
	return text;
}

/* What the notes make of it; -1 when it is one that cannot run here. */
static int judge(const struct boot_file *f, const Elf64_Ehdr *h, const struct notes *n,
		 struct hermit_image *image, struct error *e)
{
	char name[48], machine[16];

	image->tagged = n->tag;
	memcpy(image->version, n->version, sizeof(image->version));
	image->interface = n->interface ? n->interface_version : 1;
	if (n->entry || n->interface || n->tag)
		image->abi = image->interface == 1 ? HERMIT_V1 : HERMIT_V2;
	else if (h->e_ident[EI_OSABI] == ELFOSABI_STANDALONE && n->linux_tag)
		return error_set(e, ERROR_USER,
				 "%s: no unikernel but a program for Linux, though its OS ABI is "
				 "255 (standalone)",
				 f->path);
	else if (h->e_ident[EI_OSABI] == ELFOSABI_STANDALONE && h->e_type == ET_EXEC)
		image->abi = HERMIT_C;
	if (image->abi == HERMIT_NONE)
		return 0;
	if (h->e_machine != EM_X86_64)
		return error_set(e, ERROR_USER, "%s: %s image for %s; this host is x86_64", f->path,
				 hermit_name(image, name), machine_name(h->e_machine, machine));
	if (n->entry && n->entry_version != ENTRY_VERSION)
		return error_set(e, ERROR_USER,
				 "%s: %s image with entry version %u; this VMM knows %u", f->path,
				 hermit_name(image, name), n->entry_version, ENTRY_VERSION);
	if (!image->interface || image->interface > MAX_INTERFACE)
		return error_set(e, ERROR_USER,
				 "%s: %s image with hypercall interface %u; this VMM knows 1 to %u",
				 f->path, hermit_name(image, name), image->interface,
				 MAX_INTERFACE);
	return 0;
}

int hermit_identify(const struct boot_file *f, struct hermit_image *image, struct error *e)
{
	Elf64_Phdr ph[MAX_HEADERS];
	struct notes notes = {0};
	unsigned int i;
	Elf64_Ehdr h;

	memset(image, 0, sizeof(*image));
	if (read_at(f, &h, sizeof(h), 0) || memcmp(h.e_ident, ELFMAG, SELFMAG) ||
	    h.e_ident[EI_CLASS] != ELFCLASS64 || h.e_ident[EI_DATA] != ELFDATA2LSB ||
	    (h.e_type != ET_EXEC && h.e_type != ET_DYN) || h.e_phentsize != sizeof(*ph) ||
	    !h.e_phnum || h.e_phnum > MAX_HEADERS ||
	    read_at(f, ph, h.e_phnum * sizeof(*ph), h.e_phoff))
		return 0; /* the loaders of other kernels say what is wrong with it */
	for (i = 0; i < h.e_phnum; i++)
		if (ph[i].p_type == PT_NOTE && read_notes(f, &ph[i], &notes))
			return 0;
	if (judge(f, &h, &notes, image, e))
		return -1;
	if (image->abi == HERMIT_NONE)
		return 0;
	image->relocatable = h.e_type == ET_DYN;
	image->entry = h.e_entry;
	return keep_segments(f, ph, h.e_phnum, image, e);
}
