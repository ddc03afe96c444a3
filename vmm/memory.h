/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest RAM, and the one door to it: no other file turns a guest-physical address
 * (GPA) into a pointer, and no function here does so without a length.
 *
 * RAM is one mapping: anonymous, or a memfd when another process (a vhost-user back end) has
 * to see it too.  Its first `low` bytes appear at GPA 0, the rest at
 * 4 GiB (layout.h: the hole holds devices).  A range that touches the hole, the end of
 * RAM or wraps around is refused as a whole.
 */
#ifndef HG_MEMORY_H
#define HG_MEMORY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "error.h"

struct guest_memory {
	uint8_t *base;
	uint64_t size; /* bytes of RAM in all */
	uint64_t low;  /* bytes of it below the hole */
	int fd;	       /* the memfd behind it, offset 0 at base; -1: nobody else can map it */
};

/* Maps `size` bytes (a multiple of 4096) of zeroed RAM; nothing is allocated until touched. */
int memory_create(struct guest_memory *m, uint64_t size, bool hugepages, struct error *e);
/* The same with a memfd behind it that other processes can map; costs more per fault. */
int memory_create_shared(struct guest_memory *m, uint64_t size, bool hugepages, struct error *e);
void memory_destroy(struct guest_memory *m);

/* Gives all pages back to the host: the guest would read zeros again.  0, or -1 with errno. */
int memory_clear(struct guest_memory *m);

/*
 * Gives the whole host pages inside [at, at + len) back to the host; what they held is lost.
 * `at` came from memory_at() or a virtqueue.  0, or -1 with errno: EFAULT the range is not
 * RAM, else what madvise(2) said (memory that is locked or cannot be punched stays).
 */
int memory_discard(const struct guest_memory *m, void *at, uint64_t len);

/*
 * The pointer to [gpa, gpa + len), or NULL when any byte of it is not RAM or len is 0.
 * The guest may change what is behind it at any time: copy first, then check, then use.
 */
void *memory_at(const struct guest_memory *m, uint64_t gpa, uint64_t len);

/* Copy in or out; 0, or -1 when the range is not all RAM (then nothing is copied). */
int memory_read(const struct guest_memory *m, uint64_t gpa, void *to, uint64_t len);
int memory_write(const struct guest_memory *m, uint64_t gpa, const void *from, uint64_t len);

/*
 * Reads len bytes of fd at `offset` straight into RAM at gpa.  0, or -1 with errno:
 * EFAULT the range is not RAM, ENODATA the file is shorter.
 */
int memory_load(const struct guest_memory *m, uint64_t gpa, int fd, uint64_t offset, uint64_t len);

/* One past the last byte of RAM below the hole. */
static inline uint64_t memory_low_end(const struct guest_memory *m)
{
	return m->low;
}

#endif
