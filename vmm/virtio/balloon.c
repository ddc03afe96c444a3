// SPDX-License-Identifier: Apache-2.0
#include "virtio/balloon.h"

#include <errno.h>
#include <linux/virtio_balloon.h>
#include <linux/virtio_ids.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "snapshot/format.h"

#define PAGE_SHIFT VIRTIO_BALLOON_PFN_SHIFT /* 12, whatever the guest's page size is (5.5.6) */
#define BATCH	   256u			    /* page numbers looked at together */

/*
 * One request's page numbers are taken up to here; Linux sends 256, Windows 1024.  What lies
 * beyond stays with the guest, which is all that can go wrong.
 */
#define MAX_PFNS 4096u
/* After this much a queue is left to the event loop's next round: nobody waits long. */
#define ROUND_PFNS  8192u
#define ROUND_BYTES (1ull << 30)

enum { INFLATE, DEFLATE, STATS, REPORTING, NONE };

struct balloon {
	struct virtio_dev dev; /* first: a virtio_dev pointer is ours */
	struct virtio_balloon_config config;
	struct balloon_stats stats;
	struct vq_chain chain;
	bool stats_held; /* the driver's statistics buffer is with us: stats_head */
	uint32_t stats_head;
	struct loop_source timer; /* runs for a second after a change was told */
	bool told_lately, changed, complained;
	void (*on_change)(void *arg, uint64_t actual);
	void *on_change_arg;
};

const char *const balloon_stat_names[BALLOON_NSTATS] = {
	[VIRTIO_BALLOON_S_SWAP_IN] = "stat-swap-in",
	[VIRTIO_BALLOON_S_SWAP_OUT] = "stat-swap-out",
	[VIRTIO_BALLOON_S_MAJFLT] = "stat-major-faults",
	[VIRTIO_BALLOON_S_MINFLT] = "stat-minor-faults",
	[VIRTIO_BALLOON_S_MEMFREE] = "stat-free-memory",
	[VIRTIO_BALLOON_S_MEMTOT] = "stat-total-memory",
	[VIRTIO_BALLOON_S_AVAIL] = "stat-available-memory",
	[VIRTIO_BALLOON_S_CACHES] = "stat-disk-caches",
	[VIRTIO_BALLOON_S_HTLB_PGALLOC] = "stat-htlb-pgalloc",
	[VIRTIO_BALLOON_S_HTLB_PGFAIL] = "stat-htlb-pgfail",
	/* Linux 6.12 and up; older headers do not name them. */
	[10] = "stat-oom-kills",
	[11] = "stat-alloc-stalls",
	[12] = "stat-async-scans",
	[13] = "stat-direct-scans",
	[14] = "stat-async-reclaims",
	[15] = "stat-direct-reclaims",
};

/*
 * 5.5.2 numbers the queues 0 to 4, but drivers (Linux first) leave no gaps for features that
 * were not negotiated; both ways of counting are understood.
 */
static unsigned int role(const struct virtio_dev *dev, unsigned int queue)
{
	unsigned int next = 2;

	if (queue <= DEFLATE)
		return queue;
	if (virtio_has(dev, VIRTIO_BALLOON_F_STATS_VQ) && queue == next++)
		return STATS;
	if (virtio_has(dev, VIRTIO_BALLOON_F_REPORTING) && (queue == next || queue == 4))
		return REPORTING;
	return NONE;
}

static void discard(struct balloon *b, void *at, uint64_t len)
{
	if (memory_discard(b->dev.mem, at, len) && !b->complained) {
		b->complained = true;
		log_line("virtio-balloon: pages are not given back: %s", strerror(errno));
	}
}

/* Neighbours go together, upwards or downwards: one look at the page tables for the range. */
static void discard_batch(struct balloon *b, const uint32_t *pfns, unsigned int n)
{
	unsigned int i, end;
	uint32_t step, low;
	uint64_t len;
	void *at;

	for (i = 0; i < n; i = end) {
		step = i + 1 < n && pfns[i + 1] == pfns[i] - 1 ? -1u : 1;
		for (end = i + 1; end < n && pfns[end] == pfns[end - 1] + step; end++)
			;
		low = step == 1 ? pfns[i] : pfns[end - 1];
		len = (uint64_t)(end - i) << PAGE_SHIFT;
		at = memory_at(b->dev.mem, (uint64_t)low << PAGE_SHIFT, len);
		if (!at)
			continue; /* not RAM: nothing to give, and nobody's harm */
		discard(b, at, len);
		b->stats.inflated += len;
	}
}

/* Returns how many page numbers were taken. */
static unsigned int inflate(struct balloon *b, const struct vq_chain *c)
{
	unsigned int n, done = 0;
	uint32_t pfns[BATCH];

	while (done < MAX_PFNS) {
		n = iov_read(c->iov, c->nread, done * sizeof(pfns[0]), pfns, sizeof(pfns)) /
		    sizeof(pfns[0]);
		if (!n)
			break;
		discard_batch(b, pfns, n);
		done += n;
	}
	return done;
}

