// SPDX-License-Identifier: Apache-2.0
/* Packed virtqueues (virtio 1.2, section 2.8): one ring that both sides write. */
#include <stddef.h>

#include "virtio/queue_private.h"

/* A descriptor is available when AVAIL is the driver's wrap counter and USED is not (2.8.1). */
#define F_AVAIL (1u << VRING_PACKED_DESC_F_AVAIL)
#define F_USED	(1u << VRING_PACKED_DESC_F_USED)

/* Event suppression (2.8.10): 16 bits of offset and wrap counter, then 16 bits of flags. */
enum { EVENT_OFFSET, EVENT_FLAGS };
#define WRAP_BIT (1u << VRING_PACKED_EVENT_F_WRAP_CTR)

/* What vq_push() needs of a chain: its buffer id, and how many places in the ring it had. */
#define HEAD(id, count)	 ((uint32_t)(count) << 16 | (id))
#define HEAD_ID(head)	 ((uint16_t)(head))
#define HEAD_COUNT(head) ((head) >> 16)

/* As struct vring_packed_desc, but at any address: nothing aligns an indirect table. */
struct __attribute__((packed)) unaligned_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t id;
	uint16_t flags;
};

/* Each field is read exactly once: the guest may be writing. */
static struct vring_packed_desc copy_desc(const uint8_t *table, uint32_t index)
{
	const volatile struct unaligned_desc *from =
		(const volatile struct unaligned_desc *)(table + DESC_SIZE * index);
	struct vring_packed_desc d;

	d.addr = from->addr;
	d.len = from->len;
	d.id = from->id;
	d.flags = from->flags;
	return d;
}

static uint16_t *flags_at(const struct vq *q, uint16_t index)
{
	return (uint16_t *)(void *)(q->desc + DESC_SIZE * index +
				    offsetof(struct vring_packed_desc, flags));
}

int packed_enable(struct vq *q)
{
	/* Any size will do (2.8.10.1), the alignments are those of 2.8. */
	if ((q->desc_gpa & 15) || (q->avail_gpa & 3) || (q->used_gpa & 3))
		return -1;
	q->desc = memory_at(q->mem, q->desc_gpa, DESC_SIZE * q->size);
	q->avail = memory_at(q->mem, q->avail_gpa, 4);
	q->used = memory_at(q->mem, q->used_gpa, 4);
	if (!q->desc || !q->avail || !q->used)
		return -1;
	q->next_avail = q->next_used = q->given = q->last_signal = q->filled = 0;
	q->avail_wrap = q->used_wrap = true; /* 2.8.1: both counters begin at 1 */
	q->ready = true;
	return 0;
}

/* Moves a position by `count` places, at most the ring's size, and flips its wrap counter. */
static void step(const struct vq *q, uint16_t *position, bool *wrap, uint32_t count)
{
	uint32_t at = *position + count;

	if (at >= q->size) {
		at -= q->size;
		*wrap = !*wrap;
	}
	*position = at;
}

static bool is_available(const struct vq *q)
{
	uint16_t flags = __atomic_load_n(flags_at(q, q->next_avail), __ATOMIC_ACQUIRE);

	return !!(flags & F_AVAIL) == q->avail_wrap && !!(flags & F_USED) != q->avail_wrap;
}

/* 2.8.7: an indirect table is taken from its start to its end; only WRITE means anything. */
static int walk_indirect(struct vq *q, struct vq_chain *c, const struct vring_packed_desc *ref)
{
	const uint8_t *table = vq_indirect_table(q, ref->addr, ref->len, ref->flags);
	uint32_t count = ref->len / DESC_SIZE, i;
	struct vring_packed_desc d;

	if (!table)
		return -1;
	for (i = 0; i < count; i++) {
		d = copy_desc(table, i);
		if (vq_add_buffer(q, c, d.addr, d.len, d.flags)) /* bounds the number, too */
			return -1;
	}
	return 0;
}

