// SPDX-License-Identifier: Apache-2.0
#include "aml.h"

#include <string.h>

void aml_byte(struct aml *a, uint8_t b)
{
	if (a->len < a->room)
		a->buf[a->len++] = b;
	else
		a->overflow = true;
}

void aml_bytes(struct aml *a, const void *p, size_t n)
{
	const uint8_t *b = p;

	while (n--)
		aml_byte(a, *b++);
}

static void aml_le(struct aml *a, uint32_t value, unsigned int bytes)
{
	for (; bytes--; value >>= 8)
		aml_byte(a, value);
}

void aml_integer(struct aml *a, uint32_t value)
{
	if (value <= 1) {
		aml_byte(a, value); /* ZeroOp, OneOp */
	} else if (value <= 0xff) {
		aml_byte(a, 0x0a); /* BytePrefix */
		aml_le(a, value, 1);
	} else {
		aml_byte(a, 0x0c); /* DWordPrefix */
		aml_le(a, value, 4);
	}
}

void aml_string(struct aml *a, const char *s)
{
	aml_byte(a, 0x0d); /* StringPrefix */
	aml_bytes(a, s, strlen(s) + 1);
}

void aml_name(struct aml *a, const char *seg)
{
	aml_byte(a, 0x08); /* NameOp */
	aml_bytes(a, seg, 4);
}

static unsigned int hex_digit(char c)
{
	return c <= '9' ? c - '0' : c - 'A' + 10;
}

/* ACPI 6.4, section 19.6.36: three 5-bit letters and four hex digits, big endian. */
void aml_eisa_id(struct aml *a, const char *id)
{
	uint32_t v = (id[0] - '@') << 26 | (id[1] - '@') << 21 | (id[2] - '@') << 16;
	unsigned int i;

	for (i = 0; i < 4; i++)
		v |= hex_digit(id[3 + i]) << (12 - 4 * i);
	aml_byte(a, 0x0c);
	aml_le(a, __builtin_bswap32(v), 4);
}

size_t aml_open(struct aml *a, const char *opcode, size_t opcode_len)
{
	size_t mark;

	aml_bytes(a, opcode, opcode_len);
	mark = a->len;
	aml_byte(a, 0);
	aml_byte(a, 0);
	return mark;
}

void aml_close(struct aml *a, size_t mark)
{
	size_t len = a->len - mark; /* PkgLength counts its own bytes */

	if (a->overflow || len > 0xfff) {
		a->overflow = true;
		return;
	}
	a->buf[mark] = 0x40 | (len & 0xf); /* one more byte follows */
	a->buf[mark + 1] = len >> 4;
}

struct aml_crs aml_crs_open(struct aml *a)
{
	struct aml_crs crs;

	aml_name(a, "_CRS");
	crs.pkg = aml_open(a, "\x11", 1); /* BufferOp */
	aml_byte(a, 0x0b);		  /* WordPrefix: its size, filled in on close */
	crs.size_at = a->len;
	aml_le(a, 0, 2);
	crs.start = a->len;
	return crs;
}

void aml_crs_close(struct aml *a, const struct aml_crs *crs)
{
	size_t size;

	aml_bytes(a, "\x79\x00", 2); /* end tag, checksum not used */
	size = a->len - crs->start;
	if (!a->overflow) {
		a->buf[crs->size_at] = size;
		a->buf[crs->size_at + 1] = size >> 8;
	}
	aml_close(a, crs->pkg);
}

/* 6.4.3.4: 32-bit fixed memory range, read/write. */
void aml_crs_memory(struct aml *a, uint32_t base, uint32_t len)
{
	aml_bytes(a, "\x86\x09\x00\x01", 4);
	aml_le(a, base, 4);
	aml_le(a, len, 4);
}

/* 6.4.2.5: I/O ports, 16-bit decode. */
void aml_crs_io(struct aml *a, uint16_t port, uint8_t len)
{
	aml_bytes(a, "\x47\x01", 2);
	aml_le(a, port, 2);
	aml_le(a, port, 2);
	aml_byte(a, 1);
	aml_byte(a, len);
}

/* 6.4.3.6: extended interrupt; consumer, edge, active high, exclusive. */
void aml_crs_irq(struct aml *a, uint32_t gsi)
{
	aml_bytes(a, "\x89\x06\x00\x03\x01", 5);
	aml_le(a, gsi, 4);
}