static void take_pages(struct balloon *b, struct vq *q, bool inflating)
{
	unsigned int round, sum = 0;
	int r = 0;

	for (round = 0; round < q->size && sum < ROUND_PFNS; round++) {
		r = vq_pop(q, &b->chain);
		if (r <= 0)
			break;
		/* Deflated pages come back by themselves, when they are touched. */
		if (inflating)
			sum += inflate(b, &b->chain);
		else
			b->stats.deflated += b->chain.read_len / sizeof(uint32_t) << PAGE_SHIFT;
		vq_push(q, b->chain.head, 0);
	}
	virtio_finish(&b->dev, q, r);
}

/* 5.5.6.7: the buffers are the free pages themselves. */
static void take_reports(struct balloon *b, struct vq *q)
{
	const struct iovec *v;
	unsigned int round;
	uint64_t sum = 0;
	int r = 0;

	for (round = 0; round < q->size && sum < ROUND_BYTES; round++) {
		r = vq_pop(q, &b->chain);
		if (r <= 0)
			break;
		if (b->chain.write_len > b->dev.mem->size) {
			virtio_break(&b->dev, "more free memory is reported than there is");
			return;
		}
		for (v = b->chain.iov + b->chain.nread;
		     v < b->chain.iov + b->chain.nread + b->chain.nwrite; v++)
			discard(b, v->iov_base, v->iov_len);
		b->stats.reported += b->chain.write_len;
		sum += b->chain.write_len;
		vq_push(q, b->chain.head, 0);
	}
	virtio_finish(&b->dev, q, r);
}

static uint64_t seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec;
}

static void read_stats(struct balloon *b, const struct vq_chain *c)
{
	struct virtio_balloon_stat stat;
	unsigned int i;

	/* More entries than tags there may be, but not without end. */
	for (i = 0; i < 4 * BALLOON_NSTATS; i++) {
		if (iov_read(c->iov, c->nread, i * sizeof(stat), &stat, sizeof(stat)) !=
		    sizeof(stat))
			break;
		if (stat.tag >= BALLOON_NSTATS)
			continue;
		b->stats.value[stat.tag] = stat.val;
		b->stats.known |= 1u << stat.tag;
	}
	if (i)
		b->stats.updated = seconds();
}

/* Giving the buffer back is the request for new figures (5.5.6.3). */
static void ask_for_stats(struct balloon *b, struct vq *q)
{
	if (!b->stats_held)
		return; /* the driver is at it already */
	b->stats_held = false;
	vq_push(q, b->stats_head, 0);
	virtio_signal(&b->dev, q);
}

static void take_stats(struct balloon *b, struct vq *q)
{
	int r = vq_pop(q, &b->chain);

	/* The driver has one buffer (5.5.6.3.1); of two, the older one is of no use. */
	if (r > 0 && b->stats_held)
		vq_push(q, b->stats_head, 0);
	if (r > 0) {
		read_stats(b, &b->chain);
		b->stats_held = true;
		b->stats_head = b->chain.head;
	}
	virtio_finish(&b->dev, q, r);
}

static void balloon_notify(struct virtio_dev *dev, unsigned int queue)
{
	struct balloon *b = (struct balloon *)dev;
	struct vq *q = &dev->queues[queue];

	switch (role(dev, queue)) {
	case INFLATE:
	case DEFLATE:
		take_pages(b, q, queue == INFLATE);
		break;
	case STATS:
		take_stats(b, q);
		break;
	case REPORTING:
		take_reports(b, q);
		break;
	}
}

static void tell_change(struct balloon *b)
{
	const struct itimerspec second = {.it_value.tv_sec = 1};

	b->changed = false;
	if (b->on_change)
		b->on_change(b->on_change_arg, balloon_actual(&b->dev));
	b->told_lately = timerfd_settime(b->timer.fd, 0, &second, NULL) == 0;
}

static void on_timer(void *arg, uint32_t events)
{
	struct balloon *b = arg;
	uint64_t count;

	(void)events;
	if (read(b->timer.fd, &count, sizeof(count)) < 0)
		return;
	b->told_lately = false;
	if (b->changed)
		tell_change(b);
}

static void set_actual(struct balloon *b, uint32_t pages)
{
	if (b->config.actual == pages)
		return;
	b->config.actual = pages;
	/* The guest decides how often; clients hear of it once a second. */
	b->changed = true;
	if (!b->told_lately)
		tell_change(b);
}

/* 5.5.5: `actual` is the driver's to write. */
static void balloon_write_config(struct virtio_dev *dev, uint64_t offset, const uint8_t *data,
				 unsigned int len)
{
	uint32_t pages;

	if (offset != offsetof(struct virtio_balloon_config, actual) || len != sizeof(pages))
		return;
	memcpy(&pages, data, sizeof(pages));
	set_actual((struct balloon *)dev, pages);
}

