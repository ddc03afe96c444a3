// SPDX-License-Identifier: Apache-2.0
#include "virtio/queue.h"

#include <string.h>

#include "virtio/queue_private.h"

/* avail: flags, idx, ring[size], used_event.  used: flags, idx, {id, len}[size], avail_event. */
#define AVAIL_BYTES(size) (2ull * (3 + (size)))
#define USED_BYTES(size)  (2ull * 3 + 8ull * (size))

void vq_init(struct vq *q, const struct guest_memory *mem, uint16_t max)
{
	memset(q, 0, sizeof(*q));
	q->mem = mem;
	q->max = max;
	q->size = max;
}

void vq_reset(struct vq *q)
{
	struct vq_counters counters = q->counters;

	vq_init(q, q->mem, q->max);
	q->counters = counters;
}

int vq_enable(struct vq *q)
{
	if (!q->size || q->size > q->max)
		return -1;
	if (q->packed)
		return packed_enable(q);
	if (q->size & (q->size - 1))
		return -1;
	if ((q->desc_gpa & 15) || (q->avail_gpa & 1) || (q->used_gpa & 3))
		return -1;
	q->desc = memory_at(q->mem, q->desc_gpa, DESC_SIZE * q->size);
	q->avail = memory_at(q->mem, q->avail_gpa, AVAIL_BYTES(q->size));
	q->used = memory_at(q->mem, q->used_gpa, USED_BYTES(q->size));
	if (!q->desc || !q->avail || !q->used)
		return -1;
	/* A ring begins at 0 (2.7.1), also one that replaces another without a device reset. */
	q->next_avail = q->next_used = q->given = q->last_signal = 0;
	q->ready = true;
	return 0;
}

int vq_complain(struct vq *q, const char *what)
{
	q->broken = true;
	q->complaint = what;
	return -1;
}

/* As struct vring_desc, but at any address: nothing aligns an indirect table. */
struct __attribute__((packed)) unaligned_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next;
};

/* Each field is read exactly once: the guest may be writing. */
static struct vring_desc copy_desc(const uint8_t *table, uint32_t index)
{
	const volatile struct unaligned_desc *from =
		(const volatile struct unaligned_desc *)(table + DESC_SIZE * index);
	struct vring_desc d;

	d.addr = from->addr;
	d.len = from->len;
	d.flags = from->flags;
	d.next = from->next;
	return d;
}

/* Inlined here: a large request has hundreds of them. */
static inline int add_buffer(struct vq *q, struct vq_chain *c, uint64_t gpa, uint32_t len,
			     uint16_t flags)
{
	unsigned int n = c->nread + c->nwrite;
	void *p;

	if (n == VQ_MAX_SEGS)
		return vq_complain(q, "a chain has too many buffers");
	p = memory_at_once(q->mem, gpa, len);
	if (!p)
		return vq_complain(q, "a buffer is not in RAM");
	if (flags & VRING_DESC_F_WRITE) {
		c->nwrite++;
		c->write_len += len;
	} else {
		/* 2.7.4.2, 2.8.5: everything the device reads comes first. */
		if (c->nwrite)
			return vq_complain(q, "a readable buffer follows a writable one");
		c->nread++;
		c->read_len += len;
	}
	c->iov[n] = (struct iovec){.iov_base = p, .iov_len = len};
	return 0;
}

int vq_add_buffer(struct vq *q, struct vq_chain *c, uint64_t gpa, uint32_t len, uint16_t flags)
{
	return add_buffer(q, c, gpa, len, flags);
}

const uint8_t *vq_indirect_table(struct vq *q, uint64_t gpa, uint32_t len, uint16_t flags)
{
	const uint8_t *table = NULL;

	if (!q->indirect)
		vq_complain(q, "an indirect table that was not negotiated");
	else if (flags & VRING_DESC_F_NEXT)
		vq_complain(q, "an indirect descriptor has a successor");
	else if (!len || len % DESC_SIZE)
		vq_complain(q, "an indirect table has a bad length");
	else if (!(table = memory_at(q->mem, gpa, len)))
		vq_complain(q, "an indirect table is not in RAM");
	return table;
}

static int walk_indirect(struct vq *q, struct vq_chain *c, const struct vring_desc *ref)
{
	const uint8_t *table = vq_indirect_table(q, ref->addr, ref->len, ref->flags);
	uint32_t count = ref->len / DESC_SIZE, index = 0, steps;
	struct vring_desc d;

	if (!table)
		return -1;
	for (steps = 0; steps < VQ_MAX_SEGS; steps++) {
		d = copy_desc(table, index);
		if (d.flags & VRING_DESC_F_INDIRECT)
			return vq_complain(q, "indirect tables are nested");
		if (add_buffer(q, c, d.addr, d.len, d.flags))
			return -1;
		if (!(d.flags & VRING_DESC_F_NEXT))
			return 0;
		index = d.next;
		if (index >= count)
			return vq_complain(q, "an index points outside its indirect table");
	}
	return vq_complain(q, "an indirect chain is too long or loops");
}

