/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Just enough of an AML writer (ACPI 6.4, section 20.2) for a fixed machine's DSDT.
 * Output beyond the buffer is dropped and remembered in `overflow`.
 */
#ifndef HG_AML_H
#define HG_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct aml {
	uint8_t *buf;
	size_t len, room;
	bool overflow;
};

void aml_byte(struct aml *a, uint8_t b);
void aml_bytes(struct aml *a, const void *p, size_t n);
void aml_integer(struct aml *a, uint32_t value);
void aml_string(struct aml *a, const char *s);
void aml_name(struct aml *a, const char *seg);	 /* NameOp and a 4-character NameSeg */
void aml_eisa_id(struct aml *a, const char *id); /* "PNP0501" as a DWord constant */

/*
 * A package-length scope: opcode(s), PkgLength, contents.  open returns a mark for close.
 * Two bytes of PkgLength are always used: up to 4095 bytes.
 */
size_t aml_open(struct aml *a, const char *opcode, size_t opcode_len);
void aml_close(struct aml *a, size_t mark);

/* A _CRS buffer: open, descriptors, close (adds the end tag). */
struct aml_crs {
	size_t pkg, size_at, start;
};
struct aml_crs aml_crs_open(struct aml *a);
void aml_crs_close(struct aml *a, const struct aml_crs *crs);
void aml_crs_memory(struct aml *a, uint32_t base, uint32_t len);
void aml_crs_io(struct aml *a, uint16_t port, uint8_t len);
void aml_crs_irq(struct aml *a, uint32_t gsi); /* edge, active high, exclusive */

#endif