static void balloon_reset(struct virtio_dev *dev)
{
	struct balloon *b = (struct balloon *)dev;

	b->stats_held = false;
	b->stats.known = 0;
	b->stats.updated = 0;
	set_actual(b, 0);
}

static void balloon_save(const struct virtio_dev *dev, struct snap_out *out)
{
	const struct balloon *b = (const struct balloon *)dev;

	snap_put32(out, b->config.num_pages);
	snap_put32(out, b->config.actual);
	snap_put32(out, b->stats_held);
	snap_put32(out, b->stats_head);
}

static int balloon_load(struct virtio_dev *dev, struct snap_in *in, struct error *e)
{
	struct balloon *b = (struct balloon *)dev;
	const struct vq *q = &dev->queues[STATS];
	uint32_t places;

	b->config.num_pages = snap_take32(in);
	b->config.actual = snap_take32(in);
	b->stats_held = snap_take32(in) & 1;
	b->stats_head = snap_take32(in);
	/* As vq_pop() would have made it (packed.c): places in the ring above an id. */
	places = q->packed ? b->stats_head >> 16 : b->stats_head + 1;
	if (b->stats_held && (!places || places > q->size))
		return error_set(e, ERROR_USER, "is damaged: virtio-balloon");
	return 0;
}

static void balloon_destroy(struct virtio_dev *dev)
{
	struct balloon *b = (struct balloon *)dev;

	loop_remove(dev->loop, &b->timer);
	close(b->timer.fd);
	virtio_end(dev);
	free(b);
}

static const struct virtio_ops balloon_ops = {
	.id = VIRTIO_ID_BALLOON,
	.name = "balloon",
	.nqueues = 5,
	.queue_size = 128,
	.notify = balloon_notify,
	.write_config = balloon_write_config,
	.reset = balloon_reset,
	.destroy = balloon_destroy,
	.save = balloon_save,
	.load = balloon_load,
};

struct virtio_dev *balloon_create(const struct guest_memory *mem, struct loop *loop,
				  const struct balloon_config *cfg, struct error *e)
{
	struct balloon *b = calloc(1, sizeof(*b));

	if (!b || virtio_init(&b->dev, &balloon_ops, mem, loop))
		goto fail;
	b->timer = (struct loop_source){.fn = on_timer, .arg = b};
	b->timer.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (b->timer.fd < 0 || loop_add(loop, &b->timer, EPOLLIN))
		goto fail;
	b->dev.features |= 1ull << VIRTIO_BALLOON_F_STATS_VQ;
	if (cfg->deflate_on_oom)
		b->dev.features |= 1ull << VIRTIO_BALLOON_F_DEFLATE_ON_OOM;
	/*
	 * Without PAGE_POISON a driver whose free pages have to keep a pattern does not report
	 * them (5.5.6.7.1), which is what we want: discarded ones are zeros.
	 */
	if (cfg->reporting)
		b->dev.features |= 1ull << VIRTIO_BALLOON_F_REPORTING;
	b->dev.config = (uint8_t *)&b->config;
	b->dev.config_len = offsetof(struct virtio_balloon_config, free_page_hint_cmd_id);
	if (cfg->target)
		balloon_set_target(&b->dev, cfg->target);
	return &b->dev;
fail:
	error_set(e, ERROR_MACHINE, "virtio-balloon: %s", strerror(errno));
	free(b);
	return NULL;
}

void balloon_on_change(struct virtio_dev *dev, void (*fn)(void *arg, uint64_t actual), void *arg)
{
	struct balloon *b = (struct balloon *)dev;

	b->on_change = fn;
	b->on_change_arg = arg;
}

void balloon_set_target(struct virtio_dev *dev, uint64_t bytes)
{
	struct balloon *b = (struct balloon *)dev;
	uint64_t pages = bytes < dev->mem->size ? (dev->mem->size - bytes) >> PAGE_SHIFT : 0;

	b->config.num_pages = pages < UINT32_MAX ? pages : UINT32_MAX;
	virtio_config_changed(dev);
}

uint64_t balloon_actual(const struct virtio_dev *dev)
{
	const struct balloon *b = (const struct balloon *)dev;
	uint64_t taken = (uint64_t)b->config.actual << PAGE_SHIFT;

	return taken < dev->mem->size ? dev->mem->size - taken : 0;
}

const struct balloon_stats *balloon_get_stats(struct virtio_dev *dev)
{
	struct balloon *b = (struct balloon *)dev;

	if (virtio_is_running(dev) && virtio_has(dev, VIRTIO_BALLOON_F_STATS_VQ))
		ask_for_stats(b, &dev->queues[STATS]);
	return &b->stats;
}
