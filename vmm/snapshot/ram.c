// SPDX-License-Identifier: Apache-2.0
#include "snapshot/ram.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "snapshot/sum.h"

#define PAGE	  4096ull
#define RUN_MAX	  256 /* pages written at once */
#define HUGE	  512 /* pages of a huge page */
#define TAG_MAGIC "HGSNMEM\n"

/* The page behind RAM. */
struct tag {
	char magic[8];
	uint8_t id[SNAP_ID];
	uint64_t size; /* bytes of RAM before it */
};

struct writer {
	const struct guest_memory *m;
	int fd;
	uint64_t sum, written;
};

static int write_all(int fd, const uint8_t *from, uint64_t len, uint64_t at)
{
	ssize_t n;

	for (; len; from += n, len -= n, at += n) {
		n = pwrite(fd, from, len, (off_t)at);
		if (n < 0 && errno == EINTR)
			n = 0;
		if (n < 0)
			return -1;
	}
	return 0;
}

static bool is_zero(const struct guest_memory *m, uint64_t page)
{
	return sum_is_zero(m->base + page * PAGE);
}

/* The pages of [first, end) that are not zero, in runs. */
static int write_pages(struct writer *w, uint64_t first, uint64_t end)
{
	uint64_t last;

	for (; first < end; first = last) {
		for (; first < end && is_zero(w->m, first); first++)
			;
		for (last = first; last < end && last - first < RUN_MAX && !is_zero(w->m, last);)
			last++;
		if (last == first)
			break;
		if (write_all(w->fd, w->m->base + first * PAGE, (last - first) * PAGE,
			      first * PAGE))
			return -1;
		w->sum += sum_pages(w->m->base + first * PAGE, first, last - first);
		w->written += (last - first) * PAGE;
	}
	return 0;
}

/*
 * All of RAM.  Where nothing was ever written, reading has the kernel put pages of zeros in
 * place: they go again, or a guest with more RAM than the host has would fill its page tables.
 */
static int write_full(struct writer *w)
{
	uint64_t at, end, before, pages = w->m->size / PAGE;

	for (at = 0; at < pages; at = end) {
		end = at + HUGE < pages ? at + HUGE : pages;
		before = w->written;
		if (write_pages(w, at, end))
			return -1;
		if (w->written == before && w->m->plain && !w->m->over_file && !w->m->dirty)
			memory_discard(w->m, w->m->base + at * PAGE, (end - at) * PAGE);
	}
	return 0;
}

static bool is_marked(const uint64_t *dirty, uint64_t page)
{
	return dirty[page / 64] >> page % 64 & 1;
}

static int write_marked(struct writer *w, const uint64_t *dirty, struct snap_out *o,
			uint64_t *extents)
{
	uint64_t page = 0, end = w->m->size / PAGE;
	struct ram_extent x;

	while (page < end) {
		if (!is_marked(dirty, page)) {
			page += dirty[page / 64] >> page % 64 ? 1 : 64 - page % 64;
			continue;
		}
		x.first = page;
		while (page < end && is_marked(dirty, page))
			page++;
		x.count = page - x.first;
		snap_put(o, &x, sizeof(x));
		(*extents)++;
		if (write_pages(w, x.first, page))
			return -1;
	}
	return 0;
}

static int write_tag(int fd, const uint8_t id[SNAP_ID], uint64_t size)
{
	uint8_t page[PAGE] = {0};
	struct tag tag = {.size = size};

	memcpy(tag.magic, TAG_MAGIC, sizeof(tag.magic));
	memcpy(tag.id, id, SNAP_ID);
	memcpy(page, &tag, sizeof(tag));
	return write_all(fd, page, sizeof(page), size);
}

int ram_write(const struct guest_memory *m, const uint64_t *dirty, const uint8_t base[SNAP_ID],
	      int fd, const uint8_t id[SNAP_ID], struct snap_out *o, uint64_t *written,
	      struct error *e)
{
	struct writer w = {.m = m, .fd = fd};
	struct ram_state r = {.size = m->size};
	size_t at;
	int failed;

	if (base)
		memcpy(r.base, base, SNAP_ID);
	snap_begin(o, SNAP_MEMORY, 0);
	at = o->len;
	snap_put(o, &r, sizeof(r));
	failed = ftruncate(fd, 0);
	if (!failed)
		failed = dirty ? write_marked(&w, dirty, o, &r.extents) : write_full(&w);
	if (failed || write_tag(fd, id, m->size)) {
		error_set(e, ERROR_MACHINE, "the memory file: %s", strerror(errno));
		if (ftruncate(fd, 0)) /* no half of one is left, where that can be helped */
			return -1;
		return -1;
	}
	r.sum = w.sum;
	if (!o->failed)
		memcpy(o->data + at, &r, sizeof(r));
	snap_end(o);
	*written = w.written;
	return 0;
}

int ram_parse(const uint8_t *file, struct ram_state *r, const struct ram_extent **extents,
	      struct error *e)
{
	static const uint8_t none[SNAP_ID];
	uint64_t i, end = 0, pages;
	struct snap_in in;

