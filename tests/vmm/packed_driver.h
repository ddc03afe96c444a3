/* SPDX-License-Identifier: Apache-2.0 */
/* The driver's side of a packed virtqueue (virtio 1.2, section 2.8.13 to 2.8.21), for tests. */
#ifndef TEST_PACKED_DRIVER_H
#define TEST_PACKED_DRIVER_H

#include "driver.h"

#define PACKED_FEATURE	 (1ull << VIRTIO_F_RING_PACKED)
#define DRIVER_EVENTS(n) AVAIL_GPA(n)
#define DEVICE_EVENTS(n) USED_GPA(n)
#define PACKED_AVAIL(wrap)                                                                         \
	((wrap) ? 1u << VRING_PACKED_DESC_F_AVAIL : 1u << VRING_PACKED_DESC_F_USED)

struct packed_driver {
	const struct guest_memory *mem;
	unsigned int queue;
	uint16_t size, next, next_used;
	bool wrap, used_wrap;
};

static inline void packed_start(struct packed_driver *d, const struct guest_memory *mem,
				unsigned int queue, uint16_t size)
{
	*d = (struct packed_driver){
		.mem = mem, .queue = queue, .size = size, .wrap = true, .used_wrap = true};
}

static inline struct vring_packed_desc *packed_at(const struct packed_driver *d, uint16_t i)
{
	return memory_at(d->mem, RING_GPA(d->queue) + 16ull * i, 16);
}

/* Puts n buffers into the ring as one chain; the flags of the first are written last. */
static inline void packed_offer(struct packed_driver *d, uint16_t id, const struct vring_desc *buf,
				unsigned int n)
{
	uint16_t first = d->next, first_flags = 0, flags;
	struct vring_packed_desc *to;
	unsigned int i;

	for (i = 0; i < n; i++) {
		to = packed_at(d, d->next);
		to->addr = buf[i].addr;
		to->len = buf[i].len;
		to->id = id;
		flags = buf[i].flags | PACKED_AVAIL(d->wrap);
		flags |= i + 1 < n ? VRING_DESC_F_NEXT : 0;
		if (i)
			to->flags = flags;
		else
			first_flags = flags;
		if (++d->next == d->size) {
			d->next = 0;
			d->wrap = !d->wrap;
		}
	}
	__atomic_store_n(&packed_at(d, first)->flags, first_flags, __ATOMIC_RELEASE);
}

/* The next used descriptor, of a chain that had `places`; false when there is none. */
static inline bool packed_take(struct packed_driver *d, unsigned int places, uint16_t *id,
			       uint32_t *len)
{
	struct vring_packed_desc *from = packed_at(d, d->next_used);
	uint16_t flags = __atomic_load_n(&from->flags, __ATOMIC_ACQUIRE);
	bool avail = flags & 1u << VRING_PACKED_DESC_F_AVAIL;
	bool used = flags & 1u << VRING_PACKED_DESC_F_USED;

	if (avail != used || used != d->used_wrap)
		return false;
	*id = from->id;
	*len = from->len;
	d->next_used += places;
	if (d->next_used >= d->size) {
		d->next_used -= d->size;
		d->used_wrap = !d->used_wrap;
	}
	return true;
}

#endif
