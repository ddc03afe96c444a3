/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtqueues from the device's side (virtio 1.2): split rings (section 2.7) and packed rings
 * (2.8, packed.c) behind one interface, both with indirect descriptors and EVENT_IDX.
 *
 * The rings are the guest's and may change under our hands at any moment: every value is
 * read once into a local copy, the copy is checked, and only the copy is used.  Each walk is
 * bounded by the ring's size (direct) or VQ_MAX_SEGS (indirect), so no ring can make the
 * VMM loop, overrun or touch anything outside guest RAM.
 */
#ifndef HG_VIRTIO_QUEUE_H
#define HG_VIRTIO_QUEUE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "memory.h"

#define VQ_MAX_SIZE 256 /* largest ring offered by any device; a power of two */
#define VQ_MAX_SEGS 256 /* most buffers in one chain */

/* What went through a queue since the process began; a reset keeps it. */
struct vq_counters {
	uint64_t requests;		    /* chains taken */
	uint64_t read_bytes, written_bytes; /* by the device */
};

struct vq {
	const struct guest_memory *mem;
	uint16_t max;  /* what QueueNumMax says */
	uint16_t size; /* what the driver chose */
	bool ready;
	bool broken;	/* the driver broke the rules; nothing is read any more until reset */
	bool event_idx; /* VIRTIO_F_EVENT_IDX was negotiated */
	bool indirect;	/* VIRTIO_F_INDIRECT_DESC was */
	bool packed;	/* VIRTIO_F_RING_PACKED was */
	/* Split: table, available and used ring.  Packed: ring, driver's and device's events. */
	uint64_t desc_gpa, avail_gpa, used_gpa;
	/* Checked by vq_enable() for their whole length; guest RAM stays mapped, so they last. */
	uint8_t *desc;
	uint16_t *avail, *used;
	/*
	 * The next entry to take, and to give back.  Split: free-running indices.  Packed:
	 * positions in the ring, with the wrap counters beside them.
	 */
	uint16_t next_avail, next_used;
	bool avail_wrap, used_wrap;
	/* Entries (packed: descriptors) given back, and given back at the last look for an irq. */
	uint16_t given, last_signal;
	/* Packed, vq_fill() since vq_flush(): descriptors; place and flags of the first one. */
	uint16_t filled, first, first_flags;
	struct vq_counters counters;
	const char *complaint; /* set with `broken`: which rule */
};

/* One request: iov[0 .. nread) to read from, then iov[nread .. nread + nwrite) to write to. */
struct vq_chain {
	uint32_t head; /* names the chain to vq_push(); 32 bits, to be kept whole */
	unsigned int nread, nwrite;
	uint64_t read_len, write_len; /* bytes in each part */
	struct iovec iov[VQ_MAX_SEGS];
};

void vq_init(struct vq *q, const struct guest_memory *mem, uint16_t max);
void vq_reset(struct vq *q); /* back to what vq_init() made; keeps mem and max */

/* Takes the addresses and size into use.  0, or -1 when they are not acceptable. */
int vq_enable(struct vq *q);

/* 1: *c is the next request.  0: nothing there.  -1: q->broken, and q->complaint says why. */
int vq_pop(struct vq *q, struct vq_chain *c);

/* Gives a chain back with `written` bytes in its writable part. */
void vq_push(struct vq *q, uint32_t head, uint32_t written);

/*
 * The same in two steps, for answers that span several chains (5.1.6.4: all buffers of a
 * packet must appear at once): vq_fill() each, then vq_flush() shows them to the driver.
 */
void vq_fill(struct vq *q, uint32_t head, uint32_t written);
void vq_flush(struct vq *q);

/* Puts the chain just popped back, to be popped again; several in reverse order. */
void vq_unpop(struct vq *q, const struct vq_chain *c);

/*
 * Asks to be notified of the next request.  True: one came in meanwhile, look again.
 * Until this is called after a kick, an EVENT_IDX driver need not kick.
 */
bool vq_arm(struct vq *q);

/* Whether the pushes since the last call want an interrupt (2.7.7.2, 2.8.10). */
bool vq_wants_irq(struct vq *q);

/* Copy between a flat buffer and part of a chain; both return how many bytes were copied. */
size_t iov_read(const struct iovec *iov, unsigned int n, size_t skip, void *to, size_t len);
size_t iov_write(const struct iovec *iov, unsigned int n, size_t skip, const void *from,
		 size_t len);

#endif
