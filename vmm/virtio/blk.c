// SPDX-License-Identifier: Apache-2.0
#include "virtio/blk.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"

#define SECTOR	   512u
#define QUEUE_SIZE 128
#define SEG_MAX	   (QUEUE_SIZE - 2) /* header and status take one descriptor each */

struct request {
	uint32_t head;
	uint32_t type; /* VIRTIO_BLK_T_* */
	uint8_t *status;
	unsigned int nsegs;
	uint64_t bytes; /* data wanted */
	uint64_t done;	/* data moved so far: a short result is continued */
	uint64_t offset;
	struct request *next_free;
	struct iovec data[VQ_MAX_SEGS];
};

struct blk {
	struct virtio_dev dev; /* first: a virtio_dev pointer is ours */
	int fd;
	uint64_t size; /* bytes */
	bool read_only, have_ring;
	bool starved; /* requests wait in the virtqueue for a struct request */
	struct io_uring ring;
	struct loop_source ring_src;
	unsigned int in_flight, queued;
	struct virtio_blk_config config;
	struct blk_stats stats;
	char serial[VIRTIO_BLK_ID_BYTES];
	struct request *requests, *free;
	struct vq_chain chain;
};

static void finish(struct blk *b, struct request *r, uint8_t status)
{
	struct vq *q = &b->dev.queues[0];
	uint32_t written = 1;

	if (status == VIRTIO_BLK_S_OK) {
		if (r->type == VIRTIO_BLK_T_IN) {
			b->stats.rd_operations++;
			b->stats.rd_bytes += r->bytes;
			written += r->bytes;
		} else if (r->type == VIRTIO_BLK_T_OUT) {
			b->stats.wr_operations++;
			b->stats.wr_bytes += r->bytes;
		} else if (r->type == VIRTIO_BLK_T_FLUSH) {
			b->stats.flush_operations++;
		} else if (r->type == VIRTIO_BLK_T_GET_ID) {
			written += r->done;
		}
	} else {
		b->stats.failed_operations++;
	}
	*r->status = status;
	vq_push(q, r->head, written);
	r->next_free = b->free;
	b->free = r;
}

/* Drops the first n bytes of a request's buffers, after a short read or write. */
static void advance(struct request *r, uint64_t n)
{
	unsigned int i = 0;

	r->done += n;
	while (i < r->nsegs && n >= r->data[i].iov_len)
		n -= r->data[i++].iov_len;
	r->nsegs -= i;
	memmove(r->data, r->data + i, r->nsegs * sizeof(r->data[0]));
	if (n) {
		r->data[0].iov_base = (uint8_t *)r->data[0].iov_base + n;
		r->data[0].iov_len -= n;
	}
}

static int write_flags(const struct blk *b)
{
	return virtio_has(&b->dev, VIRTIO_BLK_F_FLUSH) ? 0 : RWF_DSYNC;
}

/* Takes in what one call did.  True when the request is not done: there is more to move. */
static bool complete(struct blk *b, struct request *r, long result)
{
	if (r->type == VIRTIO_BLK_T_FLUSH) {
		finish(b, r, result < 0 ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK);
		return false;
	}
	if (result <= 0) {
		/* 0: the image was truncated below us. */
		log_guest("virtio-blk %s: %s at byte %llu: %s", b->serial,
			  r->type == VIRTIO_BLK_T_IN ? "read" : "write",
			  (unsigned long long)(r->offset + r->done),
			  result ? strerror(-result) : "past the image's end");
		finish(b, r, VIRTIO_BLK_S_IOERR);
		return false;
	}
	advance(r, result);
	if (!r->nsegs)
		finish(b, r, VIRTIO_BLK_S_OK);
	return r->nsegs;
}

static long call_plain(struct blk *b, struct request *r)
{
	off_t at = r->offset + r->done;
	long result;

	do {
		if (r->type == VIRTIO_BLK_T_IN)
			result = preadv2(b->fd, r->data, r->nsegs, at, 0);
		else if (r->type == VIRTIO_BLK_T_OUT)
			result = pwritev2(b->fd, r->data, r->nsegs, at, write_flags(b));
		else
			result = fdatasync(b->fd);
	} while (result < 0 && errno == EINTR);
	return result < 0 ? -errno : result;
}

