/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's files that a guest may reach by calls instead of a disk: unikernels' file
 * hypercalls.  A table maps folders and files of the host to paths of the guest; everything
 * outside of it does not exist.  All paths come from the guest and are hostile: a path is
 * looked up by the kernel below its mapping's folder (openat2 with RESOLVE_BENEATH), never
 * joined as text, and only regular files and folders are opened.
 *
 * Every call returns a result >= 0 or -errno, as Linux numbers it.  The caller's buffers are its
 * own; lengths are bounded by the caller.  Calls may block on a slow disk, and come from any
 * thread: the table of descriptors has a lock of its own.
 */
#ifndef HG_HERMIT_FILES_H
#define HG_HERMIT_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "error.h"

#define FILES_MAX_MAPPINGS 16
#define FILES_MAX_OPEN	   128	/* besides the three standard streams */
#define FILES_MAX_PATH	   1024 /* bytes of a guest's path, with the NUL */

enum files_isolation {
	FILES_NORMAL, /* what is mapped; symbolic links may lead around inside a mapping */
	FILES_STRICT, /* no symbolic links, no way into another file system */
	FILES_NONE,   /* every path of the host, as the user who started the VM may */
};

struct files_mapping {
	const char *host, *guest;
	bool read_only;
};

struct files_config {
	struct files_mapping mappings[FILES_MAX_MAPPINGS];
	unsigned int nmappings;
	enum files_isolation isolation;
	const char *scratch; /* parent of the folder for paths that are not mapped; NULL: none */
};

struct files;

/* Opens every mapping's place; nothing else is opened by a path of the host later. */
struct files *files_create(const struct files_config *cfg, struct error *e);

struct archive;
/* What an image archive holds is there as well, read-only, where nothing is mapped by its name. */
void files_add_archive(struct files *f, const struct archive *a);

/* Closes everything and removes the scratch folder with what is in it. */
void files_destroy(struct files *f);

/* The guest's names of folders that it may mount, each with its NUL: bytes of all, or 0. */
size_t files_folders(const struct files *f, char *list, size_t room);

struct jail_folder;
/* Every place that calls may lead to, up to FILES_MAX_MAPPINGS + 2 of them: their count. */
unsigned int files_places(const struct files *f, struct jail_folder *folders);

/* One of the guest's open files, for a snapshot; and such a one opened again, 0 or -errno. */
struct files_open_one {
	int fd, flags;
	uint64_t at;
	const char *path; /* until the guest closes it */
};
bool files_open_nth(const struct files *f, unsigned int n, struct files_open_one *one);
int files_open_again(struct files *f, int fd, const char *path, int flags, uint64_t at);

/* Descriptors 0 to 2 are not in here; the first that files_open() gives is 3. */
int files_open(struct files *f, const char *path, int flags, unsigned int mode);
int files_close(struct files *f, int fd);
int64_t files_read(struct files *f, int fd, void *to, uint64_t len);
int64_t files_write(struct files *f, int fd, const void *from, uint64_t len);
int64_t files_seek(struct files *f, int fd, int64_t offset, int whence);
int files_unlink(struct files *f, const char *path);
int files_mkdir(struct files *f, const char *path, unsigned int mode);
int files_stat(struct files *f, const char *path, bool follow, struct stat *st);
int files_fstat(struct files *f, int fd, struct stat *st);

/* As getdents64(2): records of struct linux_dirent64.  0: the end. */
int64_t files_list(struct files *f, int fd, void *to, uint64_t len);

#endif
