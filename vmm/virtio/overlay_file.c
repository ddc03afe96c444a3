// SPDX-License-Identifier: Apache-2.0
/* The file of an overlay: made, checked, read.  overlay.h describes the format. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crc32c.h"
#include "virtio/overlay.h"

static const char magic[8] = "HGOVERLY";

#define SECTOR	 sizeof(struct map_sector)
#define MAP_ROOM (64ull << 30) /* bytes of disk that the map of a small disk can grow to */
#define DISK_MAX (1ull << 50)

_Static_assert(sizeof(struct overlay_header) == 512, "a sector");
_Static_assert(sizeof(struct map_sector) == 512, "a sector");

/* Samples: the first 68 KiB (any file system's superblock), the last 4, and 16 between. */
#define SAMPLE	 4096u
#define HEAD	 17u
#define BETWEEN	 16u
#define NSAMPLES (HEAD + BETWEEN + 1)

int overlay_sample(int base_fd, uint64_t size, uint32_t *checksum)
{
	uint64_t last = size > SAMPLE ? size - SAMPLE : 0, at;
	uint8_t data[SAMPLE];
	unsigned int i;
	ssize_t n;

	*checksum = 0;
	for (i = 0; i < NSAMPLES; i++) {
		if (i < HEAD)
			at = (uint64_t)i * SAMPLE;
		else
			at = last / (BETWEEN + 1) * (i - HEAD + 1);
		if (i == NSAMPLES - 1 || at > last)
			at = last;
		n = pread(base_fd, data, sizeof(data), (off_t)at);
		if (n < 0)
			return -1;
		*checksum = crc32c(*checksum, data, n);
	}
	return 0;
}

static uint64_t map_sectors_for(uint64_t disk_size)
{
	const uint64_t covered = (uint64_t)MAP_BLOCKS * OVERLAY_BLOCK;

	return (disk_size + covered - 1) / covered;
}

static uint64_t file_size(const struct overlay_header *h)
{
	return h->data_offset + ((h->disk_size + OVERLAY_BLOCK - 1) & ~(OVERLAY_BLOCK - 1ull));
}

static void fill_header(struct overlay_header *h, uint64_t base_size)
{
	uint64_t room = base_size * 8 > MAP_ROOM ? base_size * 8 : MAP_ROOM;

	memcpy(h->magic, magic, sizeof(magic));
	h->version = OVERLAY_VERSION;
	h->block_size = OVERLAY_BLOCK;
	h->disk_size = h->base_size = base_size;
	h->map_sectors = map_sectors_for(room);
	h->map_offset = OVERLAY_BLOCK;
	h->data_offset = (h->map_offset + h->map_sectors * SECTOR + 0xfffff) & ~0xfffffull;
}

static int write_header(struct overlay *o)
{
	struct overlay_header *h = &o->header;

	h->checksum = crc32c(0, h, offsetof(struct overlay_header, checksum));
	if (pwrite(o->fd, h, sizeof(*h), 0) != sizeof(*h))
		return -1;
	return fdatasync(o->fd);
}

/* The name of a new file has to last as well. */
static void sync_folder(const char *path)
{
	char *copy = strdup(path);
	int fd = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	if (fd >= 0) {
		fsync(fd);
		close(fd);
	}
	free(copy);
}

/* The header comes last: until then the file counts as empty (is_unused). */
static int make(struct overlay *o, const char *path, int base_fd, uint64_t base_size,
		struct error *e)
{
	fill_header(&o->header, base_size);
	if (overlay_sample(base_fd, base_size, &o->header.base_samples))
		return error_set(e, ERROR_MACHINE, "the base of %s: %s", path, strerror(errno));
	if (ftruncate(o->fd, (off_t)file_size(&o->header)) || fsync(o->fd) || write_header(o))
		return error_set(e, ERROR_MACHINE, "%s: cannot make the overlay: %s", path,
				 strerror(errno));
	sync_folder(path);
	return 0;
}

static int refuse(struct error *e, const char *path, const char *why)
{
	return error_set(e, ERROR_USER, "%s: %s", path, why);
}

