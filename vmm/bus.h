/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Address decoding: which device answers an I/O port or an MMIO address.  Whatever
 * nobody claims reads as all ones and swallows writes, as an empty PC bus does.
 */
#ifndef HG_BUS_H
#define HG_BUS_H

#include <stdbool.h>
#include <stdint.h>

/*
 * One access that lies wholly inside the claimed range.  data: len bytes (1, 2, 4 or 8),
 * little endian; a read fills it.  Called with the VM's lock held unless `unlocked`.
 */
typedef void (*bus_fn)(void *opaque, uint64_t offset, bool write, uint8_t *data, unsigned int len);

struct bus_range {
	uint64_t start, len;
	bus_fn fn;
	void *opaque;
	bool unlocked; /* fn takes the locks it needs itself */
};

#define BUS_MAX 32

struct bus {
	struct bus_range ranges[BUS_MAX];
	unsigned int count;
};

/* Claims [start, start + len); a table overrun is a programming error and aborts. */
void bus_claim(struct bus *b, uint64_t start, uint64_t len, bus_fn fn, void *opaque, bool unlocked);

/* The range that holds all of [addr, addr + len), or NULL. */
const struct bus_range *bus_find(const struct bus *b, uint64_t addr, unsigned int len);

#endif
