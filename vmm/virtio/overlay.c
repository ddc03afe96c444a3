// SPDX-License-Identifier: Apache-2.0
/* The map of an overlay in memory; overlay_file.c has the file. */
#include "virtio/overlay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "crc32c.h"

static bool is_here(const struct overlay *o, uint64_t block)
{
	const struct map_sector *s = &o->map[block / MAP_BLOCKS];
	uint32_t bit = block % MAP_BLOCKS;

	return s->bits[bit / 8] >> bit % 8 & 1;
}

uint64_t overlay_run(const struct overlay *o, uint64_t offset, uint64_t len, bool *here)
{
	uint64_t block = offset / OVERLAY_BLOCK, run = OVERLAY_BLOCK - offset % OVERLAY_BLOCK;

	*here = is_here(o, block);
	while (run < len && is_here(o, ++block) == *here)
		run += OVERLAY_BLOCK;
	return run < len ? run : len;
}

bool overlay_needs_copy(const struct overlay *o, uint64_t offset, uint64_t len, uint64_t *block)
{
	uint64_t end = offset + len;

	*block = offset / OVERLAY_BLOCK;
	if (offset % OVERLAY_BLOCK && !is_here(o, *block))
		return true;
	*block = end / OVERLAY_BLOCK;
	/* The last block of a disk may be short: all of it that there is was covered. */
	return end % OVERLAY_BLOCK && end != o->header.disk_size && !is_here(o, *block);
}

static void set_dirty(struct overlay *o, uint32_t sector)
{
	uint8_t bit = 1u << sector % 8;

	if (o->anonymous || (o->dirty[sector / 8] & bit))
		return;
	o->dirty[sector / 8] |= bit;
	o->ndirty++;
}

void overlay_set(struct overlay *o, uint64_t offset, uint64_t len)
{
	uint64_t block = offset / OVERLAY_BLOCK, last = (offset + len - 1) / OVERLAY_BLOCK;
	struct map_sector *s;
	uint32_t bit;

	for (; block <= last; block++) {
		s = &o->map[block / MAP_BLOCKS];
		bit = block % MAP_BLOCKS;
		if (s->bits[bit / 8] >> bit % 8 & 1)
			continue;
		s->bits[bit / 8] |= 1u << bit % 8;
		set_dirty(o, block / MAP_BLOCKS);
	}
}

int overlay_commit_begin(struct overlay *o, struct overlay_commit *c)
{
	uint32_t i, n = 0;

	*c = (struct overlay_commit){0};
	if (!o->ndirty)
		return 0;
	c->numbers = malloc(o->ndirty * sizeof(*c->numbers));
	c->sectors = malloc(o->ndirty * sizeof(*c->sectors));
	if (!c->numbers || !c->sectors) {
		free(c->numbers);
		free(c->sectors);
		return -1;
	}
	for (i = 0; i < o->header.map_sectors && n < o->ndirty; i++) {
		if (!o->dirty[i / 8])
			i |= 7; /* eight clean ones */
		if (!(o->dirty[i / 8] >> i % 8 & 1))
			continue;
		c->numbers[n] = i;
		c->sectors[n] = o->map[i];
		c->sectors[n].number = i;
		c->sectors[n].checksum =
			crc32c(0, &c->sectors[n], offsetof(struct map_sector, checksum));
		o->dirty[i / 8] &= ~(1u << i % 8);
		n++;
	}
	c->count = n;
	o->ndirty = 0;
	return 0;
}

bool overlay_commit_next(struct overlay *o, struct overlay_commit *c, uint64_t *offset,
			 const void **data, size_t *len)
{
	uint32_t from = c->next, n = from;

	if (from == c->count)
		return false;
	do
		n++;
	while (n < c->count && c->numbers[n] == c->numbers[n - 1] + 1);
	c->next = n;
	*offset = o->header.map_offset + (uint64_t)c->numbers[from] * sizeof(struct map_sector);
	*data = &c->sectors[from];
	*len = (n - from) * sizeof(struct map_sector);
	return true;
}

void overlay_commit_end(struct overlay *o, struct overlay_commit *c, bool failed)
{
	uint32_t i;

	for (i = 0; failed && i < c->count; i++)
		set_dirty(o, c->numbers[i]);
	free(c->numbers);
	free(c->sectors);
	*c = (struct overlay_commit){0};
}