static int check_header(const struct overlay_header *h, uint64_t length, const char *path,
			struct error *e)
{
	if (memcmp(h->magic, magic, sizeof(magic)))
		return refuse(e, path, "not an overlay (its first bytes say something else)");
	if (h->version != OVERLAY_VERSION)
		return error_set(e, ERROR_USER,
				 "%s: an overlay of version %u, this program knows version %u",
				 path, h->version, OVERLAY_VERSION);
	if (crc32c(0, h, offsetof(struct overlay_header, checksum)) != h->checksum)
		return refuse(e, path, "a damaged overlay: the header's checksum is wrong");
	if (h->block_size != OVERLAY_BLOCK || h->disk_size > DISK_MAX || h->disk_size % 512 ||
	    h->base_size > h->disk_size || h->map_offset != OVERLAY_BLOCK ||
	    map_sectors_for(h->disk_size) > h->map_sectors || h->data_offset % OVERLAY_BLOCK ||
	    h->data_offset > DISK_MAX || h->map_offset + h->map_sectors * SECTOR > h->data_offset)
		return refuse(e, path, "a damaged overlay: its header contradicts itself");
	if (length < file_size(h))
		return error_set(e, ERROR_USER,
				 "%s: a damaged overlay: it was cut, %llu of %llu bytes", path,
				 (unsigned long long)length, (unsigned long long)file_size(h));
	return 0;
}

static int check_base(const struct overlay_header *h, const char *path, int base_fd,
		      uint64_t base_size, struct error *e)
{
	uint32_t samples;

	if (h->base_size != base_size)
		return error_set(e, ERROR_USER,
				 "%s: the overlay of another image (of %llu bytes, not %llu)", path,
				 (unsigned long long)h->base_size, (unsigned long long)base_size);
	if (overlay_sample(base_fd, base_size, &samples))
		return error_set(e, ERROR_MACHINE, "the base of %s: %s", path, strerror(errno));
	if (samples != h->base_samples)
		return refuse(e, path,
			      "the overlay of another image, or its image was written meanwhile");
	return 0;
}

static int map_memory(struct overlay *o, struct error *e)
{
	size_t len = o->header.map_sectors * SECTOR;

	o->map = mmap(NULL, len, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	o->dirty = calloc(o->header.map_sectors / 8 + 1, 1);
	if (o->map != MAP_FAILED && o->dirty)
		return 0;
	o->map = NULL;
	return error_set(e, ERROR_MACHINE, "out of memory for an overlay's map");
}

static int check_sector(struct overlay *o, uint32_t i, const char *path, struct error *e)
{
	const struct map_sector *s = &o->map[i];

	if (crc32c(0, s, offsetof(struct map_sector, checksum)) == s->checksum && s->number == i)
		return 0;
	if (s->number == 0 && s->checksum == 0 && s->bits[0] == 0 &&
	    !memcmp(s->bits, s->bits + 1, MAP_BYTES - 1))
		return 0; /* never written */
	return error_set(e, ERROR_USER, "%s: a damaged overlay: map sector %u", path, i);
}

/* Reads the parts of the map that are no holes. */
static int read_map(struct overlay *o, const char *path, struct error *e)
{
	uint64_t at = o->header.map_offset, hole;
	uint64_t end = at + map_sectors_for(o->header.disk_size) * SECTOR;
	uint32_t i, last;
	off_t found;
	ssize_t n;

	while (at < end) {
		found = lseek(o->fd, (off_t)at, SEEK_DATA);
		if (found < 0 && errno == ENXIO)
			break;
		if (found < 0)
			return error_set(e, ERROR_MACHINE, "%s: %s", path, strerror(errno));
		at = (uint64_t)found & ~(SECTOR - 1ull);
		if (at >= end)
			break;
		found = lseek(o->fd, found, SEEK_HOLE);
		hole = found < 0 ? end : ((uint64_t)found + SECTOR - 1) & ~(SECTOR - 1ull);
		hole = hole < end ? hole : end;
		i = (at - o->header.map_offset) / SECTOR;
		last = (hole - o->header.map_offset) / SECTOR;
		for (; at < hole; at += n) {
			n = pread(o->fd, (uint8_t *)o->map + (at - o->header.map_offset), hole - at,
				  (off_t)at);
			if (n <= 0)
				return error_set(e, ERROR_MACHINE, "%s: %s", path,
						 n ? strerror(errno) : "it ends in its map");
		}
		for (; i < last; i++)
			if (check_sector(o, i, path, e))
				return -1;
	}
	return 0;
}

/* Empty, or as make() leaves it when it is killed before the header. */
static bool is_unused(const struct overlay *o, const struct stat *st)
{
	return st->st_size == 0 || (lseek(o->fd, 0, SEEK_DATA) < 0 && errno == ENXIO);
}

static int lock(struct overlay *o, const char *path, struct error *e)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	o->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (o->lock_fd < 0)
		return error_set(e, ERROR_USER, "%s: %s", path, strerror(errno));
	if (fcntl(o->lock_fd, F_OFD_SETLK, &fl) == 0)
		return 0;
	return error_set(e, ERROR_USER, "%s: in use by another VM (an overlay has one user)", path);
}

