// SPDX-License-Identifier: Apache-2.0
#include "virtio/blk_image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <linux/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SECTOR 512u

static int lock_image(struct image *m, const char *path, bool shared, struct error *e)
{
	struct flock lock = {.l_type = shared ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};

	/* Of an open file that no I/O uses: what a killed VM had in flight does not keep it. */
	m->lock_fd = open(path, (shared ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	if (m->lock_fd < 0)
		return error_set(e, ERROR_USER, "%s: %s", path, strerror(errno));
	if (fcntl(m->lock_fd, F_OFD_SETLK, &lock) == 0)
		return 0;
	if (errno != EAGAIN && errno != EACCES)
		return error_set(e, ERROR_MACHINE, "%s: cannot lock: %s", path, strerror(errno));
	return error_set(e, ERROR_USER, "%s: in use by another VM (%s)", path,
			 shared ? "it is being written"
				: "one VM may write an image; read-only VMs share it");
}

/* The kernel's word on alignment (since 6.1), else what every disk of today can do. */
static void ask_alignment(struct image *m, int fd)
{
	struct statx st = {0};

	m->mem_align = 512;
	m->file_align = 4096;
	if (syscall(SYS_statx, fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &st))
		return;
	if ((st.stx_mask & STATX_DIOALIGN) && st.stx_dio_offset_align) {
		m->mem_align = st.stx_dio_mem_align;
		m->file_align = st.stx_dio_offset_align;
	}
}

static int open_direct(struct image *m, unsigned int file, const char *path, bool writable,
		       struct error *e)
{
	int fd = open(path, (writable ? O_RDWR : O_RDONLY) | O_DIRECT | O_CLOEXEC);

	if (fd < 0)
		return error_set(e, ERROR_USER, "%s: no direct I/O here: %s (leave out 'direct')",
				 path, strerror(errno));
	m->fds[file + 1] = fd;
	ask_alignment(m, fd);
	return 0;
}

static int open_base(struct image *m, const struct disk_config *cfg, struct error *e)
{
	bool writable = !m->read_only && !m->has_overlay;
	struct stat st;
	off_t end;
	int fd;

	fd = m->fds[FILE_BASE] = open(cfg->path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
	if (fd < 0)
		return error_set(e, ERROR_USER, "%s: %s", cfg->path, strerror(errno));
	if (fstat(fd, &st) || !(S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)))
		return error_set(e, ERROR_USER, "%s: not a disk image (no file, no block device)",
				 cfg->path);
	m->block_device = S_ISBLK(st.st_mode);
	end = lseek(fd, 0, SEEK_END);
	if (end == 0)
		return error_set(e, ERROR_USER, "%s: the image is empty (zero length)", cfg->path);
	if (end < (off_t)SECTOR)
		return error_set(e, ERROR_USER, "%s: the image is smaller than a sector",
				 cfg->path);
	m->size = m->base_size = end & ~(uint64_t)(SECTOR - 1);
	if (lock_image(m, cfg->path, !writable, e))
		return -1;
	return cfg->direct ? open_direct(m, FILE_BASE, cfg->path, writable, e) : 0;
}

static int open_overlay(struct image *m, const struct disk_config *cfg, struct error *e)
{
	if (overlay_open(&m->overlay, cfg->overlay, m->fds[FILE_BASE], m->base_size, e)) {
		m->has_overlay = false;
		return -1;
	}
	m->fds[FILE_OVERLAY] = m->overlay.fd;
	m->size = m->overlay.header.disk_size;
	return cfg->direct && cfg->overlay ? open_direct(m, FILE_OVERLAY, cfg->overlay, true, e)
					   : 0;
}

/* A hole far behind the end changes nothing and shows whether there can be holes. */
static bool can_punch(const struct image *m)
{
	int fd = m->fds[m->has_overlay ? FILE_OVERLAY : FILE_BASE];

	if (m->block_device && !m->has_overlay)
		return true; /* a device without discard refuses it when it is asked */
	return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)1 << 40, 4096) == 0;
}

int image_open(struct image *m, const struct disk_config *cfg, struct error *e)
{
	unsigned int i;

	memset(m, 0, sizeof(*m));
	for (i = 0; i < IO_FILES; i++)
		m->fds[i] = -1;
	m->lock_fd = -1;
	m->read_only = cfg->read_only;
	m->has_overlay = cfg->snapshot || cfg->overlay;
	if (open_base(m, cfg, e)) {
		m->has_overlay = false; /* it was not opened yet */
		image_close(m);
		return -1;
	}
	if (m->has_overlay && open_overlay(m, cfg, e)) {
		image_close(m);
		return -1;
	}
	m->can_discard = !m->read_only && can_punch(m);
	return 0;
}

void image_close(struct image *m)
{
	unsigned int i;

	if (m->has_overlay) {
		overlay_close(&m->overlay);
		m->fds[FILE_OVERLAY] = -1;
	}
	for (i = 0; i < IO_FILES; i++)
		if (m->fds[i] >= 0)
			close(m->fds[i]);
	if (m->lock_fd >= 0)
		close(m->lock_fd);
}

unsigned int image_way(const struct image *m, unsigned int file, const struct io *io)
{
	uint64_t bits = io->offset;
	unsigned int i;

	if (m->fds[file + 1] < 0)
		return file;
	for (i = 0; i < io->niov; i++) {
		bits |= io->iov[i].iov_len;
		if ((uintptr_t)io->iov[i].iov_base & (m->mem_align - 1))
			return file;
	}
	return bits & (m->file_align - 1) ? file : file + 1;
}

int image_resize(struct image *m, uint64_t size, char *text, size_t len)
{
	off_t end;

	if (size % SECTOR || size == 0) {
		snprintf(text, len, "size must be a multiple of %u bytes", SECTOR);
		return -1;
	}
	if (size < m->size) {
		snprintf(text, len, "a disk in use does not shrink (it has %llu bytes)",
			 (unsigned long long)m->size);
		return -1;
	}
	if (m->has_overlay) {
		if (overlay_grow(&m->overlay, size)) {
			snprintf(text, len, "the overlay cannot grow: %s", strerror(errno));
			return -1;
		}
	} else {
		end = lseek(m->fds[FILE_BASE], 0, SEEK_END);
		if (m->block_device || m->read_only) {
			if (end < 0 || (uint64_t)end < size) {
				snprintf(text, len, "what is behind the disk has %lld bytes",
					 (long long)end);
				return -1;
			}
		} else if (end < (off_t)size && ftruncate(m->fds[FILE_BASE], (off_t)size)) {
			snprintf(text, len, "the image cannot grow: %s", strerror(errno));
			return -1;
		}
		m->base_size = size;
	}
	m->size = size;
	return 0;
}