	snap_find(file, SNAP_MEMORY, 0, &in);
	snap_take_to(&in, r, sizeof(*r));
	if (r->extents > in.len / sizeof(**extents))
		in.bad = true;
	*extents = snap_take(&in, r->extents * sizeof(**extents));
	if (snap_done(&in, "what it says of RAM", e))
		return -1;
	if (!r->size || r->size % PAGE || r->size > INT64_MAX - PAGE)
		return error_set(e, ERROR_USER, "is damaged: its RAM has an impossible size");
	if (r->extents && !memcmp(r->base, none, SNAP_ID))
		return error_set(e, ERROR_USER, "is damaged: an increment to nothing");
	pages = r->size / PAGE;
	for (i = 0; i < r->extents; i++) {
		const struct ram_extent *x = &(*extents)[i];

		if (x->first < end || x->first >= pages || !x->count || x->count > pages - x->first)
			return error_set(e, ERROR_USER,
					 "is damaged: pages of RAM that are out of order or range");
		end = x->first + x->count;
	}
	return 0;
}

int ram_check_file(int fd, const uint8_t *file, const struct ram_state *r, struct error *e)
{
	struct stat st;
	struct tag tag;

	if (fstat(fd, &st) || !S_ISREG(st.st_mode))
		return error_set(e, ERROR_USER, "is not a file");
	if ((uint64_t)st.st_size < r->size + PAGE)
		return error_set(e, ERROR_USER, "is truncated: %llu bytes of %llu",
				 (unsigned long long)st.st_size,
				 (unsigned long long)(r->size + PAGE));
	if ((uint64_t)st.st_size > r->size + PAGE ||
	    pread(fd, &tag, sizeof(tag), (off_t)r->size) != sizeof(tag) ||
	    memcmp(tag.magic, TAG_MAGIC, sizeof(tag.magic)) || tag.size != r->size)
		return error_set(e, ERROR_USER, "is not the memory of a snapshot, or is damaged");
	if (memcmp(tag.id, snap_id(file), SNAP_ID))
		return error_set(e, ERROR_USER, "belongs to another snapshot");
	return 0;
}

struct mark {
	uint64_t device, inode, size;
	int64_t written, changed; /* ns since 1970 */
	uint64_t sum;		  /* sum_bytes() of what is above */
};

static int make_mark(int memory_fd, struct mark *mark)
{
	struct stat st;

	if (fstat(memory_fd, &st))
		return -1;
	*mark = (struct mark){
		.device = st.st_dev, .inode = st.st_ino, .size = (uint64_t)st.st_size};
	mark->written = st.st_mtim.tv_sec * 1000000000ll + st.st_mtim.tv_nsec;
	mark->changed = st.st_ctim.tv_sec * 1000000000ll + st.st_ctim.tv_nsec;
	mark->sum = sum_bytes(mark, offsetof(struct mark, sum));
	return 0;
}

int ram_write_mark(int folder, int memory_fd)
{
	int fd = openat(folder, "checked", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600), r;
	struct mark mark;

	if (fd < 0)
		return -1;
	r = make_mark(memory_fd, &mark) || write_all(fd, (uint8_t *)&mark, sizeof(mark), 0) ||
			    fsync(fd)
		    ? -1
		    : 0;
	close(fd);
	return r;
}

bool ram_is_marked(int mark_fd, int memory_fd)
{
	struct mark there, is;

	return pread(mark_fd, &there, sizeof(there), 0) == sizeof(there) &&
	       !make_mark(memory_fd, &is) && !memcmp(&there, &is, sizeof(is));
}

/* Through the mapping, in which the guest will find the pages in place; holes are not read. */
static uint64_t sum_file(const struct guest_memory *m, int fd)
{
	off_t at = 0, end, size = (off_t)m->size;
	uint64_t sum = 0;

	while (at < size) {
		at = lseek(fd, at, SEEK_DATA);
		if (at < 0 && errno == ENXIO)
			break; /* nothing but holes from here on */
		end = at < 0 ? size : lseek(fd, at, SEEK_HOLE);
		at = at < 0 ? 0 : at & ~(off_t)(PAGE - 1);
		end = (end + (off_t)PAGE - 1) & ~(off_t)(PAGE - 1);
		if (end <= at || end > size)
			end = size;
		sum += sum_pages(m->base + at, at / PAGE, (end - at) / PAGE);
		at = end;
	}
	return sum;
}

static int read_extent(struct guest_memory *m, int fd, const struct ram_extent *x)
{
	uint8_t *to = m->base + x->first * PAGE;
	uint64_t len = x->count * PAGE, at = x->first * PAGE;
	ssize_t n;

	for (; len; to += n, len -= n, at += n) {
		n = pread(fd, to, len, (off_t)at);
		if (n < 0 && errno == EINTR)
			n = 0;
		else if (n <= 0)
			return -1;
	}
	return 0;
}

int ram_load(struct guest_memory *m, int fd, const struct ram_state *r,
	     const struct ram_extent *extents, bool verify, struct error *e)
{
	static const uint8_t none[SNAP_ID];
	uint64_t sum = 0, i;
	bool full = !memcmp(r->base, none, SNAP_ID);

	if (full && memory_from_file(m, fd))
		return error_set(e, ERROR_MACHINE, "cannot be mapped: %s", strerror(errno));
	if (full)
		sum = verify ? sum_file(m, fd) : r->sum;
	for (i = 0; !full && i < r->extents; i++) {
		if (read_extent(m, fd, &extents[i]))
			return error_set(e, ERROR_MACHINE, "cannot be read: %s", strerror(errno));
		/* They are in the cache now: this costs nothing beside the copy. */
		sum += sum_pages(m->base + extents[i].first * PAGE, extents[i].first,
				 extents[i].count);
	}
	if (sum != r->sum)
		return error_set(e, ERROR_USER, "is damaged: its checksum is wrong");
	return 0;
}