static void submit_plain(struct blk *b, struct request *r)
{
	while (complete(b, r, call_plain(b, r)))
		;
}

static void submit(struct blk *b, struct request *r)
{
	uint64_t at = r->offset + r->done;
	struct io_uring_sqe *sqe;

	sqe = b->have_ring ? io_uring_get_sqe(&b->ring) : NULL;
	if (!sqe) {
		submit_plain(b, r); /* also when the ring is full: never wait for room */
		return;
	}
	switch (r->type) {
	case VIRTIO_BLK_T_IN:
		io_uring_prep_readv2(sqe, b->fd, r->data, r->nsegs, at, 0);
		break;
	case VIRTIO_BLK_T_OUT:
		io_uring_prep_writev2(sqe, b->fd, r->data, r->nsegs, at, write_flags(b));
		break;
	default:
		io_uring_prep_fsync(sqe, b->fd, IORING_FSYNC_DATASYNC);
	}
	io_uring_sqe_set_data(sqe, r);
	b->queued++;
}

/* Hands queued entries to the kernel and takes back what is done already. */
static void push_and_reap(struct blk *b, bool wait)
{
	struct io_uring_cqe *cqe;
	struct request *r;
	int result, n;

	if (!b->have_ring)
		return;
	do {
		if (b->queued) {
			n = wait ? io_uring_submit_and_wait(&b->ring, 1)
				 : io_uring_submit(&b->ring);
			if (n > 0) {
				b->queued -= n;
				b->in_flight += n;
			} else if (n != -EINTR && n != -EAGAIN && n != -EBUSY) {
				log_guest("virtio-blk %s: io_uring: %s", b->serial, strerror(-n));
				if (!wait || !b->in_flight)
					return;
				io_uring_wait_cqe(&b->ring, &cqe);
			}
		} else if (wait && b->in_flight && io_uring_wait_cqe(&b->ring, &cqe) < 0) {
			continue;
		}
		while (io_uring_peek_cqe(&b->ring, &cqe) == 0) {
			r = io_uring_cqe_get_data(cqe);
			result = cqe->res;
			io_uring_cqe_seen(&b->ring, cqe);
			b->in_flight--;
			if (result == -EAGAIN || result == -EINTR)
				submit_plain(b, r);
			else if (complete(b, r, result))
				submit(b, r);
		}
	} while (b->queued || (wait && b->in_flight));
}

static void get_id(struct blk *b, struct request *r)
{
	r->done = iov_write(r->data, r->nsegs, 0, b->serial, VIRTIO_BLK_ID_BYTES);
	finish(b, r, VIRTIO_BLK_S_OK);
}

/* Checks the request's kind and range, then starts it. */
static void start(struct blk *b, struct request *r, uint64_t sector, bool have_data_in,
		  bool have_data_out)
{
	bool transfer = r->type == VIRTIO_BLK_T_IN || r->type == VIRTIO_BLK_T_OUT;

	if (transfer) {
		/* 5.2.6.1: whole sectors, in the right direction, inside the disk. */
		if (!r->bytes || r->bytes % SECTOR || sector > b->size / SECTOR ||
		    r->bytes > b->size - sector * SECTOR ||
		    (r->type == VIRTIO_BLK_T_IN ? have_data_out : have_data_in) ||
		    (r->type == VIRTIO_BLK_T_OUT && b->read_only)) {
			finish(b, r, VIRTIO_BLK_S_IOERR);
			return;
		}
		r->offset = sector * SECTOR;
		submit(b, r);
	} else if (r->type == VIRTIO_BLK_T_FLUSH) {
		submit(b, r);
	} else if (r->type == VIRTIO_BLK_T_GET_ID) {
		get_id(b, r);
	} else {
		finish(b, r, VIRTIO_BLK_S_UNSUPP);
	}
}

