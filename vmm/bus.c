// SPDX-License-Identifier: Apache-2.0
#include "bus.h"

#include <stdlib.h>

void bus_claim(struct bus *b, uint64_t start, uint64_t len, bus_fn fn, void *opaque, bool unlocked)
{
	if (b->count == BUS_MAX)
		abort();
	b->ranges[b->count++] = (struct bus_range){
		.start = start, .len = len, .fn = fn, .opaque = opaque, .unlocked = unlocked};
}

const struct bus_range *bus_find(const struct bus *b, uint64_t addr, unsigned int len)
{
	const struct bus_range *r;

	for (r = b->ranges; r < b->ranges + b->count; r++)
		if (addr >= r->start && addr - r->start < r->len &&
		    len <= r->len - (addr - r->start))
			return r;
	return NULL;
}
