// SPDX-License-Identifier: Apache-2.0
/* The block device (virtio 1.2, 5.2): its queues, configuration and life; blk_request.c does the
 * work. */
#include "virtio/blk.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "snapshot/format.h"
#include "virtio/blk_private.h"

#define EVENT_RATE   1	/* BLOCK_IO_ERROR events a second */
#define AT_ONCE	     64 /* kicks that are served in the vCPU between two that are not */
#define WORTH	     3	/* requests that are worth a turn of the event loop */
#define CONFIG_BYTES offsetof(struct virtio_blk_config, max_secure_erase_sectors)

static bool have_request(const struct blk *b)
{
	return b->free || b->unused < b->nrequests;
}

/* Starts what waits in a queue, up to *budget requests.  -1: the queue is broken. */
static int take(struct blk *b, unsigned int queue, unsigned int *budget)
{
	struct vq *q = &b->dev.queues[queue];
	int r = 0;

	b->stalled &= ~(1u << queue);
	for (; *budget; --*budget) {
		/* Out of requests: a driver that lends us the same head twice. */
		if (!have_request(b) || !ratelimit_allows(&b->limit)) {
			b->stalled |= 1u << queue;
			return 0;
		}
		r = vq_pop(q, &b->chain);
		if (r <= 0)
			return r;
		if (!blk_handle(b, &b->chain, queue)) {
			q->complaint = "a request without header or status";
			q->broken = true;
			return -1;
		}
	}
	return 0;
}

/* What io_run() has found ended may be of any queue. */
static void signal_queues(struct blk *b)
{
	unsigned int i;

	for (i = 0; i < b->dev.nqueues; i++)
		virtio_signal(&b->dev, &b->dev.queues[i]);
}

/* Of an image in memory: is the vCPU that kicked to go on, and the loop to serve? */
static bool leave_to_loop(struct blk *b)
{
	if (!b->dev.notify_inline || b->dev.loop->batch)
		return false;
	if (b->at_once) {
		b->at_once--;
		return false;
	}
	if (!b->left) {
		b->taken = 0;
		loop_set_mild(b->dev.loop, true);
		virtio_kick_later(&b->dev);
	}
	return b->left = true;
}

/* What the loop found tells how many requests the guest makes before it waits for one. */
static void judge(struct blk *b, unsigned int taken)
{
	b->left = false;
	b->taken += taken; /* of all queues */
	b->at_once = b->taken < WORTH ? AT_ONCE : 0;
	if (b->at_once)
		loop_set_mild(b->dev.loop, false);
}

static void blk_notify(struct virtio_dev *dev, unsigned int queue)
{
	struct blk *b = (struct blk *)dev;
	struct vq *q = &dev->queues[queue];
	unsigned int budget = q->size;
	int r;

	if (leave_to_loop(b))
		return;
	do {
		r = take(b, queue, &budget);
		io_run(&b->io, false);
		if (r < 0) {
			virtio_break(dev, q->complaint);
			return;
		}
		/* Stalled: a completion or the rate limit's timer comes back here, no kick needed.
		 */
		if (b->stalled & 1u << queue)
			break;
		if (!budget) {
			virtio_finish(dev, q, 0);
			break;
		}
	} while (vq_arm(q)); /* what came in meanwhile needs no kick either */
	if (dev->loop->batch)
		judge(b, q->size - budget);
	signal_queues(b);
}

static void serve_stalled(struct blk *b)
{
	unsigned int i;

	for (i = 0; i < b->dev.nqueues && b->stalled && virtio_is_running(&b->dev); i++)
		if (b->stalled & 1u << i)
			blk_notify(&b->dev, i);
}

static void on_ring(void *arg, uint32_t events)
{
	struct blk *b = arg;

	(void)events;
	io_run(&b->io, false);
	signal_queues(b);
	if (!b->limit.waiting)
		serve_stalled(b);
}

static void on_rate(void *arg)
{
	serve_stalled(arg);
}

/* --- the device --- */

static void blk_quiesce(struct virtio_dev *dev)
{
	struct blk *b = (struct blk *)dev;

	io_run(&b->io, true);
	if (b->image.has_overlay) {
		cow_commit(b);
		io_run(&b->io, true);
	}
}