/* Copies the iov part [skip, skip + len) of the chain's segments into r->data. */
static void collect(struct request *r, const struct iovec *iov, unsigned int n, uint64_t skip,
		    uint64_t len)
{
	uint64_t part;

	for (; n && len; iov++, n--) {
		if (skip >= iov->iov_len) {
			skip -= iov->iov_len;
			continue;
		}
		part = iov->iov_len - skip;
		part = part < len ? part : len;
		r->data[r->nsegs++] = (struct iovec){(uint8_t *)iov->iov_base + skip, part};
		len -= part;
		skip = 0;
	}
}

/* False when the chain has no room for a header and a status: nothing can be answered. */
static bool handle(struct blk *b, struct vq_chain *c)
{
	const struct iovec *last = &c->iov[c->nread + c->nwrite - 1];
	struct virtio_blk_outhdr header;
	struct request *r = b->free;
	uint64_t in, out;

	if (!c->nwrite || iov_read(c->iov, c->nread, 0, &header, sizeof(header)) != sizeof(header))
		return false;
	b->free = r->next_free;
	in = c->write_len - 1;
	out = c->read_len - sizeof(header);
	r->head = c->head;
	r->type = header.type;
	r->status = (uint8_t *)last->iov_base + last->iov_len - 1;
	r->nsegs = 0;
	r->done = r->offset = 0;
	if (in)
		collect(r, c->iov + c->nread, c->nwrite, 0, in);
	else
		collect(r, c->iov, c->nread, sizeof(header), out);
	r->bytes = in ? in : out;
	start(b, r, header.sector, in, out);
	return true;
}

static void blk_notify(struct virtio_dev *dev, unsigned int queue)
{
	struct blk *b = (struct blk *)dev;
	struct vq *q = &dev->queues[queue];
	unsigned int round;
	int r = 0;

	for (round = 0; round < q->size && b->free && (r = vq_pop(q, &b->chain)) > 0; round++) {
		if (!handle(b, &b->chain)) {
			q->complaint = "a request without header or status";
			q->broken = true;
			r = -1;
			break;
		}
	}
	push_and_reap(b, false);
	/* More in flight than there are heads: a driver that lends us the same one twice. */
	b->starved = !b->free;
	if (b->starved && r >= 0)
		virtio_signal(dev, q);
	else
		virtio_finish(dev, q, r);
}

static void on_ring(void *arg, uint32_t events)
{
	struct blk *b = arg;

	(void)events;
	push_and_reap(b, false);
	if (b->starved && virtio_is_running(&b->dev))
		blk_notify(&b->dev, 0);
	else
		virtio_signal(&b->dev, &b->dev.queues[0]);
}

static void blk_reset(struct virtio_dev *dev)
{
	push_and_reap((struct blk *)dev, true);
}

static void blk_destroy(struct virtio_dev *dev)
{
	struct blk *b = (struct blk *)dev;

	blk_reset(dev);
	if (b->have_ring) {
		loop_remove(dev->loop, &b->ring_src);
		io_uring_queue_exit(&b->ring);
	}
	loop_remove(dev->loop, &dev->kick);
	close(dev->kick.fd);
	close(b->fd);
	free(b->requests);
	free(b);
}

static const struct virtio_ops blk_ops = {
	.id = VIRTIO_ID_BLOCK,
	.name = "blk",
	.nqueues = 1,
	.queue_size = QUEUE_SIZE,
	.notify = blk_notify,
	.reset = blk_reset,
	.quiesce = blk_reset,
	.destroy = blk_destroy,
};

static int lock_image(struct blk *b, const char *path, struct error *e)
{
	struct flock lock = {.l_type = b->read_only ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};

	if (fcntl(b->fd, F_OFD_SETLK, &lock) == 0)
		return 0;
	if (errno != EAGAIN && errno != EACCES)
		return error_set(e, ERROR_MACHINE, "%s: cannot lock: %s", path, strerror(errno));
	return error_set(e, ERROR_USER, "%s: in use by another VM (%s)", path,
			 b->read_only ? "it is being written"
				      : "one VM may write an image; read-only VMs share it");
}

