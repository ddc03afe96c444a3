/* SPDX-License-Identifier: Apache-2.0 */
/* A unikernel's segments in guest RAM, relocated to where they lie. */
#ifndef HG_HERMIT_LOAD_H
#define HG_HERMIT_LOAD_H

#include "hermit/image.h"

struct hermit_tls {
	uint64_t start, filesz, memsz, align; /* all 0: none */
};

/*
 * Loads image so that its lowest byte lies at `kernel` (for one that is not relocatable that
 * must be image->start) and relocates it there: R_X86_64_RELATIVE, _64 and _GLOB_DAT of the
 * table in its PT_DYNAMIC (System V ABI for x86-64, 4.4).
 */
int hermit_load(const struct boot_file *f, const struct hermit_image *image,
		const struct guest_memory *m, uint64_t kernel, struct error *e);

/* Where its thread-local storage's initial image lies then. */
struct hermit_tls hermit_tls(const struct hermit_image *image, uint64_t kernel);

/* What has to be added to an address of the file. */
static inline uint64_t hermit_bias(const struct hermit_image *image, uint64_t kernel)
{
	return image->relocatable ? kernel - image->start : 0;
}

#endif