static int open_named(struct overlay *o, const char *path, int base_fd, uint64_t base_size,
		      struct error *e)
{
	struct stat st;

	if (lock(o, path, e))
		return -1;
	o->fd = open(path, O_RDWR | O_CLOEXEC);
	if (o->fd < 0 || fstat(o->fd, &st))
		return error_set(e, ERROR_USER, "%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return refuse(e, path, "an overlay is a regular file");
	if (is_unused(o, &st))
		return make(o, path, base_fd, base_size, e) || map_memory(o, e) ? -1 : 0;
	if (pread(o->fd, &o->header, sizeof(o->header), 0) != sizeof(o->header))
		return refuse(e, path, "not an overlay (shorter than a header)");
	if (check_header(&o->header, (uint64_t)st.st_size, path, e) ||
	    check_base(&o->header, path, base_fd, base_size, e) || map_memory(o, e))
		return -1;
	return read_map(o, path, e);
}

static int open_nameless(void)
{
	const char *folders[] = {getenv("TMPDIR"), "/var/tmp", "/tmp"};
	unsigned int i;
	char path[256];
	int fd;

	for (i = 0; i < 3; i++) {
		if (!folders[i] || !*folders[i])
			continue;
		fd = open(folders[i], O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
		if (fd >= 0)
			return fd;
		if ((size_t)snprintf(path, sizeof(path), "%s/hg-vmm-XXXXXX", folders[i]) >=
		    sizeof(path))
			continue;
		fd = mkostemp(path, O_CLOEXEC);
		if (fd >= 0) {
			unlink(path);
			return fd;
		}
	}
	return -1;
}

static int open_anonymous(struct overlay *o, uint64_t base_size, struct error *e)
{
	o->anonymous = true;
	fill_header(&o->header, base_size);
	o->fd = open_nameless();
	if (o->fd < 0 || ftruncate(o->fd, (off_t)file_size(&o->header)))
		return error_set(e, ERROR_MACHINE,
				 "a temporary file for the snapshot: %s (TMPDIR says where)",
				 strerror(errno));
	return map_memory(o, e);
}

int overlay_open(struct overlay *o, const char *path, int base_fd, uint64_t base_size,
		 struct error *e)
{
	int r;

	*o = (struct overlay){.fd = -1, .lock_fd = -1};
	r = path ? open_named(o, path, base_fd, base_size, e) : open_anonymous(o, base_size, e);
	if (r)
		overlay_close(o);
	return r;
}

void overlay_close(struct overlay *o)
{
	if (o->map)
		munmap(o->map, o->header.map_sectors * SECTOR);
	free(o->dirty);
	if (o->fd >= 0)
		close(o->fd);
	if (o->lock_fd >= 0)
		close(o->lock_fd);
	*o = (struct overlay){.fd = -1, .lock_fd = -1};
}

int overlay_grow(struct overlay *o, uint64_t disk_size)
{
	struct overlay_header before = o->header;

	if (disk_size > DISK_MAX || map_sectors_for(disk_size) > o->header.map_sectors) {
		errno = EFBIG;
		return -1;
	}
	o->header.disk_size = disk_size;
	if (ftruncate(o->fd, (off_t)file_size(&o->header)) == 0 &&
	    (o->anonymous || write_header(o) == 0))
		return 0;
	o->header = before;
	return -1;
}