static int walk(struct vq *q, struct vq_chain *c)
{
	uint32_t index = c->head, steps;
	struct vring_desc d;

	for (steps = 0; steps < q->size; steps++) {
		d = copy_desc(q->desc, index);
		if (d.flags & VRING_DESC_F_INDIRECT)
			return walk_indirect(q, c, &d);
		if (add_buffer(q, c, d.addr, d.len, d.flags))
			return -1;
		if (!(d.flags & VRING_DESC_F_NEXT))
			return 0;
		index = d.next;
		if (index >= q->size)
			return vq_complain(q, "a descriptor index is outside the ring");
	}
	return vq_complain(q, "a chain loops");
}

static void count(struct vq *q, const struct vq_chain *c, int sign)
{
	q->counters.requests += (uint64_t)sign;
	q->counters.read_bytes += (uint64_t)sign * c->read_len;
}

int vq_pop(struct vq *q, struct vq_chain *c)
{
	uint16_t idx, waiting;
	int r;

	if (!q->ready)
		return 0;
	if (q->broken)
		return -1;
	if (q->packed) {
		r = packed_pop(q, c);
		if (r > 0)
			count(q, c, 1);
		return r;
	}
	idx = __atomic_load_n(&q->avail[1], __ATOMIC_ACQUIRE);
	waiting = idx - q->next_avail;
	if (!waiting)
		return 0;
	if (waiting > q->size)
		return vq_complain(q, "the available index ran past the ring");
	c->head = __atomic_load_n(&q->avail[2 + (q->next_avail & (q->size - 1))], __ATOMIC_RELAXED);
	if (c->head >= q->size)
		return vq_complain(q, "a head index is outside the ring");
	c->nread = c->nwrite = 0;
	c->read_len = c->write_len = 0;
	if (walk(q, c))
		return -1;
	q->next_avail++;
	count(q, c, 1);
	return 1;
}

void vq_unpop(struct vq *q, const struct vq_chain *c)
{
	count(q, c, -1);
	if (q->packed)
		packed_unpop(q, c);
	else
		q->next_avail--;
}

void vq_fill(struct vq *q, uint32_t head, uint32_t written)
{
	uint32_t entry[2] = {head, written};

	if (!q->ready)
		return;
	q->counters.written_bytes += written;
	if (q->packed) {
		packed_fill(q, head, written);
		return;
	}
	memcpy(q->used + 2 + 4 * (q->next_used & (q->size - 1)), entry, sizeof(entry));
	q->next_used++;
}

void vq_flush(struct vq *q)
{
	if (!q->ready)
		return;
	if (q->packed) {
		packed_flush(q);
		return;
	}
	q->given = q->next_used;
	__atomic_store_n(&q->used[1], q->next_used, __ATOMIC_RELEASE);
}

void vq_push(struct vq *q, uint32_t head, uint32_t written)
{
	vq_fill(q, head, written);
	vq_flush(q);
}

bool vq_arm(struct vq *q)
{
	if (!q->ready || q->broken)
		return false;
	if (q->packed)
		return packed_arm(q);
	if (q->event_idx) {
		__atomic_store_n(&q->used[2 + 4 * q->size], q->next_avail, __ATOMIC_RELAXED);
		/* The event index must be visible before the available index is looked at. */
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
	}
	return __atomic_load_n(&q->avail[1], __ATOMIC_ACQUIRE) != q->next_avail;
}

bool vq_wants_irq(struct vq *q)
{
	uint16_t event, before = q->last_signal;

	if (!q->ready || before == q->given)
		return false;
	/* What was given back must be visible before the driver's wish is read. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (q->packed)
		return packed_wants_irq(q);
	q->last_signal = q->given;
	if (!q->event_idx)
		return !(__atomic_load_n(&q->avail[0], __ATOMIC_RELAXED) &
			 VRING_AVAIL_F_NO_INTERRUPT);
	event = __atomic_load_n(&q->avail[2 + q->size], __ATOMIC_RELAXED);
	return (uint16_t)(q->given - event - 1) < (uint16_t)(q->given - before);
}

size_t iov_read(const struct iovec *iov, unsigned int n, size_t skip, void *to, size_t len)
{
	size_t done = 0, part;
	unsigned int i;

	for (i = 0; i < n && done < len; i++) {
		if (skip >= iov[i].iov_len) {
			skip -= iov[i].iov_len;
			continue;
		}
		part = iov[i].iov_len - skip;
		if (part > len - done)
			part = len - done;
		memcpy((uint8_t *)to + done, (uint8_t *)iov[i].iov_base + skip, part);
		done += part;
		skip = 0;
	}
	return done;
}

size_t iov_write(const struct iovec *iov, unsigned int n, size_t skip, const void *from, size_t len)
{
	size_t done = 0, part;
	unsigned int i;

	for (i = 0; i < n && done < len; i++) {
		if (skip >= iov[i].iov_len) {
			skip -= iov[i].iov_len;
			continue;
		}
		part = iov[i].iov_len - skip;
		if (part > len - done)
			part = len - done;
		memcpy((uint8_t *)iov[i].iov_base + skip, (const uint8_t *)from + done, part);
		done += part;
		skip = 0;
	}
	return done;
}
