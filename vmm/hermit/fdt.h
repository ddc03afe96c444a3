/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes a flattened device tree (Devicetree Specification 0.4, chapter 5) into a buffer of
 * fixed size.  Errors stick: fdt_finish() tells of the first, and nothing is written past the end.
 */
#ifndef HG_HERMIT_FDT_H
#define HG_HERMIT_FDT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FDT_STRINGS 256 /* bytes of property names, each kept once */

struct fdt {
	uint8_t *to;
	size_t room, used; /* of the structure block, which is built in place */
	char strings[FDT_STRINGS];
	size_t strings_used;
	unsigned int depth;
	bool failed;
};

/* One range that nothing else may use; length 0: none. */
void fdt_begin(struct fdt *t, void *to, size_t room, uint64_t reserved, uint64_t reserved_len);
void fdt_node(struct fdt *t, const char *name);
void fdt_end_node(struct fdt *t);
void fdt_bytes(struct fdt *t, const char *name, const void *data, size_t len);
void fdt_text(struct fdt *t, const char *name, const char *text);
void fdt_u32(struct fdt *t, const char *name, uint32_t value);
void fdt_u64(struct fdt *t, const char *name, uint64_t value);

/* Closes the root node and completes the header.  Bytes in all, or 0 when it did not fit. */
size_t fdt_finish(struct fdt *t);

#endif