static void blk_reset(struct virtio_dev *dev)
{
	struct blk *b = (struct blk *)dev;

	io_run(&b->io, true);
	b->stalled = 0;
	b->left = false;
	b->taken = 0;
	b->at_once = AT_ONCE;
	loop_set_mild(b->dev.loop, false);
	b->sync_failed = false;
	b->config.wce = 1;
}

static void blk_write_config(struct virtio_dev *dev, uint64_t offset, const uint8_t *data,
			     unsigned int len)
{
	struct blk *b = (struct blk *)dev;

	/* 5.2.5.1: the one field that a driver may set. */
	if (offset == offsetof(struct virtio_blk_config, wce) && len == 1 &&
	    virtio_has(dev, VIRTIO_BLK_F_CONFIG_WCE))
		b->config.wce = data[0] & 1;
}

/* The image itself is given again; what can be checked of it is its size. */
static void blk_save(const struct virtio_dev *dev, struct snap_out *out)
{
	const struct blk *b = (const struct blk *)dev;

	snap_put64(out, b->config.capacity);
	snap_put32(out, b->config.wce);
	snap_put32(out, b->sync_failed);
}

static int blk_load(struct virtio_dev *dev, struct snap_in *in, struct error *e)
{
	struct blk *b = (struct blk *)dev;
	uint64_t capacity = snap_take64(in);

	b->config.wce = snap_take32(in) & 1;
	b->sync_failed = snap_take32(in) & 1;
	if (!in->bad && capacity != b->config.capacity)
		return error_set(e, ERROR_USER,
				 "has %llu KiB on disk %u, and the image given for it %llu KiB",
				 (unsigned long long)capacity / 2, b->index,
				 (unsigned long long)b->config.capacity / 2);
	return 0;
}

/* The guest's memory would go on without what the guest wrote. */
static const char *blk_cannot_save(const struct virtio_dev *dev)
{
	const struct blk *b = (const struct blk *)dev;

	return b->image.has_overlay && b->image.overlay.anonymous
		       ? "a disk with 'snapshot' forgets its writes (use overlay=FILE)"
		       : NULL;
}

static void blk_release(struct blk *b)
{
	ratelimit_close(&b->limit);
	cow_close(b);
	image_close(&b->image);
	if (b->requests)
		munmap(b->requests, b->nrequests * sizeof(*b->requests));
	free(b);
}

static void blk_destroy(struct virtio_dev *dev)
{
	struct blk *b = (struct blk *)dev;

	blk_quiesce(dev);
	io_close(&b->io);
	virtio_end(dev);
	blk_release(b);
}

static const struct virtio_ops blk_ops = {
	.id = VIRTIO_ID_BLOCK,
	.name = "blk",
	.nqueues = 1,
	.queue_size = BLK_QUEUE_SIZE,
	.notify = blk_notify,
	.reset = blk_reset,
	.write_config = blk_write_config,
	.cannot_save = blk_cannot_save,
	.quiesce = blk_quiesce,
	.save = blk_save,
	.load = blk_load,
	.destroy = blk_destroy,
};

static void offer(struct blk *b)
{
	struct virtio_blk_config *c = &b->config;
	struct virtio_dev *dev = &b->dev;

	c->capacity = b->image.size / BLK_SECTOR;
	c->seg_max = BLK_SEG_MAX;
	c->blk_size = BLK_SECTOR;
	c->wce = 1;
	c->num_queues = dev->nqueues;
	/* 5.2.4: hints that partial blocks of 4 KiB cost more (page cache, overlays). */
	c->physical_block_exp = 3;
	c->min_io_size = 8;
	dev->features |= 1ull << VIRTIO_BLK_F_SEG_MAX | 1ull << VIRTIO_BLK_F_BLK_SIZE |
			 1ull << VIRTIO_BLK_F_TOPOLOGY | 1ull << VIRTIO_BLK_F_FLUSH |
			 1ull << VIRTIO_BLK_F_CONFIG_WCE;
	if (dev->nqueues > 1)
		dev->features |= 1ull << VIRTIO_BLK_F_MQ;
	if (b->image.read_only)
		dev->features |= 1ull << VIRTIO_BLK_F_RO;
	if (b->image.can_discard) {
		c->max_discard_sectors = c->max_write_zeroes_sectors = BLK_RANGE_MAX;
		c->max_discard_seg = c->max_write_zeroes_seg = BLK_RANGES;
		c->discard_sector_alignment = OVERLAY_BLOCK / BLK_SECTOR;
		c->write_zeroes_may_unmap = 1;
		dev->features |= 1ull << VIRTIO_BLK_F_DISCARD | 1ull << VIRTIO_BLK_F_WRITE_ZEROES;
	}
	dev->config = (uint8_t *)c;
	dev->config_len = CONFIG_BYTES;
}

