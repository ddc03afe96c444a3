/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio block device (virtio 1.2, section 5.2) over a raw image or a block device, with a
 * copy-on-write overlay if asked for.  docs/vmm/block.md has the picture.
 *
 * Durability: a driver that negotiates FLUSH gets a write-back disk whose flush is an
 * fdatasync; one that does not, or that clears `wce`, gets every write on stable storage
 * before its completion.
 */
#ifndef HG_VIRTIO_BLK_H
#define HG_VIRTIO_BLK_H

#include "options.h"
#include "virtio/device.h"

struct blk_stats {
	uint64_t rd_bytes, wr_bytes, unmap_bytes;
	uint64_t rd_operations, wr_operations, flush_operations, unmap_operations;
	uint64_t failed_rd_operations, failed_wr_operations;
	uint64_t failed_flush_operations, failed_unmap_operations;
	uint64_t invalid_operations; /* refused before anything was done */
	uint64_t copied_blocks;	     /* of 4 KiB, from the base into the overlay */
};

/*
 * Opens and locks the image (OFD lock: one writer, or any number of readers).
 * NULL with *e: ERROR_USER when the image is missing, empty, not a file or in use.
 */
struct virtio_dev *blk_create(const struct guest_memory *mem, struct loop *loop,
			      const struct disk_config *cfg, unsigned int index, struct error *e);

const struct blk_stats *blk_get_stats(const struct virtio_dev *dev);
uint64_t blk_size(const struct virtio_dev *dev);      /* bytes */
uint64_t blk_throttled(const struct virtio_dev *dev); /* how often requests had to wait */

/* Requests and bytes a second, 0 for no limit, below 0 for as it is.  0, or -1 with errno. */
int blk_set_rate(struct virtio_dev *dev, int64_t ops, int64_t bytes);

/* A new size in bytes, and the driver is told.  0, or -1 with a reason in text. */
int blk_resize(struct virtio_dev *dev, uint64_t size, char *text, size_t len);

/* Called when the host's storage failed a request, at most once a second. */
typedef void blk_error_fn(void *arg, unsigned int index, bool write, int error);
void blk_on_error(struct virtio_dev *dev, blk_error_fn *fn, void *arg);

#endif
