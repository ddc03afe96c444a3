/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory file of a snapshot: RAM as it lies in the VMM, page n at n * 4096, pages of zeros
 * (or, in an increment, those that it does not have) as holes; behind it one page that says
 * whose it is.  The state file's section SNAP_MEMORY says what must be in it.
 */
#ifndef HG_SNAPSHOT_RAM_H
#define HG_SNAPSHOT_RAM_H

#include "memory.h"
#include "snapshot/format.h"

/* Pages [first, first + count) of RAM. */
struct ram_extent {
	uint64_t first, count;
};

/* The section, as it is in the file; `extents` of struct ram_extent follow, in rising order. */
struct ram_state {
	uint64_t size;	       /* bytes of RAM */
	uint64_t sum;	       /* sum_pages() of what the file holds */
	uint8_t base[SNAP_ID]; /* of an increment: the snapshot below it; else zeros */
	uint64_t extents;      /* of an increment: what it has; else 0, and it has all */
};

/*
 * Writes RAM, or with `dirty` (a bit a page) the pages marked there, to an empty file, and its
 * section to o.  base: NULL exactly when dirty is.  *written: bytes that are not holes.
 * 0, or -1 and *e, with the file empty again.
 */
int ram_write(const struct guest_memory *m, const uint64_t *dirty, const uint8_t base[SNAP_ID],
	      int fd, const uint8_t id[SNAP_ID], struct snap_out *o, uint64_t *written,
	      struct error *e);

/* Takes the section apart and checks it; extents stay in the checked file's bytes. */
int ram_parse(const uint8_t *file, struct ram_state *r, const struct ram_extent **extents,
	      struct error *e);

/* Whether fd is the memory file that belongs to the checked state file. */
int ram_check_file(int fd, const uint8_t *file, const struct ram_state *r, struct error *e);

/*
 * A third file, `checked`: this very memory file (device, inode, size, and when its content and
 * its inode last changed) is as it was written.  With it a restore need not read all of RAM;
 * a copy, or a file that anything was written to, is another.
 */
int ram_write_mark(int folder, int memory_fd); /* 0, or -1 with errno */
bool ram_is_marked(int mark_fd, int memory_fd);

/*
 * RAM (m, of r->size bytes) becomes what the file says; an increment is laid over what RAM
 * holds already.  verify: also that the contents are those that were saved.
 */
int ram_load(struct guest_memory *m, int fd, const struct ram_state *r,
	     const struct ram_extent *extents, bool verify, struct error *e);

#endif
