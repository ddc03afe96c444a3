/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files of a guest's file calls: files.c, inner.c (an image's own files), scratch.c. */
#ifndef HG_HERMIT_FILES_PRIVATE_H
#define HG_HERMIT_FILES_PRIVATE_H

#include <pthread.h>

#include "hermit/archive.h"
#include "hermit/files.h"

struct mapping {
	char *guest; /* no slash at its end; "" is the root */
	int folder;  /* O_PATH; of a single file, the folder it lies in */
	char *name;  /* of a single file, else NULL */
	bool read_only;
	bool implied; /* nobody asked for it by its name: what an image holds comes first */
};

/*
 * One of the guest's descriptors.  A call of another vCPU may still use one that is being closed,
 * and the number of a host's descriptor must not become another's meanwhile: the last one closes.
 */
struct open_file {
	int host;			   /* the host's, or -1 */
	const struct archive_entry *inner; /* ... or this; neither: the descriptor is free */
	char *path;			   /* as the guest named it */
	int flags;			   /* of its open(), without those that make a file */
	uint64_t at;			   /* in a file its offset, in a folder an entry's number */
	unsigned int users;		   /* calls that use `host` now */
	bool closed;			   /* by the guest */
};

struct files {
	enum files_isolation isolation;
	struct mapping mappings[FILES_MAX_MAPPINGS + 1]; /* one more: scratch, or "/" itself */
	unsigned int nmappings;
	const struct archive *archive; /* NULL: none */
	char *scratch;		       /* NULL: none */
	int scratch_parent;	       /* the folder that it lies in */
	pthread_mutex_t lock;	       /* of open[] */
	struct open_file open[FILES_MAX_OPEN];
};

int files_add_mapping(struct files *f, const struct files_mapping *given, bool implied,
		      struct error *e);

/* scratch.c: a new folder in `parent` for what is not mapped; and its end, with all in it. */
int scratch_create(struct files *f, const char *parent, struct error *e);
void scratch_remove(struct files *f);

/* inner.c: what the image holds; those that take an open_file with f->lock held. */
/* NULL: it has nothing of that name. */
const struct archive_entry *inner_find(const struct files *f, const char *path);
int inner_check_open(const struct archive_entry *entry, int flags); /* 0 or -errno */
int64_t inner_read(const struct files *f, struct open_file *o, void *to, uint64_t len);
int64_t inner_seek(struct open_file *o, int64_t offset, int whence);
int64_t inner_list(const struct files *f, struct open_file *o, void *to, uint64_t len);
void inner_stat(const struct files *f, const struct archive_entry *entry, struct stat *st);

#endif
