/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of the block device share: blk.c (the device and its requests), blk_cow.c
 * (requests that go through an overlay).
 */
#ifndef HG_VIRTIO_BLK_PRIVATE_H
#define HG_VIRTIO_BLK_PRIVATE_H

#include <linux/virtio_blk.h>

#include "ratelimit.h"
#include "virtio/blk.h"
#include "virtio/blk_image.h"

#define BLK_QUEUE_SIZE 128
#define BLK_SEG_MAX    (BLK_QUEUE_SIZE - 2) /* header and status take one descriptor each */
#define BLK_SECTOR     512u
#define BLK_RANGE_MAX  (1u << 23) /* sectors (4 GiB) that one range may cover */
#define BLK_RANGES     32	  /* of one discard or write-zeroes request */

struct blk;

struct request {
	struct io io; /* first: an io pointer is ours */
	struct blk *blk;
	struct request *next; /* in the list it is on: free, held back, or waiting for a commit */
	uint32_t head;
	uint8_t queue, type;	/* type: VIRTIO_BLK_T_*, those that are served */
	uint8_t range, nranges; /* the one being served, of ranges[] */
	uint8_t *status;
	uint64_t bytes;	    /* data wanted */
	uint64_t offset;    /* of what is left to do, on the disk */
	uint64_t left;	    /* bytes */
	struct iovec *data; /* what is left of segs[] */
	unsigned int nsegs;
	/* A read that ends inside a segment: the rest of it, put back when the part is done. */
	unsigned int cut_seg;
	uint64_t cut_len;
	union {
		struct iovec segs[BLK_QUEUE_SIZE];
		struct virtio_blk_discard_write_zeroes ranges[BLK_RANGES];
	};
};

struct request_list {
	struct request *first, *last;
};

static inline void list_add(struct request_list *l, struct request *r)
{
	r->next = NULL;
	if (l->first)
		l->last->next = r;
	else
		l->first = r;
	l->last = r;
}

static inline struct request *list_take(struct request_list *l)
{
	struct request *r = l->first;

	if (r)
		l->first = r->next;
	return r;
}

/* Of a disk with an overlay. */
struct cow {
	struct blk *blk;
	unsigned int writes;	  /* in flight to the overlay's data */
	struct request_list held; /* writes that wait for a copy, and those behind them */
	/* One block being copied from the base. */
	bool copying;
	uint64_t copy_block;
	struct io copy_io;
	struct iovec copy_iov;
	uint8_t *copy_data; /* OVERLAY_BLOCK bytes, aligned to as many */
	/* One commit of the map. */
	bool committing;
	enum { COMMIT_DATA, COMMIT_MAP, COMMIT_LAST } commit_step;
	struct overlay_commit commit;
	struct io commit_io;
	struct iovec commit_iov;
	struct request_list joined;  /* end with this commit */
	struct request_list waiting; /* came too late for it: the next one */
};

struct blk {
	struct virtio_dev dev; /* first: a virtio_dev pointer is ours */
	unsigned int index;
	struct image image;
	struct io_engine io;
	struct cow cow;
	struct ratelimit limit;
	struct virtio_blk_config config;
	struct blk_stats stats;
	char serial[VIRTIO_BLK_ID_BYTES + 1];
	bool sync_failed;     /* data may be lost: no flush succeeds until a reset */
	unsigned int stalled; /* bit n: queue n has requests that could not be started */
	/*
	 * An image in memory is served by the vCPU that kicks, or by the loop (docs/vmm/block.md).
	 * left: the loop has been told.  at_once: kicks until it is told.  taken: found since.
	 */
	bool left;
	unsigned int at_once, taken;
	struct token_bucket events;
	blk_error_fn *on_error;
	void *on_error_arg;
	struct request *free;
	struct request *requests; /* untouched memory from `unused` on */
	unsigned int unused, nrequests;
	struct vq_chain chain;
};

/*
 * Takes a chain as a request and starts it.  There is a struct request left for it.  False
 * when it has no room for a header and a status: nothing can be answered.
 */
bool blk_handle(struct blk *b, const struct vq_chain *c, unsigned int queue);

/* Ends a request.  result: 0, or -errno (-EOPNOTSUPP becomes UNSUPP, the rest IOERR). */
void blk_finish(struct blk *b, struct request *r, long result);

/* Does the driver count on writes being on stable storage when they are done (5.2.6.2)? */
bool blk_writes_through(const struct blk *b);

/* Sets up io for what is left of a transfer, at most len bytes, and starts it. */
void blk_transfer(struct blk *b, struct request *r, unsigned int file, uint64_t at, uint64_t len);

/* Takes in that a transfer moved n bytes. */
void blk_advance(struct request *r, uint64_t n);

/* The next range of a discard or write-zeroes request into offset and left; false: no more. */
bool blk_next_range(struct request *r);

/* blk_cow.c: 0, or -1 when out of memory. */
int cow_open(struct blk *b);
void cow_close(struct blk *b);

/* Starts a request with offset and left set. */
void cow_read(struct blk *b, struct request *r);
void cow_write(struct blk *b, struct request *r); /* also discards and write-zeroes */
void cow_flush(struct blk *b, struct request *r);

/* All that was written up to now goes to stable storage; for the end and for snapshots. */
void cow_commit(struct blk *b);

#endif
