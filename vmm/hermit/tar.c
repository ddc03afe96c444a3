// SPDX-License-Identifier: Apache-2.0
/* The table of contents of a tar: POSIX.1-2001 pax, of which ustar is the older half. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hermit/archive.h"
#include "log.h"

#define BLOCK 512u

struct header { /* ustar; all numbers are octal text, of GNU tar also binary */
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type;
	char link[100], magic[6], version[2], user[32], group[32], major[8], minor[8];
	char prefix[155], pad[12];
};
_Static_assert(sizeof(struct header) == BLOCK, "ustar header");

struct reader {
	struct archive *a;
	const char *name; /* of the archive, for messages */
	unsigned int room;
	uint64_t at;
	char path[ARCHIVE_MAX_PATH]; /* of the next member, from a header before it; "": none */
	uint64_t size;		     /* ... UINT64_MAX: none */
};

static int bad(const struct reader *r, struct error *e, const char *what)
{
	return error_set(e, ERROR_USER, "%.150s: not a usable image archive: %s", r->name, what);
}

/* UINT64_MAX: no number. */
static uint64_t number(const char *field, size_t len)
{
	uint64_t n = 0;
	size_t i = 0;

	if (field[0] & 0x80) { /* big-endian, in what its first byte leaves */
		for (n = field[0] & 0x7f, i = 1; i < len; i++) {
			if (n >> 55)
				return UINT64_MAX;
			n = n << 8 | (uint8_t)field[i];
		}
		return n;
	}
	while (i < len && field[i] == ' ')
		i++;
	for (; i < len && field[i] >= '0' && field[i] <= '7'; i++)
		n = n << 3 | (uint64_t)(field[i] - '0'); /* 12 digits: 36 bits */
	return i == len || !field[i] || field[i] == ' ' ? n : UINT64_MAX;
}

static bool sum_is_right(const struct header *h)
{
	const uint8_t *bytes = (const uint8_t *)h;
	uint64_t sum = 8 * ' '; /* the field counts as blanks */
	size_t i;

	for (i = 0; i < BLOCK; i++)
		if (i < offsetof(struct header, checksum) || i >= offsetof(struct header, type))
			sum += bytes[i];
	return number(h->checksum, sizeof(h->checksum)) == sum;
}

static bool is_zero(const struct header *h)
{
	static const struct header zero;

	return !memcmp(h, &zero, sizeof(zero));
}

static int add(struct reader *r, const char *path, struct archive_entry entry, struct error *e)
{
	struct archive *a = r->a;
	void *more;

	if (a->count == ARCHIVE_MAX_ENTRIES)
		return bad(r, e, "it has more than 16384 files and folders");
	if (a->count == r->room) {
		r->room = r->room ? 2 * r->room : 64;
		more = realloc(a->entries, r->room * sizeof(*a->entries));
		if (!more)
			return error_set(e, ERROR_MACHINE, "out of memory");
		a->entries = more;
	}
	entry.path = strdup(path);
	entry.order = a->count;
	if (!entry.path)
		return error_set(e, ERROR_MACHINE, "out of memory");
	a->entries[a->count++] = entry;
	return 0;
}

/* A file or folder, and the folders that it lies in. */
static int add_member(struct reader *r, const char *path, struct archive_entry entry,
		      struct error *e)
{
	char clean[ARCHIVE_MAX_PATH], *slash;

	if (archive_clean(path, clean))
		return error_set(e, ERROR_USER,
				 "%.150s: not a usable image archive: its member '%.100s' has no "
				 "place in it",
				 r->name, path);
	if (!*clean)
		return 0; /* "./" */
	if (add(r, clean, entry, e))
		return -1;
	while ((slash = strrchr(clean, '/'))) {
		*slash = '\0';
		if (add(r, clean, (struct archive_entry){.folder = true, .mode = 0555}, e))
			return -1;
	}
	return 0;
}

/* Records "LENGTH KEY=VALUE\n"; only a path and a size matter here. */
static int read_pax(struct reader *r, const char *data, uint64_t size, struct error *e)
{
	uint64_t at = 0, len, digits;
	const char *key, *value;

	while (at < size) {
		for (len = 0, digits = at;
		     digits < size && data[digits] >= '0' && data[digits] <= '9' && len < size;
		     digits++)
			len = 10 * len + (uint64_t)(data[digits] - '0');
		key = data + digits + 1;
		if (digits >= size || data[digits] != ' ' || len > size - at ||
		    len < digits - at + 3 || data[at + len - 1] != '\n')
			return bad(r, e, "a pax header of it is damaged");
		value = memchr(key, '=', (size_t)(data + at + len - key));
		if (!value++)
			return bad(r, e, "a pax header of it is damaged");
		len = (uint64_t)(data + at + len - 1 - value); /* of the value */
		if (!strncmp(key, "path=", 5)) {
			if (len >= sizeof(r->path) || memchr(value, 0, len))
				return bad(r, e, "a name in it is too long");
			memcpy(r->path, value, len);
			r->path[len] = '\0';
		} else if (!strncmp(key, "size=", 5)) {
			for (r->size = 0;
			     len && *value >= '0' && *value <= '9' && r->size < ARCHIVE_MAX_BYTES;
			     len--)
				r->size = 10 * r->size + (uint64_t)(*value++ - '0');
			if (len)
				return bad(r, e, "a size in it is none");
		}
		at = (uint64_t)(value + len + 1 - data);
	}
	return 0;
}

