// SPDX-License-Identifier: Apache-2.0
/*
 * Requests of a disk with an overlay.
 *
 * A block counts as "here" once its write has ended, never before: a commit of the map that
 * begins meanwhile must not speak of data that is still on its way.  A write that covers an
 * absent block in part waits until that block was copied from the base.  The copy begins when
 * no write is in flight and the writes behind it wait, so nothing can come between.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "virtio/blk_private.h"

#define DIRTY_MAX 256u /* map sectors (4 GiB of disk, 128 KiB to write): commit unasked */

static uint64_t place(const struct blk *b, uint64_t offset)
{
	return b->image.overlay.header.data_offset + offset;
}

/* --- reads --- */

static void on_read(struct io *io, long result)
{
	struct request *r = (struct request *)io;

	if (result <= 0) {
		blk_finish(r->blk, r, result ? result : -ENODATA);
		return;
	}
	blk_advance(r, result);
	cow_read(r->blk, r);
}

/* What a grown disk has past its base's end. */
static void read_zeros(struct request *r, uint64_t len)
{
	uint64_t part;

	for (; len; len -= part) {
		part = r->data->iov_len < len ? r->data->iov_len : len;
		memset(r->data->iov_base, 0, part);
		blk_advance(r, part);
	}
}

void cow_read(struct blk *b, struct request *r)
{
	uint64_t run, base_left;
	bool here;

	while (r->left) {
		run = overlay_run(&b->image.overlay, r->offset, r->left, &here);
		r->io.done = on_read;
		if (here) {
			blk_transfer(b, r, FILE_OVERLAY, place(b, r->offset), run);
			return;
		}
		if (r->offset < b->image.base_size) {
			base_left = b->image.base_size - r->offset;
			blk_transfer(b, r, FILE_BASE, r->offset, run < base_left ? run : base_left);
			return;
		}
		read_zeros(r, run);
	}
	blk_finish(b, r, 0);
}

/* --- writes --- */

static void pump(struct blk *b);

static void on_write(struct io *io, long result)
{
	struct request *r = (struct request *)io;
	bool transfer = r->type == VIRTIO_BLK_T_OUT;
	struct overlay *o = &r->blk->image.overlay;
	struct blk *b = r->blk;

	if (result < 0 || (transfer && !result)) {
		b->cow.writes--;
		blk_finish(b, r, result ? result : -EIO);
		pump(b);
		return;
	}
	if (transfer) {
		blk_advance(r, result);
		if (r->left) {
			blk_transfer(b, r, FILE_OVERLAY, place(b, r->offset), r->left);
			return;
		}
		overlay_set(o, r->offset - r->bytes, r->bytes);
	} else {
		overlay_set(o, r->offset, r->left);
	}
	b->cow.writes--;
	if (!transfer && blk_next_range(r))
		cow_write(b, r);
	else if (blk_writes_through(b))
		cow_flush(b, r);
	else
		blk_finish(b, r, 0);
	if (o->ndirty >= DIRTY_MAX)
		cow_commit(b);
	pump(b);
}

static void start_write(struct blk *b, struct request *r)
{
	b->cow.writes++;
	r->io.done = on_write;
	if (r->type == VIRTIO_BLK_T_OUT) {
		r->io.kind = IO_WRITE; /* what has to last gets a commit */
		blk_transfer(b, r, FILE_OVERLAY, place(b, r->offset), r->left);
		return;
	}
	r->io.file = FILE_OVERLAY;
	r->io.niov = 0;
	r->io.offset = place(b, r->offset);
	r->io.len = r->left;
	io_start(&b->io, &r->io);
}

static void end_copy(struct blk *b, long result)
{
	struct cow *c = &b->cow;

	c->copying = false;
	if (result < 0) {
		blk_finish(b, list_take(&c->held), result);
	} else {
		overlay_set(&b->image.overlay, c->copy_block * OVERLAY_BLOCK, OVERLAY_BLOCK);
		b->stats.copied_blocks++;
	}
	pump(b);
}

static struct blk *blk_of_copy(struct io *io)
{
	return ((struct cow *)(void *)((uint8_t *)io - offsetof(struct cow, copy_io)))->blk;
}

static void on_copy_written(struct io *io, long result)
{
	if (result >= 0 && result != OVERLAY_BLOCK)
		result = -ENOSPC; /* no other reason for a short write to a file */
	end_copy(blk_of_copy(io), result);
}

static void write_copy(struct blk *b)
{
	struct cow *c = &b->cow;

	c->copy_iov.iov_len = OVERLAY_BLOCK;
	c->copy_io.kind = IO_WRITE;
	c->copy_io.offset = place(b, c->copy_block * OVERLAY_BLOCK);
	c->copy_io.file = image_way(&b->image, FILE_OVERLAY, &c->copy_io);
	c->copy_io.done = on_copy_written;
	io_start(&b->io, &c->copy_io);
}

static void on_copy_read(struct io *io, long result)
{
	struct blk *b = blk_of_copy(io);
	struct cow *c = &b->cow;

	if (result < (long)c->copy_iov.iov_len) {
		end_copy(b, result < 0 ? result : -ENODATA);
		return;
	}
	memset(c->copy_data + result, 0, OVERLAY_BLOCK - result);
	write_copy(b);
}

