// SPDX-License-Identifier: Apache-2.0
#include "hermit/archive.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hermit/gzip.h"

int archive_clean(const char *path, char clean[ARCHIVE_MAX_PATH])
{
	size_t used = 0, len;

	for (;; path += len) {
		path += strspn(path, "/");
		len = strcspn(path, "/");
		if (!len)
			break;
		if (len == 1 && *path == '.')
			continue;
		if (len == 2 && !strncmp(path, "..", 2)) {
			if (!used)
				return -1;
			while (used && clean[--used] != '/')
				;
			continue;
		}
		if (used + len + 2 > ARCHIVE_MAX_PATH)
			return -1;
		if (used)
			clean[used++] = '/';
		memcpy(clean + used, path, len);
		used += len;
	}
	clean[used] = '\0';
	return 0;
}

const struct archive_entry *archive_find(const struct archive *a, const char *clean)
{
	unsigned int from = 0, to = a->count, middle;
	int order;

	while (from < to) {
		middle = from + (to - from) / 2;
		order = strcmp(clean, a->entries[middle].path);
		if (!order)
			return &a->entries[middle];
		if (order < 0)
			to = middle;
		else
			from = middle + 1;
	}
	return NULL;
}

const struct archive_entry *archive_next(const struct archive *a,
					 const struct archive_entry *folder, uint64_t *index)
{
	const struct archive_entry *entry;
	size_t len = strlen(folder->path);
	uint64_t first = (uint64_t)(folder - a->entries) + 1;

	/* What lies in it follows it, with "a-b" between "a" and "a/b". */
	for (*index = *index < first ? first : *index; *index < a->count; ++*index) {
		entry = &a->entries[*index];
		if (strncmp(entry->path, folder->path, len))
			break;
		if ((!len || entry->path[len] == '/') && !strchr(entry->path + len + !!len, '/')) {
			++*index;
			return entry;
		}
	}
	return NULL;
}

int archive_open(struct archive *a, const struct boot_file *f, struct error *e)
{
	void *data;

	*a = (struct archive){.fd = memfd_create("hermit-image", MFD_CLOEXEC)};
	if (a->fd < 0)
		return error_set(e, ERROR_MACHINE, "%.150s: %s", f->path, strerror(errno));
	if (gzip_unpack(f, a->fd, ARCHIVE_MAX_BYTES, &a->size, e))
		return -1;
	if (!a->size)
		return error_set(e, ERROR_USER, "%.150s: the archive is empty", f->path);
	data = mmap(NULL, a->size, PROT_READ, MAP_SHARED, a->fd, 0);
	if (data == MAP_FAILED)
		return error_set(e, ERROR_MACHINE, "%.150s: %s", f->path, strerror(errno));
	a->data = data;
	return archive_index(a, f->path, e);
}

void archive_close(struct archive *a)
{
	unsigned int i;

	for (i = 0; i < a->count; i++)
		free((char *)a->entries[i].path);
	free(a->entries);
	if (a->data)
		munmap((void *)a->data, a->size);
	if (a->fd > 0)
		close(a->fd);
}
