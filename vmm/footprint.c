// SPDX-License-Identifier: Apache-2.0
#include "footprint.h"

#include <link.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

#define PAGE 4096ul

/* Segments that nobody writes to are the file's pages (but for a debugger's breakpoints). */
static int forget(struct dl_phdr_info *object, size_t size, void *arg)
{
	const ElfW(Phdr) * p;
	uintptr_t start, end;

	(void)size;
	(void)arg;
	for (p = object->dlpi_phdr; p < object->dlpi_phdr + object->dlpi_phnum; p++) {
		if (p->p_type != PT_LOAD || (p->p_flags & PF_W))
			continue;
		start = (object->dlpi_addr + p->p_vaddr) & ~(PAGE - 1);
		end = (object->dlpi_addr + p->p_vaddr + p->p_filesz + PAGE - 1) & ~(PAGE - 1);
		madvise((void *)start, end - start, MADV_DONTNEED);
	}
	return 0;
}

void footprint_forget_start(void)
{
	dl_iterate_phdr(forget, NULL);
}
