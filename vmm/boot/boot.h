/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From kernel file to a guest that can be entered: reads the image straight into guest
 * RAM, places initrd and command line, writes what the entry protocol wants.  Every field
 * of the files is checked before use; a bad file is an error of one line.
 *
 *   vmlinux  ELF64 with a PVH note   32-bit entry (boot/pvh.c)
 *            ELF64                   64-bit entry (boot/linux64.c)
 *   bzImage  boot protocol >= 2.12   64-bit entry at +0x200
 *   multiboot 1, ELF or not          32-bit entry (boot/multiboot.c)
 *
 * BOOT_AUTO enters an ELF kernel by its PVH note when it has one, as the note states the entry's
 * address and contract, while e_entry is a convention.  The convention is known for Linux, which
 * a note of owner "Linux" tells (since 4.19), and there the 64-bit entry costs 256 exits less: at
 * its PVH entry Linux looks for Xen in each place of CPUID where a hypervisor could be.
 */
#ifndef HG_BOOT_BOOT_H
#define HG_BOOT_BOOT_H

#include <stdbool.h>
#include <stdint.h>

#include "memory.h"
#include "options.h"

/* An opened file; path is for messages. */
struct boot_file {
	int fd; /* -1: none */
	uint64_t size;
	const char *path;
};

struct boot_source {
	struct boot_file kernel, initrd;
	const char *cmdline;
	enum boot_method method;
	bool tsc_invariant; /* the guest's CPUID says so */
	uint64_t rsdp;	    /* GPA of the ACPI tables' root, 0: none */
};

/* What the first vCPU starts with. */
struct boot_entry {
	enum boot_method method; /* BOOT_LINUX64: long mode, else 32-bit protected mode */
	uint64_t rip, rax, rbx, rsi;
};

/* Between the loaders of boot/. */
struct boot_layout {
	uint64_t kernel_end;		 /* GPA behind everything the kernel needs for itself */
	uint64_t initrd_gpa, initrd_len; /* len 0: none */
	uint64_t initrd_max;		 /* last GPA allowed for a byte of the initrd */
	uint64_t cmdline_max;		 /* bytes without the NUL */
	uint64_t cmdline_len;		 /* the same, of all that is handed over */
	bool linux_kernel;
	uint64_t rsdp;
};

/* Opens path for reading; *f keeps path.  `what` names it in messages. */
int boot_open(struct boot_file *f, const char *path, const char *what, struct error *e);

/* Does it all.  m is zeroed RAM with the ACPI tables in place. */
int boot_load(const struct boot_source *src, const struct guest_memory *m, struct boot_entry *entry,
	      struct error *e);

/* boot/elf.c: loads the segments of a 32 or 64-bit file. pvh_entry is 0 when there is no such note.
 */
struct elf_info {
	uint64_t entry; /* e_entry as a GPA */
	uint64_t pvh_entry;
	bool linux_kernel; /* it says so in a note */
	bool wide;	   /* 64-bit */
};
int elf_load(const struct boot_file *f, const struct guest_memory *m, struct elf_info *info,
	     struct boot_layout *l, struct error *e);

/* boot/bzimage.c: loads the protected-mode part; setup gets the setup header's 0x1f1.. bytes. */
struct boot_params;
bool bzimage_is(const struct boot_file *f);
int bzimage_load(const struct boot_file *f, const struct guest_memory *m, struct boot_params *bp,
		 uint64_t *entry, struct boot_layout *l, struct error *e);

#define LINUX64_MAPPED (1ull << 30) /* bytes from 0 up that are identity-mapped at entry */
/* boot/linux64.c: completes and writes the zero page, GDT and page tables. */
int linux64_setup(const struct guest_memory *m, struct boot_params *bp, const struct boot_layout *l,
		  struct error *e);

/* boot/pvh.c: writes hvm_start_info and GDT. */
int pvh_setup(const struct guest_memory *m, const struct boot_layout *l, struct error *e);

/* boot/multiboot.c: whether there is a header; the load by it; the information structure. */
bool multiboot_is(const struct boot_file *f);
int multiboot_load(const struct boot_file *f, const struct guest_memory *m,
		   struct boot_entry *entry, struct boot_layout *l, struct error *e);
int multiboot_setup(const struct guest_memory *m, const struct boot_layout *l,
		    struct boot_entry *entry, struct error *e);

/* Writes the GDT of the 32-bit entries, see vcpu_set_entry(). */
int boot_flat_gdt(const struct guest_memory *m);

/* The memory map all protocols hand over. Type numbers are E820's. */
#define E820_RAM      1u
#define E820_RESERVED 2u
struct e820_range {
	uint64_t start, len;
	uint32_t type;
};
#define E820_MAX 6
unsigned int boot_memory_map(const struct guest_memory *m, struct e820_range map[E820_MAX]);

#endif
