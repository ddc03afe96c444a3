/* SPDX-License-Identifier: Apache-2.0 */
/* What queue.c and packed.c share; nobody else includes it. */
#ifndef HG_VIRTIO_QUEUE_PRIVATE_H
#define HG_VIRTIO_QUEUE_PRIVATE_H

#include <linux/virtio_ring.h>

#include "virtio/queue.h"

#define DESC_SIZE sizeof(struct vring_desc)

/* Breaks the queue; returns -1. */
int vq_complain(struct vq *q, const char *what);

/* Adds one descriptor's buffer to the chain after checking it.  flags: VRING_DESC_F_WRITE. */
int vq_add_buffer(struct vq *q, struct vq_chain *c, uint64_t gpa, uint32_t len, uint16_t flags);

/* The checks of an indirect table; NULL when the queue was broken. */
const uint8_t *vq_indirect_table(struct vq *q, uint64_t gpa, uint32_t len, uint16_t flags);

int packed_enable(struct vq *q);
int packed_pop(struct vq *q, struct vq_chain *c);
void packed_unpop(struct vq *q, const struct vq_chain *c);
void packed_fill(struct vq *q, uint32_t head, uint32_t written);
void packed_flush(struct vq *q);
bool packed_arm(struct vq *q);
bool packed_wants_irq(struct vq *q);

#endif
