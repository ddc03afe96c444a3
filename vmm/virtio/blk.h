/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio block device (virtio 1.2, section 5.2) over a raw image or a block device.
 * Requests go through io_uring, or plain preadv/pwritev where the kernel has none.
 *
 * Durability: a driver that negotiates FLUSH gets a write-back disk whose flush is an
 * fdatasync; one that does not gets every write on stable storage before its completion.
 */
#ifndef HG_VIRTIO_BLK_H
#define HG_VIRTIO_BLK_H

#include "options.h"
#include "virtio/device.h"

struct blk_stats {
	uint64_t rd_bytes, wr_bytes;
	uint64_t rd_operations, wr_operations, flush_operations;
	uint64_t failed_operations;
};

/*
 * Opens and locks the image (OFD lock: one writer, or any number of readers).
 * NULL with *e: ERROR_USER when the image is missing, empty, not a file or in use.
 */
struct virtio_dev *blk_create(const struct guest_memory *mem, struct loop *loop,
			      const struct disk_config *cfg, unsigned int index, struct error *e);

const struct blk_stats *blk_get_stats(const struct virtio_dev *dev);
uint64_t blk_size(const struct virtio_dev *dev); /* bytes */

#endif
