// SPDX-License-Identifier: Apache-2.0
/* The folder of a guest's files that are not mapped, which goes when the guest does. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hermit/files_private.h"

int scratch_create(struct files *f, const char *parent, struct error *e)
{
	struct files_mapping root = {.guest = ""};

	f->scratch_parent = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (f->scratch_parent < 0 || asprintf(&f->scratch, "%s/hg-vmm-XXXXXX", parent) < 0) {
		f->scratch = NULL;
		return error_set(e, ERROR_USER, "%s: %s", parent, strerror(errno));
	}
	root.host = mkdtemp(f->scratch);
	if (root.host && !files_add_mapping(f, &root, true, e))
		return 0;
	if (!root.host)
		error_set(e, ERROR_USER, "cannot make a folder in %s: %s", parent, strerror(errno));
	free(f->scratch);
	f->scratch = NULL;
	close(f->scratch_parent);
	return -1;
}

/* A folder below another one, never a link. */
static int open_folder(int at, const char *name)
{
	struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
			       .resolve = RESOLVE_BENEATH};

	return syscall(SYS_openat2, at, name, &how, sizeof(how));
}

/* Whatever lies in the folder `fd`, which is closed; as deep as a guest's paths are long. */
static void empty_folder(int fd)
{
	DIR *dir = fdopendir(fd);
	struct dirent *d;
	int inner;

	if (!dir) {
		close(fd);
		return;
	}
	while ((d = readdir(dir))) {
		if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, ".."))
			continue;
		if (!unlinkat(dirfd(dir), d->d_name, 0))
			continue;
		inner = open_folder(dirfd(dir), d->d_name);
		if (inner >= 0)
			empty_folder(inner);
		unlinkat(dirfd(dir), d->d_name, AT_REMOVEDIR);
	}
	closedir(dir);
}

void scratch_remove(struct files *f)
{
	const struct mapping *m = &f->mappings[f->nmappings - 1]; /* it was added last */
	int fd = open_folder(m->folder, ".");

	if (fd >= 0)
		empty_folder(fd);
	unlinkat(f->scratch_parent, strrchr(f->scratch, '/') + 1, AT_REMOVEDIR);
	close(f->scratch_parent);
	free(f->scratch);
}