int packed_pop(struct vq *q, struct vq_chain *c)
{
	uint16_t position = q->next_avail;
	bool wrap = q->avail_wrap;
	struct vring_packed_desc d;
	uint32_t count;

	if (!is_available(q))
		return 0;
	c->nread = c->nwrite = 0;
	c->read_len = c->write_len = 0;
	/* A chain lies in consecutive places; the driver wrote its first flags last (2.8.6). */
	for (count = 1; count <= q->size; count++) {
		d = copy_desc(q->desc, position);
		step(q, &position, &wrap, 1);
		if (d.flags & VRING_DESC_F_INDIRECT) {
			if (count > 1)
				return vq_complain(q, "an indirect table inside a chain");
			if (walk_indirect(q, c, &d))
				return -1;
		} else if (vq_add_buffer(q, c, d.addr, d.len, d.flags)) {
			return -1;
		}
		if (!(d.flags & VRING_DESC_F_NEXT)) {
			c->head = HEAD(d.id, count); /* 2.8.6: the id is in the last one */
			q->next_avail = position;
			q->avail_wrap = wrap;
			return 1;
		}
	}
	return vq_complain(q, "a chain is longer than the ring");
}

void packed_unpop(struct vq *q, const struct vq_chain *c)
{
	uint32_t count = HEAD_COUNT(c->head);

	if (q->next_avail < count) {
		q->next_avail += q->size;
		q->avail_wrap = !q->avail_wrap;
	}
	q->next_avail -= count;
}

/*
 * A used descriptor replaces the first of its chain, the other places are skipped (2.8.6).
 * The flags of the first of a batch are kept back: they are what the driver looks at.
 */
void packed_fill(struct vq *q, uint32_t head, uint32_t written)
{
	volatile struct vring_packed_desc *to =
		(volatile struct vring_packed_desc *)(void *)(q->desc + DESC_SIZE * q->next_used);
	uint16_t flags = q->used_wrap ? F_AVAIL | F_USED : 0;

	if (written)
		flags |= VRING_DESC_F_WRITE; /* 2.8.4: `len` has a meaning */
	to->id = HEAD_ID(head);
	to->len = written;
	if (q->filled) {
		__atomic_store_n(flags_at(q, q->next_used), flags, __ATOMIC_RELEASE);
	} else {
		q->first = q->next_used;
		q->first_flags = flags;
	}
	q->filled += HEAD_COUNT(head);
	step(q, &q->next_used, &q->used_wrap, HEAD_COUNT(head));
}

void packed_flush(struct vq *q)
{
	if (!q->filled)
		return;
	__atomic_store_n(flags_at(q, q->first), q->first_flags, __ATOMIC_RELEASE);
	q->given += q->filled;
	q->filled = 0;
}

bool packed_arm(struct vq *q)
{
	if (q->event_idx) {
		__atomic_store_n(&q->used[EVENT_OFFSET],
				 q->next_avail | (q->avail_wrap ? WRAP_BIT : 0), __ATOMIC_RELAXED);
		__atomic_store_n(&q->used[EVENT_FLAGS], VRING_PACKED_EVENT_FLAG_DESC,
				 __ATOMIC_RELEASE);
		/* The wish must be visible before the ring is looked at. */
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
	}
	return is_available(q);
}

/* Called after the fence, with something given back since the last call. */
bool packed_wants_irq(struct vq *q)
{
	uint16_t flags = __atomic_load_n(&q->avail[EVENT_FLAGS], __ATOMIC_RELAXED) & 3;
	uint16_t wish, since = q->given - q->last_signal;
	int event;

	q->last_signal = q->given;
	if (flags != VRING_PACKED_EVENT_FLAG_DESC || !q->event_idx)
		return flags != VRING_PACKED_EVENT_FLAG_DISABLE;
	wish = __atomic_load_n(&q->avail[EVENT_OFFSET], __ATOMIC_RELAXED);
	event = wish & (WRAP_BIT - 1);
	if (!!(wish & WRAP_BIT) != q->used_wrap)
		event -= q->size; /* of the round before this one */
	/* Was the wished-for place among the last `since` ones? */
	return (uint16_t)(q->next_used - event - 1) < since;
}
