// SPDX-License-Identifier: Apache-2.0
/* The files that came with an image archive, as a guest's calls see them: read-only, in memory. */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>

#include "hermit/files_private.h"

#define BLOCK 4096

struct dirent_head { /* struct linux_dirent64 up to its name, see getdents64(2) */
	uint64_t ino, off;
	uint16_t reclen;
	uint8_t type;
} __attribute__((packed));

const struct archive_entry *inner_find(const struct files *f, const char *path)
{
	char clean[ARCHIVE_MAX_PATH];

	if (!f->archive || archive_clean(path, clean))
		return NULL;
	return archive_find(f->archive, clean);
}

int inner_check_open(const struct archive_entry *entry, int flags)
{
	if ((flags & O_CREAT) && (flags & O_EXCL))
		return -EEXIST;
	if ((flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC))
		return entry->folder ? -EISDIR : -EROFS;
	return (flags & O_DIRECTORY) && !entry->folder ? -ENOTDIR : 0;
}

int64_t inner_read(const struct files *f, struct open_file *o, void *to, uint64_t len)
{
	const struct archive_entry *entry = o->inner;

	if (entry->folder)
		return -EISDIR;
	if (o->at >= entry->size)
		return 0;
	len = len < entry->size - o->at ? len : entry->size - o->at;
	memcpy(to, f->archive->data + entry->offset + o->at, len);
	o->at += len;
	return (int64_t)len;
}

int64_t inner_seek(struct open_file *o, int64_t offset, int whence)
{
	int64_t base = 0, at;

	if (whence == SEEK_CUR)
		base = (int64_t)o->at;
	else if (whence == SEEK_END)
		base = (int64_t)o->inner->size;
	if (__builtin_add_overflow(base, offset, &at) || at < 0)
		return -EINVAL;
	o->at = (uint64_t)at;
	return at;
}

int64_t inner_list(const struct files *f, struct open_file *o, void *to, uint64_t len)
{
	const struct archive_entry *entry;
	struct dirent_head head;
	uint64_t used = 0, next;
	const char *name;
	size_t bytes;

	if (!o->inner->folder)
		return -ENOTDIR;
	for (next = o->at; (entry = archive_next(f->archive, o->inner, &next)); o->at = next) {
		name = strrchr(entry->path, '/');
		name = name ? name + 1 : entry->path;
		bytes = (sizeof(head) + strlen(name) + 1 + 7) & ~(size_t)7;
		if (bytes > len - used)
			return used ? (int64_t)used : -EINVAL;
		head = (struct dirent_head){.ino = (uint64_t)(entry - f->archive->entries) + 1,
					    .off = next,
					    .reclen = (uint16_t)bytes,
					    .type = entry->folder ? 4 : 8}; /* DT_DIR, DT_REG */
		memset((char *)to + used, 0, bytes);
		memcpy((char *)to + used, &head, sizeof(head));
		memcpy((char *)to + used + sizeof(head), name, strlen(name));
		used += bytes;
	}
	return (int64_t)used;
}

void inner_stat(const struct files *f, const struct archive_entry *entry, struct stat *st)
{
	*st = (struct stat){
		.st_ino = (ino_t)(entry - f->archive->entries) + 1,
		.st_nlink = 1,
		.st_mode = (entry->folder ? S_IFDIR : S_IFREG) | entry->mode,
		.st_size = (off_t)entry->size,
		.st_blksize = BLOCK,
		.st_blocks = (blkcnt_t)((entry->size + 511) / 512),
	};
}
