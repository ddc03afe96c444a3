/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest RAM, and the one door to it: no other file turns a guest-physical address
 * (GPA) into a pointer, and no function here does so without a length.
 *
 * RAM is one mapping, of anonymous memory, of a memfd, or of a snapshot's file (privately: the
 * file never changes).  Its first `low` bytes appear at
 * GPA 0, the rest at 4 GiB (layout.h: the hole holds devices).  A range that touches the
 * hole, the end of RAM or wraps around is refused as a whole.
 */
#ifndef HG_MEMORY_H
#define HG_MEMORY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "error.h"

#define MEMORY_MAX_NODES 1024

/* What the host puts behind RAM. */
struct memory_config {
	uint64_t size;	    /* bytes, a multiple of 4096 and of huge_page */
	uint64_t huge_page; /* 2 MiB or 1 GiB: pages of the host's hugetlb pool; 0: none of it */
	uint64_t start;	    /* GPA of its first byte; 0, or past 4 GiB: then all of it lies there */
	uint64_t hole;	    /* GPA at which it is interrupted until 4 GiB; 0: HOLE_START */
	bool small_pages;   /* no transparent huge pages either */
	bool small_start;   /* these only from memory_loaded() on */
	bool shared;	    /* a memfd, which other processes can map (implied by huge_page) */
	bool prefault;	    /* all of it is there before the guest starts */
	bool mergeable;	    /* the host's KSM may share equal pages between VMs */
	bool bound;	    /* only memory of NUMA node `node` */
	unsigned int node;  /* below MEMORY_MAX_NODES */
};

struct guest_memory {
	uint8_t *base;
	uint64_t size; /* bytes of RAM in all */
	uint64_t low;  /* bytes of it below the hole */
	uint64_t high; /* GPA at which the others begin */
	int fd;	       /* the memfd whose offset 0 is `base`, sealed in its size; -1: none */
	bool pool;     /* of the hugetlb pool: pages are not given back while the VM lives */
	bool prefault;
	bool small_pages, small_start, plain; /* of the config; plain: just a size was asked for */
	bool over_file;	 /* a snapshot's file shows through where nothing was written */
	uint64_t *dirty; /* NULL, or a bit a page: it may have been written by this process */
};

/* Maps zeroed RAM; nothing of it is allocated until touched, unless *c asks for that. */
int memory_create(struct guest_memory *m, const struct memory_config *c, struct error *e);
void memory_destroy(struct guest_memory *m);

/*
 * What the VMM writes before the guest runs is written: what is touched from now on comes in huge
 * pages, if it was created with small_start and nothing of theirs is there yet.
 */
void memory_loaded(const struct guest_memory *m);

/* The guest reads zeros everywhere again; its pages go back to the host.  0, or -1 with errno. */
int memory_clear(struct guest_memory *m);

/*
 * RAM becomes what the first m->size bytes of the file are.  Plain RAM maps it (nothing is read
 * before it is used, and all who map the file share its pages); any other reads it in.  0, or
 * -1 with errno: ENODATA the file is shorter.
 */
int memory_from_file(struct guest_memory *m, int fd);

/*
 * Starts (all clean) or ends to note in m->dirty which pages this process may write: those
 * that memory_at() handed out, which includes every buffer of a virtqueue.  A pointer that was
 * kept from before, the rings' for instance, is the caller's business; so is what the guest
 * and the kernel write.  0, or -1 when out of memory.
 */
int memory_track(struct guest_memory *m, bool on);
void memory_mark(const struct guest_memory *m, const void *at, uint64_t len);

/*
 * Gives the whole host pages inside [at, at + len) back to the host; what they held is lost.
 * `at` came from memory_at() or a virtqueue.  0, or -1 with errno: EFAULT the range is not
 * RAM, EOPNOTSUPP RAM is of the hugetlb pool, else what madvise(2) said.
 */
int memory_discard(const struct guest_memory *m, void *at, uint64_t len);

/*
 * The pointer to [gpa, gpa + len), or NULL when any byte of it is not RAM or len is 0.
 * The guest may change what is behind it at any time: copy first, then check, then use.
 */
void *memory_at(const struct guest_memory *m, uint64_t gpa, uint64_t len);

/* The same, inlined for the way of a request: nearly all of them lie there. */
static inline void *memory_at_once(const struct guest_memory *m, uint64_t gpa, uint64_t len)
{
	if (__builtin_expect(gpa < m->low && len && len <= m->low - gpa && !m->dirty, 1))
		return m->base + gpa;
	return memory_at(m, gpa, len);
}

/* Copy in or out; 0, or -1 when the range is not all RAM (then nothing is copied). */
int memory_read(const struct guest_memory *m, uint64_t gpa, void *to, uint64_t len);
int memory_write(const struct guest_memory *m, uint64_t gpa, const void *from, uint64_t len);

/*
 * Reads len bytes of fd at `offset` straight into RAM at gpa.  0, or -1 with errno:
 * EFAULT the range is not RAM, ENODATA the file is shorter.
 */
int memory_load(const struct guest_memory *m, uint64_t gpa, int fd, uint64_t offset, uint64_t len);

/* One past the last byte of RAM, above the hole if there is RAM. */
uint64_t memory_end(const struct guest_memory *m);

/* One past the last byte of RAM below the hole. */
static inline uint64_t memory_low_end(const struct guest_memory *m)
{
	return m->low;
}

#endif
