/* SPDX-License-Identifier: Apache-2.0 */
/* A driver of one disk, for tests: several requests at once over queue 0 (or another one). */
#ifndef TEST_DISK_DRIVER_H
#define TEST_DISK_DRIVER_H

#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <unistd.h>

#include "units.h"
#include "virtio/blk.h"

#define DISK_QUEUE 128
#define SLOTS	   32 /* requests at once; three descriptors each */
#define SLOT_DATA  65536u

#define F(name)	       (1ull << VIRTIO_BLK_F_##name)
#define DISK_FEATURES  (F(FLUSH) | F(DISCARD) | F(WRITE_ZEROES) | F(CONFIG_WCE))
#define HEADER_GPA(i)  (0x200000ull + 64 * (i))
#define STATUS_GPA(i)  (HEADER_GPA(i) + 32)
#define SLOT_GPA(i)    (0x400000ull + SLOT_DATA * (i))
#define slot_bytes(i)  ((uint8_t *)memory_at(&mem, SLOT_GPA(i), SLOT_DATA))
#define slot_status(i) (*(uint8_t *)memory_at(&mem, STATUS_GPA(i), 1))

static inline void put_request_on(unsigned int queue, unsigned int slot, uint32_t type,
				  uint64_t sector, uint32_t len)
{
	struct virtio_blk_outhdr header = {.type = type, .sector = sector};
	uint16_t dir =
		type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID ? VRING_DESC_F_WRITE : 0;
	unsigned int d = slot * 3;

	slot_status(slot) = 0xee;
	memory_write(&mem, HEADER_GPA(slot), &header, sizeof(header));
	set_desc(&mem, queue, d, HEADER_GPA(slot), sizeof(header), VRING_DESC_F_NEXT,
		 len ? d + 1 : d + 2);
	set_desc(&mem, queue, d + 1, SLOT_GPA(slot), len, VRING_DESC_F_NEXT | dir, d + 2);
	set_desc(&mem, queue, d + 2, STATUS_GPA(slot), 1, VRING_DESC_F_WRITE, 0);
	offer(&mem, queue, DISK_QUEUE, d);
}

static inline void put_request(unsigned int slot, uint32_t type, uint64_t sector, uint32_t len)
{
	put_request_on(0, slot, type, sector, len);
}

static inline void kick_and_wait(struct virtio_dev *dev, unsigned int n)
{
	uint16_t start = used_index(&mem, 0);

	reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	while ((uint16_t)(used_index(&mem, 0) - start) < n)
		loop_once(&loop, 1000);
}

static inline uint8_t one_request(struct virtio_dev *dev, uint32_t type, uint64_t sector,
				  uint32_t len)
{
	put_request(0, type, sector, len);
	kick_and_wait(dev, 1);
	return slot_status(0);
}

static inline uint8_t one_range(struct virtio_dev *dev, uint32_t type, uint64_t sector,
				uint32_t sectors, uint32_t flags)
{
	struct virtio_blk_discard_write_zeroes range = {
		.sector = sector, .num_sectors = sectors, .flags = flags};

	memory_write(&mem, SLOT_GPA(0), &range, sizeof(range));
	return one_request(dev, type, 0, sizeof(range));
}

static inline void start_disk(struct virtio_dev *dev, uint64_t features)
{
	memset(memory_at(&mem, RING_GPA(0), 0x10000), 0, 0x10000);
	CHECK(driver_start(dev, features, DISK_QUEUE));
}

static inline struct virtio_dev *open_disk(const struct disk_config *cfg)
{
	struct virtio_dev *dev = blk_create(&mem, &loop, cfg, 0, &err);

	if (!dev) {
		fprintf(stderr, "%s\n", err.text);
		abort();
	}
	start_disk(dev, DISK_FEATURES);
	return dev;
}

/* A new file of `size` bytes, each the low byte of its 512-byte sector's number, plus one. */
static inline void make_image(char *path, uint64_t size)
{
	uint8_t sector[512];
	int fd = mkstemp(path);
	uint64_t i;

	CHECK(fd >= 0);
	for (i = 0; i < size / 512; i++) {
		memset(sector, (int)(i + 1), 512);
		CHECK(write(fd, sector, 512) == 512);
	}
	close(fd);
}

#endif
