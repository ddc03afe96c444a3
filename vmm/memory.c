// SPDX-License-Identifier: Apache-2.0
#include "memory.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "layout.h"

#define HUGE_PAGE (2ull << 20)

#define HOST_PAGE 4096ull

/* fd -1: anonymous. */
static int map(struct guest_memory *m, uint64_t size, int fd, bool hugepages, struct error *e)
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
	if (fd >= 0 && mmap(base, size, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_FIXED | MAP_NORESERVE, fd, 0) == MAP_FAILED)
		return error_set(e, ERROR_MACHINE, "cannot map %llu MiB of shared RAM: %s",
				 (unsigned long long)(size >> 20), strerror(errno));
	/* Both are advice: a kernel built without them says EINVAL and all works the same. */
	madvise(base, size, hugepages ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	madvise(base, size, MADV_DONTDUMP);
	m->base = base;
	m->size = size;
	m->low = size < HOLE_START ? size : HOLE_START;
	m->fd = fd;
	return 0;
}

int memory_create(struct guest_memory *m, uint64_t size, bool hugepages, struct error *e)
{
	return map(m, size, -1, hugepages, e);
}

int memory_create_shared(struct guest_memory *m, uint64_t size, bool hugepages, struct error *e)
{
	int fd = memfd_create("guest-ram", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	/* Sealed: whoever gets the descriptor cannot shrink RAM under the guest (SIGBUS). */
	if (fd < 0 || ftruncate(fd, (off_t)size) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
		error_set(e, ERROR_MACHINE, "cannot make %llu MiB of shared RAM: %s",
			  (unsigned long long)(size >> 20), strerror(errno));
	} else if (!map(m, size, fd, hugepages, e)) {
		return 0;
	}
	if (fd >= 0)
		close(fd);
	return -1;
}

void memory_destroy(struct guest_memory *m)
{
	if (m->base)
		munmap(m->base, m->size);
	if (m->base && m->fd >= 0)
		close(m->fd);
	memset(m, 0, sizeof(*m));
	m->fd = -1;
}

/* MADV_DONTNEED only unmaps a memfd's pages: MADV_REMOVE punches them out of the file. */
static int give_back(const struct guest_memory *m, uint8_t *at, uint64_t len)
{
	return madvise(at, len, m->fd >= 0 ? MADV_REMOVE : MADV_DONTNEED);
}

int memory_clear(struct guest_memory *m)
{
	return give_back(m, m->base, m->size);
}

int memory_discard(const struct guest_memory *m, void *at, uint64_t len)
{
	uint64_t start = (uint8_t *)at - m->base, end;

	if ((uint8_t *)at < m->base || start > m->size || len > m->size - start) {
		errno = EFAULT;
		return -1;
	}
	end = (start + len) & ~(HOST_PAGE - 1);
	start = (start + HOST_PAGE - 1) & ~(HOST_PAGE - 1);
	return start < end ? give_back(m, m->base + start, end - start) : 0;
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