static int open_image(struct blk *b, const struct disk_config *cfg, struct error *e)
{
	struct stat st;
	off_t end;

	b->read_only = cfg->read_only;
	b->fd = open(cfg->path, (b->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	if (b->fd < 0)
		return error_set(e, ERROR_USER, "%s: %s", cfg->path, strerror(errno));
	if (fstat(b->fd, &st) || !(S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)))
		return error_set(e, ERROR_USER, "%s: not a disk image (no file, no block device)",
				 cfg->path);
	end = lseek(b->fd, 0, SEEK_END);
	if (end == 0)
		return error_set(e, ERROR_USER, "%s: the image is empty (zero length)", cfg->path);
	if (end < (off_t)SECTOR)
		return error_set(e, ERROR_USER, "%s: the image is smaller than a sector",
				 cfg->path);
	b->size = end & ~(uint64_t)(SECTOR - 1);
	return lock_image(b, cfg->path, e);
}

/*
 * A ring can open files, connect and more, and seccomp sees none of it: this one may do what
 * a disk needs and nothing else, for as long as it lives.
 */
static int restrict_ring(struct io_uring *ring)
{
	static const uint8_t ops[] = {IORING_OP_READV, IORING_OP_WRITEV, IORING_OP_FSYNC};
	struct io_uring_restriction r[sizeof(ops)] = {0};
	unsigned int i;

	for (i = 0; i < sizeof(ops); i++) {
		r[i].opcode = IORING_RESTRICTION_SQE_OP;
		r[i].sqe_op = ops[i];
	}
	if (io_uring_register_restrictions(ring, r, sizeof(ops)))
		return -1;
	return io_uring_enable_rings(ring);
}

static void open_ring(struct blk *b)
{
	if (io_uring_queue_init(QUEUE_SIZE, &b->ring, IORING_SETUP_R_DISABLED) < 0)
		return; /* no io_uring here, or not for us: plain system calls do it */
	if (restrict_ring(&b->ring)) {
		io_uring_queue_exit(&b->ring);
		return;
	}
	b->ring_src = (struct loop_source){.fd = b->ring.ring_fd, .fn = on_ring, .arg = b};
	if (loop_add(b->dev.loop, &b->ring_src, EPOLLIN)) {
		io_uring_queue_exit(&b->ring);
		return;
	}
	b->have_ring = true;
}

struct virtio_dev *blk_create(const struct guest_memory *mem, struct loop *loop,
			      const struct disk_config *cfg, unsigned int index, struct error *e)
{
	struct blk *b = calloc(1, sizeof(*b));
	unsigned int i;

	if (!b || !(b->requests = calloc(QUEUE_SIZE, sizeof(*b->requests)))) {
		error_set(e, ERROR_MACHINE, "out of memory");
		goto fail;
	}
	for (i = 0; i < QUEUE_SIZE; i++)
		b->requests[i].next_free = i + 1 < QUEUE_SIZE ? &b->requests[i + 1] : NULL;
	b->free = b->requests;
	if (open_image(b, cfg, e))
		goto fail;
	if (virtio_init(&b->dev, &blk_ops, mem, loop)) {
		error_set(e, ERROR_MACHINE, "virtio-blk: %s", strerror(errno));
		goto fail;
	}
	snprintf(b->serial, sizeof(b->serial), "hg-disk%u", index);
	b->config.capacity = b->size / SECTOR;
	b->config.seg_max = SEG_MAX;
	b->config.blk_size = SECTOR;
	b->dev.config = (uint8_t *)&b->config;
	b->dev.config_len = sizeof(b->config);
	b->dev.features |= 1ull << VIRTIO_BLK_F_SEG_MAX | 1ull << VIRTIO_BLK_F_BLK_SIZE |
			   1ull << VIRTIO_BLK_F_FLUSH;
	if (b->read_only)
		b->dev.features |= 1ull << VIRTIO_BLK_F_RO;
	open_ring(b);
	return &b->dev;
fail:
	if (b && b->fd > 0)
		close(b->fd);
	if (b)
		free(b->requests);
	free(b);
	return NULL;
}

const struct blk_stats *blk_get_stats(const struct virtio_dev *dev)
{
	return &((const struct blk *)dev)->stats;
}

uint64_t blk_size(const struct virtio_dev *dev)
{
	return ((const struct blk *)dev)->size;
}
