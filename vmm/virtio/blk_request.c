// SPDX-License-Identifier: Apache-2.0
/* The requests of a block device (virtio 1.2, 5.2.6), from their checks to their ends. */
#include <errno.h>
#include <string.h>

#include "log.h"
#include "virtio/blk_private.h"

bool blk_writes_through(const struct blk *b)
{
	/* 5.2.5.2: wce decides if it can be set, else whether flushes are known. */
	if (virtio_has(&b->dev, VIRTIO_BLK_F_CONFIG_WCE))
		return !b->config.wce;
	return !virtio_has(&b->dev, VIRTIO_BLK_F_FLUSH);
}

static bool is_unmap(const struct request *r)
{
	return r->type == VIRTIO_BLK_T_DISCARD || r->type == VIRTIO_BLK_T_WRITE_ZEROES;
}

static void report(struct blk *b, const struct request *r, int error)
{
	uint64_t now = ratelimit_now();

	log_guest("virtio-blk disk%u: %s at byte %llu: %s", b->index,
		  r->type == VIRTIO_BLK_T_IN	  ? "read"
		  : r->type == VIRTIO_BLK_T_FLUSH ? "flush"
						  : "write",
		  (unsigned long long)r->offset, error ? strerror(error) : "past the image's end");
	if (b->on_error && bucket_allows(&b->events, now)) {
		bucket_charge(&b->events, 1);
		b->on_error(b->on_error_arg, b->index, r->type != VIRTIO_BLK_T_IN,
			    error ? error : EIO);
	}
}

static void count_failure(struct blk *b, const struct request *r)
{
	if (r->type == VIRTIO_BLK_T_IN)
		b->stats.failed_rd_operations++;
	else if (r->type == VIRTIO_BLK_T_OUT)
		b->stats.failed_wr_operations++;
	else if (r->type == VIRTIO_BLK_T_FLUSH)
		b->stats.failed_flush_operations++;
	else
		b->stats.failed_unmap_operations++;
}

static void count(struct blk *b, const struct request *r)
{
	if (r->type == VIRTIO_BLK_T_IN) {
		b->stats.rd_operations++;
		b->stats.rd_bytes += r->bytes;
	} else if (r->type == VIRTIO_BLK_T_OUT) {
		b->stats.wr_operations++;
		b->stats.wr_bytes += r->bytes;
	} else if (r->type == VIRTIO_BLK_T_FLUSH) {
		b->stats.flush_operations++;
	} else if (is_unmap(r)) {
		b->stats.unmap_operations++;
		b->stats.unmap_bytes += r->bytes;
	}
}

static void answer(struct blk *b, struct request *r, uint8_t status, uint64_t data)
{
	*r->status = status;
	vq_push(&b->dev.queues[r->queue], r->head, (uint32_t)data + 1);
	r->next = b->free;
	b->free = r;
}

void blk_finish(struct blk *b, struct request *r, long result)
{
	if (result >= 0) {
		count(b, r);
		answer(b, r, VIRTIO_BLK_S_OK, r->type == VIRTIO_BLK_T_IN ? r->bytes : 0);
		return;
	}
	count_failure(b, r);
	if (result == -EOPNOTSUPP && is_unmap(r)) {
		answer(b, r, VIRTIO_BLK_S_UNSUPP, 0);
		return;
	}
	report(b, r, result == -ENODATA ? 0 : (int)-result);
	answer(b, r, VIRTIO_BLK_S_IOERR, 0);
}

static void refuse(struct blk *b, struct request *r, uint8_t status)
{
	b->stats.invalid_operations++;
	answer(b, r, status, 0);
}

/* --- transfers --- */

void blk_advance(struct request *r, uint64_t n)
{
	if (r->cut_seg) {
		r->data[r->cut_seg - 1].iov_len += r->cut_len;
		r->cut_seg = 0;
	}
	r->offset += n;
	r->left -= n;
	while (r->nsegs && n >= r->data->iov_len) {
		n -= r->data->iov_len;
		r->data++;
		r->nsegs--;
	}
	if (n) {
		r->data->iov_base = (uint8_t *)r->data->iov_base + n;
		r->data->iov_len -= n;
	}
}

/* Limits the segments to the first len bytes; blk_advance() takes it back. */
static unsigned int cut(struct request *r, uint64_t len)
{
	unsigned int i;

	for (i = 0; len > r->data[i].iov_len; i++)
		len -= r->data[i].iov_len;
	r->cut_seg = i + 1;
	r->cut_len = r->data[i].iov_len - len;
	r->data[i].iov_len = len;
	return i + 1;
}

void blk_transfer(struct blk *b, struct request *r, unsigned int file, uint64_t at, uint64_t len)
{
	struct io *io = &r->io;

	io->niov = len < r->left ? cut(r, len) : r->nsegs;
	io->iov = r->data;
	io->offset = at;
	io->file = image_way(&b->image, file, io);
	io_start(&b->io, io);
}

