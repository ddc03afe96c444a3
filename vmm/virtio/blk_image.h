/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is behind a disk: an image file or block device, the overlay over it, locks, sizes,
 * and how they may be accessed.
 *
 * Direct I/O (O_DIRECT) asks for alignments that a guest need not keep.  Each file is open
 * twice then, and an operation that is not aligned takes the buffered way: the page cache is
 * its bounce buffer, and the kernel keeps the two ways coherent.
 */
#ifndef HG_VIRTIO_BLK_IMAGE_H
#define HG_VIRTIO_BLK_IMAGE_H

#include "options.h"
#include "virtio/blk_io.h"
#include "virtio/overlay.h"

/* Numbers of files for struct io; each is followed by its direct twin. */
enum { FILE_BASE, FILE_BASE_DIRECT, FILE_OVERLAY, FILE_OVERLAY_DIRECT };

struct image {
	int fds[IO_FILES];		/* -1: none */
	uint32_t mem_align, file_align; /* of direct I/O, powers of two */
	int lock_fd;
	uint64_t size;	    /* bytes that the guest sees, whole sectors */
	uint64_t base_size; /* bytes of the base that count */
	bool read_only;
	bool block_device;
	bool can_discard; /* where writes go, holes can be punched */
	bool has_overlay;
	struct overlay overlay;
};

/* Opens and locks.  0, or -1 and *e; nothing is left open then. */
int image_open(struct image *m, const struct disk_config *cfg, struct error *e);
void image_close(struct image *m);

/* The way that suits io: its file, or the direct twin when there is one and io is aligned. */
unsigned int image_way(const struct image *m, unsigned int file, const struct io *io);

/*
 * A new size, whole sectors.  0, or -1 with a reason in text: no disk shrinks, a base under
 * an overlay is not touched, a block device has the size it has.
 */
int image_resize(struct image *m, uint64_t size, char *text, size_t len);

#endif
