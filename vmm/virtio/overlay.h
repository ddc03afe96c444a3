/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A copy-on-write layer over a disk image: a file that holds the blocks which differ.
 *
 * File format, version 1.  All numbers are little endian; checksums are CRC-32C.
 *
 *	offset 0            header, one sector of 512 bytes (struct overlay_header)
 *	map_offset          map: map_sectors sectors of 512 bytes (struct map_sector)
 *	data_offset         data: block n at data_offset + n * 4096
 *
 * The map has one bit a block: 1, its content is here; 0, it is the base's.  A map sector is
 * either all zeros (a hole: no block) or carries its own number and checksum.  A sector is
 * the unit that storage writes whole, so a crash leaves each of them old or new, both valid.
 * The file is as long as the last block and sparse: blocks that were never written take no
 * room, and one that was discarded is a hole with its bit set, which reads as zeros.
 *
 * Order of writes, which is what makes it crash-safe: data first, then fdatasync, then the
 * map sectors that refer to it, then fdatasync; only then is a flush acknowledged.  A block
 * whose bit is not on storage yet reads as the base's, as an unflushed write may.
 *
 * The header binds the file to its base by the base's size and a checksum over samples of
 * its content (ends and a few blocks between), so that the base may move or be copied, but
 * another image, or this one after it was mounted for writing, is refused.
 */
#ifndef HG_VIRTIO_OVERLAY_H
#define HG_VIRTIO_OVERLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

#define OVERLAY_BLOCK	4096u
#define OVERLAY_VERSION 1u

struct overlay_header {
	uint8_t magic[8]; /* "HGOVERLY" */
	uint32_t version;
	uint32_t block_size;   /* OVERLAY_BLOCK */
	uint64_t disk_size;    /* bytes that the guest sees, at least base_size */
	uint64_t base_size;    /* bytes, whole sectors */
	uint32_t base_samples; /* checksum, see overlay_sample() */
	uint32_t map_sectors;  /* of the map; it may cover more than the disk has */
	uint64_t map_offset;   /* bytes */
	uint64_t data_offset;  /* bytes, a multiple of OVERLAY_BLOCK */
	uint8_t zero[452];
	uint32_t checksum; /* of all bytes before it */
};

#define MAP_BYTES  504u
#define MAP_BLOCKS (MAP_BYTES * 8)

struct map_sector {
	uint8_t bits[MAP_BYTES]; /* block n of this sector: bit n % 8 of byte n / 8 */
	uint32_t number;	 /* of this sector in the map */
	uint32_t checksum;	 /* of all bytes before it */
};

struct overlay {
	int fd;
	int lock_fd;	/* an open file of its own, so that the lock ends with the process */
	bool anonymous; /* nobody reads it later: the map stays in memory */
	struct overlay_header header;
	struct map_sector *map; /* as in the file; its trailers are filled in by a commit */
	uint8_t *dirty;		/* a bit a map sector: it differs from the file */
	uint32_t ndirty;
};

/* What belongs to the file at one point in time: copies of the sectors that were dirty then. */
struct overlay_commit {
	uint32_t count, next;
	uint32_t *numbers; /* ascending */
	struct map_sector *sectors;
};

/* The checksum of samples of a base of `size` bytes.  0, or -1 with errno. */
int overlay_sample(int base_fd, uint64_t size, uint32_t *checksum);

/*
 * Opens path over the base, or makes it when there is no such file (or an empty one).
 * path NULL: a file without a name, gone with the process.  o->fd is locked for one writer.
 * 0, or -1 and *e: ERROR_USER for a file that is damaged, foreign or of another base.
 */
int overlay_open(struct overlay *o, const char *path, int base_fd, uint64_t base_size,
		 struct error *e);
void overlay_close(struct overlay *o);

/* How many of the `len` bytes at `offset` are alike: here (*here) or the base's. */
uint64_t overlay_run(const struct overlay *o, uint64_t offset, uint64_t len, bool *here);

/*
 * Whether a write of this range covers a block in part that is still the base's; *block is
 * the first such block.  It has to be copied before the write.
 */
bool overlay_needs_copy(const struct overlay *o, uint64_t offset, uint64_t len, uint64_t *block);

/* The range is here from now on; it was written and covers whole blocks, or such as were here. */
void overlay_set(struct overlay *o, uint64_t offset, uint64_t len);

/* Takes the dirty sectors; none are dirty then.  0, or -1: out of memory, nothing changed. */
int overlay_commit_begin(struct overlay *o, struct overlay_commit *c);

/* The next stretch of the map to be written; false: that was all. */
bool overlay_commit_next(struct overlay *o, struct overlay_commit *c, uint64_t *offset,
			 const void **data, size_t *len);

/* failed: its sectors are dirty again. */
void overlay_commit_end(struct overlay *o, struct overlay_commit *c, bool failed);

/* A larger disk; what is new reads as zeros.  0, or -1 with errno (EFBIG: the map has no room). */
int overlay_grow(struct overlay *o, uint64_t disk_size);

#endif
