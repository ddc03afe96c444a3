// SPDX-License-Identifier: Apache-2.0
#include "memory.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "layout.h"

#define HUGE_PAGE (2ull << 20)

int memory_create(struct guest_memory *m, uint64_t size, bool hugepages, struct error *e)
{
	uint8_t *raw, *base;

	/* Aligned to 2 MiB, so that a huge page of the host can back one of the guest. */
	raw = mmap(NULL, size + HUGE_PAGE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (raw == MAP_FAILED)
		return error_set(e, ERROR_MACHINE, "cannot map %llu MiB of guest RAM: %s",
				 (unsigned long long)(size >> 20), strerror(errno));
	base = (uint8_t *)(((uintptr_t)raw + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1));
	if (base != raw)
		munmap(raw, base - raw);
	if (base + size != raw + size + HUGE_PAGE)
		munmap(base + size, raw + HUGE_PAGE - base);
	/* Both are advice: a kernel built without them says EINVAL and all works the same. */
	madvise(base, size, hugepages ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	madvise(base, size, MADV_DONTDUMP);
	m->base = base;
	m->size = size;
	m->low = size < HOLE_START ? size : HOLE_START;
	return 0;
}

void memory_destroy(struct guest_memory *m)
{
	if (m->base)
		munmap(m->base, m->size);
	memset(m, 0, sizeof(*m));
}

int memory_clear(struct guest_memory *m)
{
	return madvise(m->base, m->size, MADV_DONTNEED);
}

void *memory_at(const struct guest_memory *m, uint64_t gpa, uint64_t len)
{
	uint64_t offset, room;

	if (gpa < m->low) {
		offset = gpa;
		room = m->low - gpa;
	} else if (gpa >= HOLE_END && gpa - HOLE_END < m->size - m->low) {
		offset = m->low + (gpa - HOLE_END);
		room = m->size - offset;
	} else {
		return NULL;
	}
	if (len == 0 || len > room)
		return NULL;
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

int memory_load(const struct guest_memory *m, uint64_t gpa, int fd, uint64_t offset, uint64_t len)
{
	uint8_t *to = memory_at(m, gpa, len);
	ssize_t n;

	if (!to) {
		errno = EFAULT;
		return -1;
	}
	while (len) {
		n = pread(fd, to, len, (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			if (n == 0)
				errno = ENODATA;
			return -1;
		}
		to += n;
		offset += n;
		len -= n;
	}
	return 0;
}
