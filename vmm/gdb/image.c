// SPDX-License-Identifier: Apache-2.0
#include <elf.h>
#include <string.h>
#include <unistd.h>

#include "boot/boot.h"
#include "gdb/target.h"

#define MAX_SEGMENTS 64

static bool read_at(const struct boot_file *f, void *to, size_t len, uint64_t offset)
{
	return offset <= f->size && pread(f->fd, to, len, (off_t)offset) == (ssize_t)len;
}

int image_translate(const struct boot_file *kernel, uint64_t address, uint64_t *gpa)
{
	unsigned int i;
	Elf64_Ehdr h;
	Elf64_Phdr p;

	if (kernel->fd < 0 || !read_at(kernel, &h, sizeof(h), 0) ||
	    memcmp(h.e_ident, ELFMAG, SELFMAG) != 0 || h.e_phentsize != sizeof(p))
		return -1;
	for (i = 0; i < h.e_phnum && i < MAX_SEGMENTS; i++) {
		if (!read_at(kernel, &p, sizeof(p), h.e_phoff + i * sizeof(p)))
			return -1;
		if (p.p_type == PT_LOAD && address >= p.p_vaddr &&
		    address - p.p_vaddr < p.p_memsz) {
			*gpa = p.p_paddr + (address - p.p_vaddr);
			return 0;
		}
	}
	return -1;
}
