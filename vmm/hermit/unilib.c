// SPDX-License-Identifier: Apache-2.0
#include "hermit/unilib.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "hermit/calls.h"

#define FID	     0x12
#define MAX_TRANSFER 0x7ffff000ull
#define MODE	     0644 /* of a new file: open has none */

enum { INIT, OPEN, CLOSE, READ, WRITE, LSEEK, STAT, UNLINK };

/* 0 or -errno. */
static int take_path(const struct guest_memory *m, uint64_t gpa, uint64_t len,
		     char path[FILES_MAX_PATH])
{
	char given[FILES_MAX_PATH];

	if (len >= sizeof(given))
		return -ENAMETOOLONG;
	if (len && memory_read(m, gpa, given, len))
		return -EFAULT;
	given[len] = '\0';
	if (!len || strlen(given) != len)
		return len ? -EINVAL : -ENOENT;
	if (snprintf(path, FILES_MAX_PATH, "%s%s", given[0] == '/' ? "" : UNILIB_ROOT "/", given) >=
	    FILES_MAX_PATH)
		return -ENAMETOOLONG;
	return 0;
}

static int64_t transfer(struct files *files, const struct guest_memory *m, uint32_t event,
			const uint64_t x[3])
{
	uint64_t len = x[2] < MAX_TRANSFER ? x[2] : MAX_TRANSFER;
	void *at = len ? memory_at(m, x[1], len) : "";

	if (!at)
		return -EFAULT;
	return event == READ ? files_read(files, (int)x[0], at, len)
			     : files_write(files, (int)x[0], at, len);
}

static int64_t by_path(struct files *files, const struct guest_memory *m, uint32_t event,
		       const uint64_t x[3])
{
	char path[FILES_MAX_PATH];
	struct file_attr attr;
	struct stat st;
	int r = take_path(m, x[0], x[1], path);

	if (r)
		return r;
	if (event == OPEN)
		return files_open(files, path, (int)x[2], MODE);
	if (event == UNLINK)
		return files_unlink(files, path);
	r = files_stat(files, path, true, &st);
	if (r)
		return r;
	file_attr_fill(&attr, &st);
	return memory_write(m, x[2], &attr, sizeof(attr)) ? -EFAULT : 0;
}

int64_t unilib_serve(bool *ready, struct files *files, const struct guest_memory *m,
		     const struct unilib_call *c)
{
	uint32_t event = c->mode & 0xff;

	if ((c->mode & 0xffff) >> 8 != FID)
		return -ENOSYS;
	if (event == INIT) {
		*ready = true;
		return 0;
	}
	if (!*ready)
		return -ENODEV;
	switch (event) {
	case OPEN:
	case STAT:
	case UNLINK:
		return by_path(files, m, event, c->x);
	case CLOSE:
		return files_close(files, (int)c->x[0]);
	case READ:
	case WRITE:
		return transfer(files, m, event, c->x);
	case LSEEK:
		return files_seek(files, (int)c->x[0], (int64_t)c->x[1], (int)c->x[2]);
	}
	return -ENOSYS;
}
