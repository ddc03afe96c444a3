// SPDX-License-Identifier: Apache-2.0
#include "memory.h"

#include <errno.h>
#include <fcntl.h>
#include <immintrin.h>
#include <linux/memfd.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kvm_ahead.h"
#include "layout.h"

#define PAGE	  4096ull
#define HUGE_PAGE (2ull << 20)

/* One number of the hugetlb pool with pages of `page` bytes, or 0. */
static uint64_t pool_count(uint64_t page, const char *name)
{
	unsigned long long n = 0;
	char path[96];
	FILE *f;

	snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%llukB/%s",
		 (unsigned long long)page >> 10, name);
	f = fopen(path, "re");
	if (!f)
		return 0;
	if (fscanf(f, "%llu", &n) != 1)
		n = 0;
	fclose(f);
	return n;
}

static int pool_too_small(const struct memory_config *c, struct error *e)
{
	uint64_t need = c->size / c->huge_page, all = pool_count(c->huge_page, "nr_hugepages");
	uint64_t unused = pool_count(c->huge_page, "free_hugepages");
	uint64_t promised = pool_count(c->huge_page, "resv_hugepages");

	unused = unused > promised ? unused - promised : 0;
	return error_set(e, ERROR_MACHINE,
			 "--memory: %llu huge pages of %s are needed, %llu are free; reserve them: "
			 "echo %llu > /sys/kernel/mm/hugepages/hugepages-%llukB/nr_hugepages",
			 (unsigned long long)need, c->huge_page > HUGE_PAGE ? "1G" : "2M",
			 (unsigned long long)unused, (unsigned long long)(all - unused + need),
			 (unsigned long long)c->huge_page >> 10);
}

