/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's side of a device, for tests: registers and rings, without KVM. */
#ifndef TEST_DRIVER_H
#define TEST_DRIVER_H

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "virtio/device.h"

#define CHECK(what)                                                                                \
	do {                                                                                       \
		if (!(what)) {                                                                     \
			fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #what);         \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

static inline uint32_t reg_read(struct virtio_dev *dev, uint64_t offset)
{
	uint32_t value = 0;

	virtio_mmio_access(dev, offset, false, (uint8_t *)&value, 4);
	return value;
}

static inline void reg_write(struct virtio_dev *dev, uint64_t offset, uint32_t value)
{
	virtio_mmio_access(dev, offset, true, (uint8_t *)&value, 4);
}

/* Where queue n's rings are: 64 KiB apart from 1 MiB up. */
#define RING_GPA(n)  (0x100000ull + 0x10000ull * (n))
#define AVAIL_GPA(n) (RING_GPA(n) + 0x4000)
#define USED_GPA(n)  (RING_GPA(n) + 0x8000)

/* Negotiates `features` (VERSION_1 is added) and sets queues of `size` up; true if accepted. */
static inline bool driver_start(struct virtio_dev *dev, uint64_t features, uint16_t size)
{
	unsigned int i;

	reg_write(dev, VIRTIO_MMIO_STATUS, 0);
	reg_write(dev, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	reg_write(dev, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	reg_write(dev, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)features);
	reg_write(dev, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	reg_write(dev, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(features >> 32) | 1);
	reg_write(dev, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_FEATURES_OK);
	if (!(reg_read(dev, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_FEATURES_OK))
		return false;
	for (i = 0; i < dev->nqueues; i++) {
		reg_write(dev, VIRTIO_MMIO_QUEUE_SEL, i);
		reg_write(dev, VIRTIO_MMIO_QUEUE_NUM, size);
		reg_write(dev, VIRTIO_MMIO_QUEUE_DESC_LOW, RING_GPA(i));
		reg_write(dev, VIRTIO_MMIO_QUEUE_AVAIL_LOW, AVAIL_GPA(i));
		reg_write(dev, VIRTIO_MMIO_QUEUE_USED_LOW, USED_GPA(i));
		reg_write(dev, VIRTIO_MMIO_QUEUE_READY, 1);
	}
	reg_write(dev, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_DRIVER_OK);
	return true;
}

static inline void set_desc(const struct guest_memory *m, unsigned int queue, unsigned int i,
			    uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
	struct vring_desc d = {.addr = addr, .len = len, .flags = flags, .next = next};

	CHECK(memory_write(m, RING_GPA(queue) + 16 * i, &d, sizeof(d)) == 0);
}

/* Makes `head` available; size is the queue's. */
static inline void offer(const struct guest_memory *m, unsigned int queue, uint16_t size,
			 uint16_t head)
{
	uint16_t *avail = memory_at(m, AVAIL_GPA(queue), 4 + 2 * size);

	avail[2 + avail[1] % size] = head;
	avail[1]++;
}

static inline uint16_t used_index(const struct guest_memory *m, unsigned int queue)
{
	return ((uint16_t *)memory_at(m, USED_GPA(queue), 4))[1];
}

/* The length in the newest used entry. */
static inline uint32_t used_length(const struct guest_memory *m, unsigned int queue, uint16_t size)
{
	uint16_t *used = memory_at(m, USED_GPA(queue), 4 + 8 * size);
	uint32_t entry[2];

	memcpy(entry, used + 2 + 4 * ((uint16_t)(used[1] - 1) % size), sizeof(entry));
	return entry[1];
}

#endif