static void on_transfer(struct io *io, long result)
{
	struct request *r = (struct request *)io;
	struct blk *b = r->blk;

	if (result <= 0) {
		/* 0: the image was cut below us. */
		blk_finish(b, r, result ? result : -ENODATA);
		return;
	}
	if ((uint64_t)result == r->left) {
		blk_finish(b, r, 0);
		return;
	}
	blk_advance(r, result);
	blk_transfer(b, r, FILE_BASE, r->offset, r->left);
}

static void start_transfer(struct blk *b, struct request *r)
{
	if (r->type == VIRTIO_BLK_T_IN)
		r->io.kind = IO_READ;
	else
		r->io.kind = blk_writes_through(b) ? IO_DURABLE_WRITE : IO_WRITE;
	if (b->image.has_overlay) {
		if (r->type == VIRTIO_BLK_T_IN)
			cow_read(b, r);
		else
			cow_write(b, r);
		return;
	}
	r->io.done = on_transfer;
	blk_transfer(b, r, FILE_BASE, r->offset, r->left);
}

/* --- flush --- */

static void on_sync(struct io *io, long result)
{
	struct request *r = (struct request *)io;

	/* The kernel tells of lost writes once; the next fdatasync may well succeed. */
	if (result < 0)
		r->blk->sync_failed = true;
	blk_finish(r->blk, r, result);
}

static void start_flush(struct blk *b, struct request *r)
{
	if (b->sync_failed) {
		blk_finish(b, r, -EIO);
		return;
	}
	if (b->image.has_overlay) {
		cow_flush(b, r);
		return;
	}
	r->io.kind = IO_SYNC;
	r->io.file = FILE_BASE;
	r->io.done = on_sync;
	io_start(&b->io, &r->io);
}

/* --- discard and write-zeroes (5.2.6: struct virtio_blk_discard_write_zeroes) --- */

bool blk_next_range(struct request *r)
{
	const struct virtio_blk_discard_write_zeroes *range;

	if (r->range == r->nranges)
		return false;
	range = &r->ranges[r->range++];
	r->offset = range->sector * BLK_SECTOR;
	r->left = (uint64_t)range->num_sectors * BLK_SECTOR;
	if (r->type == VIRTIO_BLK_T_DISCARD || (range->flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP))
		r->io.kind = IO_PUNCH;
	else
		r->io.kind = IO_ZERO;
	return true;
}

static void on_range(struct io *io, long result)
{
	struct request *r = (struct request *)io;
	struct blk *b = r->blk;

	if (result == -EOPNOTSUPP && r->type == VIRTIO_BLK_T_WRITE_ZEROES && io->kind == IO_PUNCH) {
		io->kind = IO_ZERO; /* to unmap is allowed, zeros are due */
		io_start(&b->io, io);
	} else if (result < 0) {
		blk_finish(b, r, result);
	} else if (blk_next_range(r)) {
		io->offset = r->offset;
		io->len = r->left;
		io_start(&b->io, io);
	} else if (blk_writes_through(b)) {
		io->kind = IO_SYNC;
		io->done = on_sync;
		io_start(&b->io, io);
	} else {
		blk_finish(b, r, 0);
	}
}

/* VIRTIO_BLK_S_OK when every range is one that may be asked for. */
static uint8_t check_ranges(const struct blk *b, struct request *r)
{
	const uint32_t known =
		r->type == VIRTIO_BLK_T_DISCARD ? 0 : VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
	const struct virtio_blk_discard_write_zeroes *range;
	uint64_t sectors = b->image.size / BLK_SECTOR;

	for (range = r->ranges; range < r->ranges + r->nranges; range++) {
		if (range->flags & ~known)
			return VIRTIO_BLK_S_UNSUPP;
		if (!range->num_sectors || range->num_sectors > BLK_RANGE_MAX ||
		    range->sector > sectors || range->num_sectors > sectors - range->sector)
			return VIRTIO_BLK_S_IOERR;
		r->bytes += (uint64_t)range->num_sectors * BLK_SECTOR;
	}
	return VIRTIO_BLK_S_OK;
}

