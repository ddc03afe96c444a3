// SPDX-License-Identifier: Apache-2.0
#include "snapshot/format.h"

#include <stdlib.h>
#include <string.h>

#include "snapshot/sum.h"

#define ALIGN(n) (((n) + 7) & ~(size_t)7)

void snap_put(struct snap_out *o, const void *data, size_t len)
{
	size_t room = o->room ? o->room : 16384;
	uint8_t *grown;

	while (room - o->len < len && room < SNAP_MAX)
		room *= 2;
	if (o->failed || room - o->len < len) {
		o->failed = true;
		return;
	}
	if (room != o->room) {
		grown = realloc(o->data, room);
		if (!grown) {
			o->failed = true;
			return;
		}
		o->data = grown;
		o->room = room;
	}
	memcpy(o->data + o->len, data, len);
	o->len += len;
}

void snap_put32(struct snap_out *o, uint32_t value)
{
	snap_put(o, &value, sizeof(value));
}

void snap_put64(struct snap_out *o, uint64_t value)
{
	snap_put(o, &value, sizeof(value));
}

void snap_create(struct snap_out *o, const uint8_t id[SNAP_ID])
{
	struct snap_header h = {.version = SNAP_VERSION};

	memset(o, 0, sizeof(*o));
	memcpy(h.magic, SNAP_MAGIC, sizeof(h.magic));
	memcpy(h.id, id, SNAP_ID);
	snap_put(o, &h, sizeof(h));
}

void snap_begin(struct snap_out *o, enum snap_kind kind, uint32_t instance)
{
	struct snap_section s = {
		.kind = kind, .version = SNAP_SECTION_VERSION, .instance = instance};

	o->section = o->len;
	snap_put(o, &s, sizeof(s));
}

void snap_end(struct snap_out *o)
{
	static const uint8_t zeros[8];
	struct snap_section s;

	if (o->failed)
		return;
	memcpy(&s, o->data + o->section, sizeof(s));
	s.length = o->len - o->section - sizeof(s);
	memcpy(o->data + o->section, &s, sizeof(s));
	snap_put(o, zeros, ALIGN(o->len) - o->len);
}

int snap_finish(struct snap_out *o)
{
	struct snap_header h;

	if (o->failed)
		return -1;
	memcpy(&h, o->data, sizeof(h));
	h.length = o->len;
	memcpy(o->data, &h, sizeof(h));
	h.sum = sum_bytes(o->data, o->len);
	memcpy(o->data, &h, sizeof(h));
	return 0;
}

void snap_discard(struct snap_out *o)
{
	free(o->data);
	memset(o, 0, sizeof(*o));
}

/* The file's sum was made with the field for it still 0: so it is for a moment. */
static bool sum_is_right(uint8_t *file, size_t len)
{
	uint8_t *field = file + offsetof(struct snap_header, sum);
	uint64_t stated, is;

	memcpy(&stated, field, sizeof(stated));
	memset(field, 0, sizeof(stated));
	is = sum_bytes(file, len);
	memcpy(field, &stated, sizeof(stated));
	return is == stated;
}

static int check_sections(const uint8_t *file, size_t len, struct error *e)
{
	size_t at = sizeof(struct snap_header), left;
	struct snap_section s;

	while (at < len) {
		left = len - at;
		if (left < sizeof(s))
			break;
		memcpy(&s, file + at, sizeof(s));
		if (s.length > left - sizeof(s) || ALIGN(s.length) > left - sizeof(s) || s.reserved)
			break;
		if (!s.kind || s.kind >= SNAP_KINDS || s.version != SNAP_SECTION_VERSION)
			return error_set(e, ERROR_USER,
					 "has a section of kind %u, version %u, which this hg-vmm "
					 "does not know",
					 s.kind, s.version);
		at += sizeof(s) + ALIGN(s.length);
	}
	if (at != len)
		return error_set(e, ERROR_USER, "is damaged: its sections do not add up");
	return 0;
}

int snap_check(uint8_t *file, size_t len, struct error *e)
{
	struct snap_header h;

	if (len < sizeof(h))
		return error_set(e, ERROR_USER, "is truncated: shorter than a header");
	memcpy(&h, file, sizeof(h));
	if (memcmp(h.magic, SNAP_MAGIC, sizeof(h.magic)))
		return error_set(e, ERROR_USER, "is not the state of a snapshot by hg-vmm");
	if (h.version != SNAP_VERSION)
		return error_set(e, ERROR_USER,
				 "has format version %u; this hg-vmm knows version %u", h.version,
				 SNAP_VERSION);
	if (h.length != len)
		return error_set(e, ERROR_USER, "is %s: %zu bytes of %llu",
				 len < h.length ? "truncated" : "damaged", len,
				 (unsigned long long)h.length);
	if (!sum_is_right(file, len) || h.reserved)
		return error_set(e, ERROR_USER, "is damaged: its checksum is wrong");
	return check_sections(file, len, e);
}

const uint8_t *snap_id(const uint8_t *file)
{
	return file + offsetof(struct snap_header, id);
}

bool snap_find(const uint8_t *file, enum snap_kind kind, uint32_t instance, struct snap_in *in)
{
	size_t at = sizeof(struct snap_header);
	struct snap_section s;
	struct snap_header h;

	memcpy(&h, file, sizeof(h));
	for (; at < h.length; at += sizeof(s) + ALIGN(s.length)) {
		memcpy(&s, file + at, sizeof(s));
		if (s.kind == kind && s.instance == instance) {
			*in = (struct snap_in){.data = file + at + sizeof(s), .len = s.length};
			return true;
		}
	}
	*in = (struct snap_in){.bad = true};
	return false;
}

const void *snap_take(struct snap_in *in, size_t len)
{
	const void *p = in->data;

	if (in->bad || len > in->len) {
		in->bad = true;
		return NULL;
	}
	in->data += len;
	in->len -= len;
	return p;
}

void snap_take_to(struct snap_in *in, void *to, size_t len)
{
	const void *from = snap_take(in, len);

	if (from)
		memcpy(to, from, len);
	else
		memset(to, 0, len);
}

uint32_t snap_take32(struct snap_in *in)
{
	uint32_t value;

	snap_take_to(in, &value, sizeof(value));
	return value;
}

uint64_t snap_take64(struct snap_in *in)
{
	uint64_t value;

	snap_take_to(in, &value, sizeof(value));
	return value;
}

int snap_done(const struct snap_in *in, const char *what, struct error *e)
{
	if (in->bad)
		return error_set(e, ERROR_USER, "is damaged: %s is missing or too short", what);
	if (in->len)
		return error_set(e, ERROR_USER, "is damaged: %s is too long", what);
	return 0;
}