/* The memfd behind RAM: sealed, so that none of those who map it can take pages from under us. */
static int open_memfd(struct guest_memory *m, const struct memory_config *c, struct error *e)
{
	unsigned int flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;

	if (c->huge_page)
		flags |= MFD_HUGETLB | (c->huge_page > HUGE_PAGE ? MFD_HUGE_1GB : MFD_HUGE_2MB);
	m->fd = memfd_create("guest-ram", flags);
	if (m->fd < 0 && c->huge_page)
		return error_set(e, ERROR_MACHINE, "--memory: this host has no huge pages of %s",
				 c->huge_page > HUGE_PAGE ? "1G" : "2M");
	if (m->fd < 0 || ftruncate(m->fd, (off_t)c->size) ||
	    fcntl(m->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return error_set(e, ERROR_MACHINE, "cannot make guest RAM: %s", strerror(errno));
	return 0;
}

/* An empty range of addresses, aligned so that a page of the host can be one of the guest. */
static uint8_t *reserve_addresses(uint64_t size, uint64_t align)
{
	uint8_t *raw, *base;

	/* Linux aligns what may hold huge pages by itself (6.7). */
	raw = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (raw == MAP_FAILED)
		return NULL;
	if (!((uintptr_t)raw & (align - 1)))
		return raw;
	munmap(raw, size);
	raw = mmap(NULL, size + align, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
		   0);
	if (raw == MAP_FAILED)
		return NULL;
	base = (uint8_t *)(((uintptr_t)raw + align - 1) & ~(uintptr_t)(align - 1));
	if (base != raw)
		munmap(raw, base - raw);
	if (base + size != raw + size + align)
		munmap(base + size, raw + align - base);
	return base;
}

/* Puts memory at m->base, in the place of whatever is there.  0, or -1 with errno. */
static int map_ram(const struct guest_memory *m)
{
	/* The pool's pages are promised at once (no NORESERVE): a fault later would be a SIGBUS. */
	int flags = MAP_FIXED | (m->pool ? 0 : MAP_NORESERVE) |
		    (m->fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED);

	return mmap(m->base, m->size, PROT_READ | PROT_WRITE, flags, m->fd, 0) == MAP_FAILED ? -1
											     : 0;
}

static int bind_node(const struct guest_memory *m, unsigned int node, struct error *e)
{
	unsigned long mask[MEMORY_MAX_NODES / (8 * sizeof(long))] = {0};
	const unsigned int bits = 8 * sizeof(mask[0]);

	mask[node / bits] = 1ul << node % bits;
	/* The kernel takes one bit less than it is told (get_nodes(), mm/mempolicy.c). */
	if (!syscall(SYS_mbind, m->base, m->size, MPOL_BIND, mask, MEMORY_MAX_NODES + 1, 0))
		return 0;
	if (errno == EINVAL)
		return error_set(e, ERROR_USER, "--memory: this host has no NUMA node %u", node);
	return error_set(e, ERROR_MACHINE, "--memory: node=%u: %s", node,
			 errno == ENOSYS ? "the host's kernel has no NUMA" : strerror(errno));
}

static int populate(const struct guest_memory *m)
{
	uint64_t at;

	if (!madvise(m->base, m->size, MADV_POPULATE_WRITE))
		return 0;
	if (errno != EINVAL)
		return -1;
	/* A kernel before 5.14.  Nobody else writes there yet. */
	for (at = 0; at < m->size; at += PAGE)
		*(volatile uint8_t *)(m->base + at) = 0;
	return 0;
}

static int advise(const struct guest_memory *m, const struct memory_config *c, struct error *e)
{
	/* Both are wishes: a kernel built without them says EINVAL and all works the same. */
	if (!m->pool && !m->small_start)
		madvise(m->base, m->size, c->small_pages ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
	madvise(m->base, m->size, MADV_DONTDUMP);
	if (c->mergeable && madvise(m->base, m->size, MADV_MERGEABLE))
		return error_set(e, ERROR_MACHINE, "--memory: mergeable: %s",
				 errno == EINVAL ? "the host's kernel has no KSM"
						 : strerror(errno));
	if (c->bound && bind_node(m, c->node, e))
		return -1;
	if (m->prefault && populate(m))
		return error_set(e, ERROR_MACHINE, "--memory: prefault: %s",
				 errno == EFAULT ? "the node has too few huge pages"
						 : strerror(errno));
	return 0;
}

int memory_create(struct guest_memory *m, const struct memory_config *c, struct error *e)
{
	uint64_t hole;

	m->fd = -1;
	m->size = c->size;
	hole = c->start ? 0 : c->hole ? c->hole : HOLE_START;
	m->low = c->size < hole ? c->size : hole;
	m->high = c->start ? c->start : HOLE_END;
	m->pool = c->huge_page;
	/* Pages promised by the pool may be of another node, and the fault would be a SIGBUS. */
	m->prefault = c->prefault || (m->pool && c->bound);
	m->small_pages = c->small_pages;
	m->small_start = c->small_start && !m->pool && !m->prefault && !m->small_pages;
	m->plain = !c->shared && !m->pool && !m->prefault && !c->mergeable && !c->bound;
	if ((c->shared || m->pool) && open_memfd(m, c, e))
		return -1;
	m->base = reserve_addresses(c->size, m->pool ? c->huge_page : HUGE_PAGE);
	if (!m->base || map_ram(m)) {
		if (m->base && m->pool && errno == ENOMEM)
			return pool_too_small(c, e);
		return error_set(e, ERROR_MACHINE, "cannot map %llu MiB of guest RAM: %s",
				 (unsigned long long)(c->size >> 20), strerror(errno));
	}
	return advise(m, c, e);
}

void memory_loaded(const struct guest_memory *m)
{
	if (m->small_start)
		madvise(m->base, m->size, MADV_HUGEPAGE);
}

void memory_destroy(struct guest_memory *m)
{
	if (m->base)
		munmap(m->base, m->size);
	if (m->base && m->fd >= 0)
		close(m->fd);
	free(m->dirty);
	memset(m, 0, sizeof(*m));
	m->fd = -1;
}

/* Anonymous memory takes the place of a snapshot's file. */
static int cover_file(const struct guest_memory *m, uint8_t *at, uint64_t len)
{
	if (mmap(at, len, PROT_READ | PROT_WRITE,
		 MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) == MAP_FAILED)
		return -1;
	madvise(at, len, m->small_pages ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
	madvise(at, len, MADV_DONTDUMP);
	return 0;
}

/*
 * MADV_DONTNEED only unmaps a memfd's pages: MADV_REMOVE punches them out of the file.  Over a
 * snapshot's file it would bring back what the snapshot holds.
 */
static int give_back(const struct guest_memory *m, uint8_t *at, uint64_t len)
{
	memory_mark(m, at, len);
	if (m->over_file)
		return cover_file(m, at, len);
	return madvise(at, len, m->fd >= 0 ? MADV_REMOVE : MADV_DONTNEED);
}

static int read_file(struct guest_memory *m, int fd)
{
	uint64_t low = m->low, high = m->size - m->low;

	if (memory_load(m, 0, fd, 0, low))
		return -1;
	return high ? memory_load(m, m->high, fd, low, high) : 0;
}

int memory_from_file(struct guest_memory *m, int fd)
{
	struct stat st;

	if (!m->plain)
		return read_file(m, fd);
	if (fstat(fd, &st))
		return -1;
	if ((uint64_t)st.st_size < m->size) {
		errno = ENODATA; /* to touch a page behind a file's end is a SIGBUS */
		return -1;
	}
	if (mmap(m->base, m->size, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_NORESERVE,
		 fd, 0) == MAP_FAILED)
		return -1;
	madvise(m->base, m->size, MADV_DONTDUMP);
	m->over_file = true;
	return 0;
}

int memory_track(struct guest_memory *m, bool on)
{
	free(m->dirty);
	m->dirty = on ? calloc((m->size / PAGE + 63) / 64, sizeof(*m->dirty)) : NULL;
	return on && !m->dirty ? -1 : 0;
}

void memory_mark(const struct guest_memory *m, const void *at, uint64_t len)
{
	uint64_t page, end;

	if (!m->dirty || !len)
		return;
	page = (uint64_t)((const uint8_t *)at - m->base) / PAGE;
	end = (uint64_t)((const uint8_t *)at - m->base + len - 1) / PAGE;
	for (; page <= end; page++)
		__atomic_fetch_or(&m->dirty[page / 64], 1ull << page % 64, __ATOMIC_RELAXED);
}

int memory_clear(struct guest_memory *m)
{
	if (give_back(m, m->base, m->size))
		return -1;
	m->over_file = false;
	/* A hole in hugetlb gives up what was promised as well: ask again. */
	if (m->pool && map_ram(m))
		return -1;
	return m->prefault ? populate(m) : 0;
}

int memory_discard(const struct guest_memory *m, void *at, uint64_t len)
{
	uint64_t start = (uint8_t *)at - m->base, end;
	bool inside = (uint8_t *)at >= m->base && start <= m->size && len <= m->size - start;

	if (!inside || m->pool) {
		errno = inside ? EOPNOTSUPP : EFAULT;
		return -1;
	}
	end = (start + len) & ~(PAGE - 1);
	start = (start + PAGE - 1) & ~(PAGE - 1);
	return start < end ? give_back(m, m->base + start, end - start) : 0;
}

uint64_t memory_end(const struct guest_memory *m)
{
	return m->size > m->low ? m->high + (m->size - m->low) : m->low;
}

void *memory_at(const struct guest_memory *m, uint64_t gpa, uint64_t len)
{
	uint64_t offset, room;

	if (gpa < m->low) {
		offset = gpa;
		room = m->low - gpa;
	} else if (gpa >= m->high && gpa - m->high < m->size - m->low) {
		offset = m->low + (gpa - m->high);
		room = m->size - offset;
	} else {
		return NULL;
	}
	if (len == 0 || len > room)
		return NULL;
	if (m->dirty)
		memory_mark(m, m->base + offset, len);
	return m->base + offset;
}

int memory_read(const struct guest_memory *m, uint64_t gpa, void *to, uint64_t len)
{
	const void *from = memory_at(m, gpa, len);

	if (!from)
		return -1;
	memcpy(to, from, len);
	return 0;
}

int memory_write(const struct guest_memory *m, uint64_t gpa, const void *from, uint64_t len)
{
	void *to = memory_at(m, gpa, len);

	if (!to)
		return -1;
	memcpy(to, from, len);
	return 0;
}

/* As much of it as is whole steps of 128 bytes; returns how much that is. */
__attribute__((target("avx"))) static uint64_t copy_wide(uint8_t *to, const uint8_t *from,
							 uint64_t len)
{
	uint64_t at;

	for (at = 0; at + 128 <= len; at += 128) {
		const __m256i *f = (const __m256i *)(from + at);
		__m256i a = _mm256_loadu_si256(f), b = _mm256_loadu_si256(f + 1);
		__m256i c = _mm256_loadu_si256(f + 2), d = _mm256_loadu_si256(f + 3);
		__m256i *t = (__m256i *)(to + at);

		_mm256_storeu_si256(t, a);
		_mm256_storeu_si256(t + 1, b);
		_mm256_storeu_si256(t + 2, c);
		_mm256_storeu_si256(t + 3, d);
	}
	return at;
}

/*
 * From the page cache to RAM in registers.  read() would copy with REP MOVSB in the kernel, which
 * is as fast, but is 4096 steps a page where instructions are counted (docs/performance.md).
 */
static void copy_pages(uint8_t *to, const uint8_t *from, uint64_t len)
{
	uint64_t at = __builtin_cpu_supports("avx") ? copy_wide(to, from, len) : 0;

	for (; at + 16 <= len; at += 16)
		_mm_storeu_si128((__m128i *)(to + at),
				 _mm_loadu_si128((const __m128i *)(from + at)));
	memcpy(to + at, from + at, len - at);
}

int memory_load(const struct guest_memory *m, uint64_t gpa, int fd, uint64_t offset, uint64_t len)
{
	uint64_t before = offset & (PAGE - 1), map_len;
	uint8_t *to = memory_at(m, gpa, len), *from;
	off_t size;

	if (!to || __builtin_add_overflow(len, before, &map_len)) {
		errno = EFAULT;
		return -1;
	}
	/* A page past the end of a mapped file is a SIGBUS. */
	size = lseek(fd, 0, SEEK_END);
	if (size < 0 || offset > (uint64_t)size || len > (uint64_t)size - offset) {
		errno = size < 0 ? errno : ENODATA;
		return -1;
	}
	from = mmap(NULL, map_len, PROT_READ, MAP_PRIVATE, fd, (off_t)(offset - before));
	if (from == MAP_FAILED)
		return -1;
	copy_pages(to, from + before, len);
	munmap(from, map_len);
	return 0;
}