static void start_copy(struct blk *b, uint64_t block)
{
	uint64_t at = block * OVERLAY_BLOCK, base = b->image.base_size;
	struct cow *c = &b->cow;

	c->copying = true;
	c->copy_block = block;
	c->copy_iov = (struct iovec){.iov_base = c->copy_data, .iov_len = OVERLAY_BLOCK};
	c->copy_io = (struct io){.kind = IO_READ, .iov = &c->copy_iov, .niov = 1, .offset = at};
	if (at >= base) {
		memset(c->copy_data, 0, OVERLAY_BLOCK);
		write_copy(b);
		return;
	}
	if (base - at < OVERLAY_BLOCK)
		c->copy_iov.iov_len = base - at;
	c->copy_io.file = image_way(&b->image, FILE_BASE, &c->copy_io);
	c->copy_io.done = on_copy_read;
	io_start(&b->io, &c->copy_io);
}

/* Goes on with writes that were held back, as far as possible. */
static void pump(struct blk *b)
{
	struct cow *c = &b->cow;
	struct request *r;
	uint64_t block;

	while ((r = c->held.first) && !c->copying) {
		if (overlay_needs_copy(&b->image.overlay, r->offset, r->left, &block)) {
			if (!c->writes)
				start_copy(b, block);
			return;
		}
		start_write(b, list_take(&c->held));
	}
}

/* Only whole blocks are discarded: what is asked of us is a hint.  False: nothing is left. */
static bool trim(struct blk *b, struct request *r)
{
	uint64_t start = (r->offset + OVERLAY_BLOCK - 1) & ~(OVERLAY_BLOCK - 1ull);
	uint64_t end = r->offset + r->left;

	if (end != b->image.size)
		end &= ~(OVERLAY_BLOCK - 1ull);
	r->offset = start;
	r->left = end > start ? end - start : 0;
	return r->left;
}

void cow_write(struct blk *b, struct request *r)
{
	struct cow *c = &b->cow;
	uint64_t block;

	while (r->type == VIRTIO_BLK_T_DISCARD && !trim(b, r)) {
		if (!blk_next_range(r)) {
			blk_finish(b, r, 0);
			return;
		}
	}
	if (c->held.first || overlay_needs_copy(&b->image.overlay, r->offset, r->left, &block)) {
		list_add(&c->held, r);
		pump(b);
	} else {
		start_write(b, r);
	}
}

/* --- flushes: commits of the map --- */

static void start_commit(struct blk *b);

static void end_commit(struct blk *b, long result)
{
	struct cow *c = &b->cow;
	struct request *r;

	/* After a failed fdatasync nobody knows what is lost; a failed write is tried again. */
	if (result < 0 && c->commit_step != COMMIT_MAP)
		b->sync_failed = true;
	overlay_commit_end(&b->image.overlay, &c->commit, result < 0);
	c->committing = false;
	while ((r = list_take(&c->joined)))
		blk_finish(b, r, result < 0 ? result : 0);
	if (c->waiting.first)
		start_commit(b);
}

static void on_commit(struct io *io, long result)
{
	struct cow *c = (struct cow *)(void *)((uint8_t *)io - offsetof(struct cow, commit_io));
	const void *data;
	size_t len;

	if (io->kind == IO_WRITE && result >= 0 && (size_t)result != c->commit_iov.iov_len)
		result = -ENOSPC;
	if (result < 0 || c->commit_step == COMMIT_LAST || !c->commit.count) {
		end_commit(c->blk, result);
		return;
	}
	c->commit_step = COMMIT_MAP;
	if (overlay_commit_next(&c->blk->image.overlay, &c->commit, &io->offset, &data, &len)) {
		io->kind = IO_WRITE;
		c->commit_iov = (struct iovec){.iov_base = (void *)(uintptr_t)data, .iov_len = len};
	} else {
		io->kind = IO_SYNC;
		c->commit_step = COMMIT_LAST;
	}
	io_start(&c->blk->io, io);
}

static void start_commit(struct blk *b)
{
	struct cow *c = &b->cow;
	struct request *r;

	if (overlay_commit_begin(&b->image.overlay, &c->commit)) {
		while ((r = list_take(&c->waiting)))
			blk_finish(b, r, -ENOMEM);
		return;
	}
	c->committing = true;
	c->commit_step = COMMIT_DATA;
	c->joined = c->waiting;
	c->waiting.first = NULL;
	c->commit_io = (struct io){.kind = IO_SYNC,
				   .file = FILE_OVERLAY,
				   .iov = &c->commit_iov,
				   .niov = 1,
				   .done = on_commit};
	io_start(&b->io, &c->commit_io);
}

void cow_flush(struct blk *b, struct request *r)
{
	if (b->image.overlay.anonymous || b->sync_failed) {
		blk_finish(b, r, b->sync_failed ? -EIO : 0);
		return;
	}
	list_add(&b->cow.waiting, r);
	if (!b->cow.committing)
		start_commit(b);
}

void cow_commit(struct blk *b)
{
	if (!b->image.overlay.anonymous && !b->cow.committing)
		start_commit(b);
}

int cow_open(struct blk *b)
{
	b->cow.blk = b;
	if (!b->image.has_overlay)
		return 0;
	b->cow.copy_data = aligned_alloc(OVERLAY_BLOCK, OVERLAY_BLOCK);
	return b->cow.copy_data ? 0 : -1;
}

void cow_close(struct blk *b)
{
	free(b->cow.copy_data);
}