/* Mapped, not allocated: those that are never in use take no memory. */
static int make_requests(struct blk *b)
{
	void *p;

	b->nrequests = BLK_QUEUE_SIZE * b->dev.nqueues;
	p = mmap(NULL, b->nrequests * sizeof(*b->requests), PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return -1;
	b->requests = p;
	return 0;
}

struct virtio_dev *blk_create(const struct guest_memory *mem, struct loop *loop,
			      const struct disk_config *cfg, unsigned int index, struct error *e)
{
	struct blk *b = calloc(1, sizeof(*b));

	if (!b) {
		error_set(e, ERROR_MACHINE, "out of memory");
		return NULL;
	}
	b->index = index;
	if (image_open(&b->image, cfg, e)) {
		free(b);
		return NULL;
	}
	b->dev.nqueues = cfg->queues ? (unsigned int)cfg->queues : 1;
	bucket_init(&b->events, EVENT_RATE, 1, ratelimit_now());
	if (cfg->serial)
		snprintf(b->serial, sizeof(b->serial), "%s", cfg->serial);
	else
		snprintf(b->serial, sizeof(b->serial), "hg-disk%u", index);
	if (make_requests(b) || cow_open(b) ||
	    ratelimit_init(&b->limit, loop, &cfg->rate, on_rate, b) ||
	    virtio_init(&b->dev, &blk_ops, mem, loop) ||
	    io_open(&b->io, loop, b->image.fds, BLK_QUEUE_SIZE, on_ring, b)) {
		error_set(e, ERROR_MACHINE, "virtio-blk: %s", strerror(errno));
		blk_release(b);
		return NULL;
	}
	b->dev.notify_inline = io_in_memory(&b->io);
	if (b->dev.notify_inline)
		loop_allow_mild(loop);
	offer(b);
	return &b->dev;
}

const struct blk_stats *blk_get_stats(const struct virtio_dev *dev)
{
	return &((const struct blk *)dev)->stats;
}

uint64_t blk_size(const struct virtio_dev *dev)
{
	return ((const struct blk *)dev)->image.size;
}

uint64_t blk_throttled(const struct virtio_dev *dev)
{
	return ((const struct blk *)dev)->limit.waits;
}

int blk_set_rate(struct virtio_dev *dev, int64_t ops, int64_t bytes)
{
	struct ratelimit *r = &((struct blk *)dev)->limit;
	struct rate_config cfg = {.ops = r->ops.rate,
				  .ops_burst = r->ops.burst,
				  .bytes = r->bytes.rate,
				  .bytes_burst = r->bytes.burst};

	if (ops >= 0)
		cfg.ops = ops, cfg.ops_burst = 0;
	if (bytes >= 0)
		cfg.bytes = bytes, cfg.bytes_burst = 0;
	return ratelimit_set(r, &cfg);
}

int blk_resize(struct virtio_dev *dev, uint64_t size, char *text, size_t len)
{
	struct blk *b = (struct blk *)dev;

	if (image_resize(&b->image, size, text, len))
		return -1;
	b->config.capacity = size / BLK_SECTOR;
	virtio_config_changed(dev);
	return 0;
}

void blk_on_error(struct virtio_dev *dev, blk_error_fn *fn, void *arg)
{
	struct blk *b = (struct blk *)dev;

	b->on_error = fn;
	b->on_error_arg = arg;
}