static void start_ranges(struct blk *b, struct request *r, const struct vq_chain *c)
{
	uint64_t len = c->read_len - sizeof(struct virtio_blk_outhdr);
	uint8_t status;

	if (b->image.read_only || !b->image.can_discard) {
		refuse(b, r, b->image.read_only ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_UNSUPP);
		return;
	}
	if (!len || len % sizeof(r->ranges[0]) || len > sizeof(r->ranges) || c->write_len != 1) {
		refuse(b, r, VIRTIO_BLK_S_IOERR);
		return;
	}
	iov_read(c->iov, c->nread, sizeof(struct virtio_blk_outhdr), r->ranges, len);
	r->bytes = 0;
	r->range = 0;
	r->nranges = len / sizeof(r->ranges[0]);
	status = check_ranges(b, r);
	if (status != VIRTIO_BLK_S_OK) {
		refuse(b, r, status);
		return;
	}
	ratelimit_charge(&b->limit, 1, 0);
	if (b->image.has_overlay) {
		blk_next_range(r);
		cow_write(b, r);
		return;
	}
	r->io.file = FILE_BASE;
	r->io.done = on_range;
	r->io.niov = 0;
	on_range(&r->io, 0);
}

/* --- data and identity --- */

/*
 * Copies the chain's buffers into r->segs, but for `skip` bytes at their beginning and `spare`
 * at their end; they have as many, and none is empty.  False: too many of them.
 */
static bool collect(struct request *r, const struct iovec *iov, unsigned int n, uint64_t skip,
		    uint64_t spare)
{
	for (; n && skip >= iov->iov_len; iov++, n--)
		skip -= iov->iov_len;
	for (; n && spare >= iov[n - 1].iov_len; n--)
		spare -= iov[n - 1].iov_len;
	r->data = r->segs;
	r->nsegs = n;
	r->cut_seg = 0;
	if (n > BLK_QUEUE_SIZE)
		return false;
	memcpy(r->segs, iov, n * sizeof(*iov));
	if (n) {
		r->segs[0].iov_base = (uint8_t *)iov->iov_base + skip;
		r->segs[0].iov_len -= skip;
		r->segs[n - 1].iov_len -= spare;
	}
	return true;
}

static void start_data(struct blk *b, struct request *r, const struct vq_chain *c, uint64_t sector)
{
	uint64_t in = c->write_len - 1, out = c->read_len - sizeof(struct virtio_blk_outhdr);
	bool is_read = r->type == VIRTIO_BLK_T_IN, fits;

	r->bytes = is_read ? in : out;
	if (is_read)
		fits = collect(r, c->iov + c->nread, c->nwrite, 0, 1);
	else
		fits = collect(r, c->iov, c->nread, sizeof(struct virtio_blk_outhdr), 0);
	/* 5.2.6.1: whole sectors, in the right direction, inside the disk. */
	if (!fits || !r->bytes || r->bytes % BLK_SECTOR || sector > b->image.size / BLK_SECTOR ||
	    r->bytes > b->image.size - sector * BLK_SECTOR || (is_read ? out : in) ||
	    (!is_read && b->image.read_only)) {
		refuse(b, r, VIRTIO_BLK_S_IOERR);
		return;
	}
	r->offset = sector * BLK_SECTOR;
	r->left = r->bytes;
	ratelimit_charge(&b->limit, 1, r->bytes);
	start_transfer(b, r);
}

static void get_id(struct blk *b, struct request *r, const struct vq_chain *c)
{
	uint64_t room = c->write_len - 1;
	size_t len = room < VIRTIO_BLK_ID_BYTES ? room : VIRTIO_BLK_ID_BYTES;

	answer(b, r, VIRTIO_BLK_S_OK, iov_write(c->iov + c->nread, c->nwrite, 0, b->serial, len));
}

static struct request *new_request(struct blk *b)
{
	struct request *r = b->free;

	if (r)
		b->free = r->next;
	else
		r = &b->requests[b->unused++];
	r->blk = b;
	return r;
}

bool blk_handle(struct blk *b, const struct vq_chain *c, unsigned int queue)
{
	const struct iovec *last = &c->iov[c->nread + c->nwrite - 1];
	struct virtio_blk_outhdr header;
	struct request *r;

	if (!c->nwrite || iov_read(c->iov, c->nread, 0, &header, sizeof(header)) != sizeof(header))
		return false;
	r = new_request(b);
	r->head = c->head;
	r->queue = queue;
	r->type = header.type;
	r->status = (uint8_t *)last->iov_base + last->iov_len - 1;
	switch (header.type) {
	case VIRTIO_BLK_T_IN:
	case VIRTIO_BLK_T_OUT:
		start_data(b, r, c, header.sector);
		break;
	case VIRTIO_BLK_T_FLUSH:
		r->offset = 0;
		ratelimit_charge(&b->limit, 1, 0);
		start_flush(b, r);
		break;
	case VIRTIO_BLK_T_GET_ID:
		get_id(b, r, c);
		break;
	case VIRTIO_BLK_T_DISCARD:
	case VIRTIO_BLK_T_WRITE_ZEROES:
		start_ranges(b, r, c);
		break;
	default:
		refuse(b, r, VIRTIO_BLK_S_UNSUPP);
	}
	return true;
}
