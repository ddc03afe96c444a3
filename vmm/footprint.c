// SPDX-License-Identifier: Apache-2.0
#include "footprint.h"

#include <link.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define PAGE 4096ul
#define MAX  16 /* segments: the program's, libc's, the dynamic linker's, the vDSO's */

struct segments {
	unsigned int count;
	struct {
		uintptr_t start, end;
	} of[MAX];
};

/* Segments that nobody writes to are the file's pages (but for a debugger's breakpoints). */
static int collect(struct dl_phdr_info *object, size_t size, void *arg)
{
	struct segments *s = arg;
	const ElfW(Phdr) * p;

	(void)size;
	for (p = object->dlpi_phdr; p < object->dlpi_phdr + object->dlpi_phnum; p++) {
		if (p->p_type != PT_LOAD || (p->p_flags & PF_W) || s->count == MAX)
			continue;
		s->of[s->count].start = (object->dlpi_addr + p->p_vaddr) & ~(PAGE - 1);
		s->of[s->count].end =
			(object->dlpi_addr + p->p_vaddr + p->p_filesz + PAGE - 1) & ~(PAGE - 1);
		s->count++;
	}
	return 0;
}

/* No call of libc's: each page that runs in between brings 15 neighbours back with it. */
static void forget(uintptr_t start, uintptr_t len)
{
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "0"(SYS_madvise), "D"(start), "S"(len), "d"(MADV_DONTNEED)
			 : "rcx", "r11", "memory");
}

void footprint_forget_start(void)
{
	struct segments s = {0};
	unsigned int i;

	dl_iterate_phdr(collect, &s);
	for (i = 0; i < s.count; i++)
		forget(s.of[i].start, s.of[i].end - s.of[i].start);
}
