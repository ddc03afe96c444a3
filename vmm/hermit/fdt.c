// SPDX-License-Identifier: Apache-2.0
#include "hermit/fdt.h"

#include <endian.h>
#include <string.h>

#define MAGIC	     0xd00dfeedu
#define VERSION	     17
#define COMPATIBLE   16
#define BEGIN_NODE   1
#define END_NODE     2
#define PROPERTY     3
#define END	     9
#define HEADER_BYTES 40
#define RESERVED_AT  HEADER_BYTES
#define STRUCTURE_AT (RESERVED_AT + 2 * 16) /* one range and the end of the list */

static void *take(struct fdt *t, size_t len)
{
	size_t padded = (len + 3) & ~(size_t)3;
	uint8_t *at = t->to + t->used;

	if (t->failed || padded < len || padded > t->room - t->used) {
		t->failed = true;
		return NULL;
	}
	memset(at, 0, padded);
	t->used += padded;
	return at;
}

static void put_u32(struct fdt *t, uint32_t value)
{
	uint32_t big = htobe32(value);
	void *at = take(t, sizeof(big));

	if (at)
		memcpy(at, &big, sizeof(big));
}

static void put_u64_at(struct fdt *t, size_t offset, uint64_t value)
{
	uint64_t big = htobe64(value);

	memcpy(t->to + offset, &big, sizeof(big));
}

void fdt_begin(struct fdt *t, void *to, size_t room, uint64_t reserved, uint64_t reserved_len)
{
	memset(t, 0, sizeof(*t));
	t->to = to;
	t->room = room;
	if (!take(t, STRUCTURE_AT))
		return;
	put_u64_at(t, RESERVED_AT, reserved_len ? reserved : 0);
	put_u64_at(t, RESERVED_AT + 8, reserved_len);
	fdt_node(t, "");
}

void fdt_node(struct fdt *t, const char *name)
{
	size_t len = strlen(name) + 1;
	void *at;

	put_u32(t, BEGIN_NODE);
	at = take(t, len);
	if (at)
		memcpy(at, name, len);
	t->depth++;
}

void fdt_end_node(struct fdt *t)
{
	put_u32(t, END_NODE);
	if (t->depth)
		t->depth--;
}

/* The offset of a property's name among the strings; each is there once. */
static uint32_t name_offset(struct fdt *t, const char *name)
{
	size_t at = 0, len = strlen(name) + 1;

	while (at < t->strings_used && strcmp(t->strings + at, name))
		at += strlen(t->strings + at) + 1;
	if (at == t->strings_used) {
		if (len > sizeof(t->strings) - at) {
			t->failed = true;
			return 0;
		}
		memcpy(t->strings + at, name, len);
		t->strings_used += len;
	}
	return at;
}

void fdt_bytes(struct fdt *t, const char *name, const void *data, size_t len)
{
	void *at;

	if (len > UINT32_MAX) {
		t->failed = true;
		return;
	}
	put_u32(t, PROPERTY);
	put_u32(t, len);
	put_u32(t, name_offset(t, name));
	at = take(t, len);
	if (at && len)
		memcpy(at, data, len);
}

void fdt_text(struct fdt *t, const char *name, const char *text)
{
	fdt_bytes(t, name, text, strlen(text) + 1);
}

void fdt_u32(struct fdt *t, const char *name, uint32_t value)
{
	uint32_t big = htobe32(value);

	fdt_bytes(t, name, &big, sizeof(big));
}

void fdt_u64(struct fdt *t, const char *name, uint64_t value)
{
	uint64_t big = htobe64(value);

	fdt_bytes(t, name, &big, sizeof(big));
}

size_t fdt_finish(struct fdt *t)
{
	size_t structure_end, strings_at;
	void *strings;

	fdt_end_node(t);
	put_u32(t, END);
	structure_end = strings_at = t->used;
	strings = take(t, t->strings_used);
	if (!strings || t->depth)
		return 0;
	memcpy(strings, t->strings, t->strings_used);
	{
		const uint32_t header[] = {MAGIC,	    t->used,
					   STRUCTURE_AT,    strings_at,
					   RESERVED_AT,	    VERSION,
					   COMPATIBLE,	    0,
					   t->strings_used, structure_end - STRUCTURE_AT};
		size_t i;

		for (i = 0; i < sizeof(header) / sizeof(header[0]); i++) {
			uint32_t big = htobe32(header[i]);

			memcpy(t->to + 4 * i, &big, sizeof(big));
		}
	}
	return t->used;
}
