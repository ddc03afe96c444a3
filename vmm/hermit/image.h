/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which unikernel an ELF file is, by its notes, and whether this machine can run it.
 *
 *   note "HERMIT"  type 0x5a00  the entry's version (hermit-entry): a Rust Hermit
 *   note "UHYVEIF" type 0x5b00  big-endian u32: the hypercall interface's version, absent = 1
 *   note "GNU"     type 1, OS 6 the Hermit version, three u32; absent before 0.10
 *   EI_OSABI 0xff and no HERMIT note: a C HermitCore application
 *
 * Every field of the file is checked here once; load.c relies on it.
 */
#ifndef HG_HERMIT_IMAGE_H
#define HG_HERMIT_IMAGE_H

#include <elf.h>
#include <stdbool.h>
#include <stdint.h>

#include "boot/boot.h"

enum hermit_abi { HERMIT_NONE, HERMIT_C, HERMIT_V1, HERMIT_V2 };

#define HERMIT_MAX_SEGMENTS 32

struct hermit_image {
	enum hermit_abi abi;
	bool relocatable; /* ET_DYN: runs where it is put */
	bool tagged;	  /* it states its version (0.10 and later) */
	uint32_t version[3];
	uint32_t interface; /* of the hypercalls: 1, 2 or 3 */
	uint64_t entry;	    /* as the file states it */
	uint64_t start;	    /* lowest address of a PT_LOAD: p_paddr for HERMIT_C, else p_vaddr */
	uint64_t size;	    /* bytes from there to the end of the highest */
	unsigned int nsegments;
	Elf64_Phdr segments[HERMIT_MAX_SEGMENTS]; /* PT_LOAD, PT_TLS and PT_DYNAMIC only */
};

/*
 * Looks at f.  0: *image is filled in (abi HERMIT_NONE: an ELF file, but no unikernel of this
 * kind; or no ELF file).  -1: it is one, but cannot run here, and *e says why.
 */
int hermit_identify(const struct boot_file *f, struct hermit_image *image, struct error *e);

/* "HermitCore", "Hermit 0.6", "Hermit 0.11.0"; for messages and lists. */
const char *hermit_name(const struct hermit_image *image, char text[48]);

#endif