static int read_long_name(struct reader *r, const char *data, uint64_t size, struct error *e)
{
	size_t len = strnlen(data, size);

	if (len >= sizeof(r->path))
		return bad(r, e, "a name in it is too long");
	memcpy(r->path, data, len);
	r->path[len] = '\0';
	return 0;
}

static void name_of(const struct reader *r, const struct header *h, char path[ARCHIVE_MAX_PATH])
{
	bool ustar = !memcmp(h->magic, "ustar", 6);

	if (r->path[0])
		snprintf(path, ARCHIVE_MAX_PATH, "%s", r->path);
	else if (ustar && h->prefix[0])
		snprintf(path, ARCHIVE_MAX_PATH, "%.155s/%.100s", h->prefix, h->name);
	else
		snprintf(path, ARCHIVE_MAX_PATH, "%.100s", h->name);
}

/* The member whose content, of size bytes, begins at r->at. */
static int read_member(struct reader *r, const struct header *h, uint64_t size, struct error *e)
{
	struct archive_entry entry = {.offset = r->at,
				      .size = size,
				      .mode = 0444 | (number(h->mode, sizeof(h->mode)) & 0111)};
	const char *data = (const char *)r->a->data + r->at;
	char path[ARCHIVE_MAX_PATH];
	int done = 0;

	if (h->type == 'x')
		return read_pax(r, data, size, e);
	if (h->type == 'L')
		return read_long_name(r, data, size, e);
	if (h->type == 'g')
		return 0;
	name_of(r, h, path);
	if (h->type == '5') {
		entry = (struct archive_entry){.folder = true, .mode = 0555};
		done = add_member(r, path, entry, e);
	} else if (!h->type || h->type == '0' || h->type == '7') {
		done = add_member(r, path, entry, e);
	} else { /* uhyve passes over them, too */
		log_line("%s: '%s' is neither a file nor a folder: left out", r->name, path);
	}
	r->path[0] = '\0';
	r->size = UINT64_MAX;
	return done;
}

static int read_members(struct reader *r, struct error *e)
{
	struct header h;
	uint64_t size;

	for (r->at = 0; r->a->size - r->at >= BLOCK;) {
		memcpy(&h, r->a->data + r->at, sizeof(h));
		if (is_zero(&h))
			return 0;
		if (!sum_is_right(&h))
			return bad(r, e, r->at ? "its tar is damaged" : "there is no tar in it");
		r->at += BLOCK;
		size = number(h.size, sizeof(h.size));
		if (r->size != UINT64_MAX && h.type != 'x' && h.type != 'L' && h.type != 'g')
			size = r->size;
		if (h.type == '5')
			size = 0;
		if (size > r->a->size - r->at)
			return bad(r, e, "its tar is cut off");
		if (read_member(r, &h, size, e))
			return -1;
		size = (size + BLOCK - 1) & ~(uint64_t)(BLOCK - 1);
		r->at += size < r->a->size - r->at ? size : r->a->size - r->at;
	}
	return 0;
}

static int by_path(const void *a, const void *b)
{
	const struct archive_entry *x = a, *y = b;
	int order = strcmp(x->path, y->path);

	return order ? order : x->order < y->order ? -1 : 1;
}

/* Of entries with one name, a file's last; a folder with a file's name is an error. */
static int join_equals(struct reader *r, struct error *e)
{
	struct archive_entry *all = r->a->entries, *to = all;
	unsigned int i, count = r->a->count;

	for (i = 0; i < count; i++) {
		if (i + 1 < count && !strcmp(all[i].path, all[i + 1].path)) {
			if (all[i].folder != all[i + 1].folder)
				return bad(r, e, "a name in it is of a file and of a folder");
			free((char *)all[i].path);
			all[i].path = NULL;
			continue;
		}
		*to++ = all[i];
		if (to - 1 != &all[i])
			all[i].path = NULL;
	}
	r->a->count = (unsigned int)(to - all);
	return 0;
}

int archive_index(struct archive *a, const char *name, struct error *e)
{
	struct reader r = {.a = a, .name = name, .size = UINT64_MAX};

	if (add(&r, "", (struct archive_entry){.folder = true, .mode = 0555}, e) ||
	    read_members(&r, e))
		return -1;
	qsort(a->entries, a->count, sizeof(*a->entries), by_path);
	return join_equals(&r, e);
}
