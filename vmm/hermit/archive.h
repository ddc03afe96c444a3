/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Hermit image archive: a tar file in gzip with a hermit.toml in it (hermit-entry's config.rs).
 * It is unpacked into memory as a whole, once; its files are what the guest sees read-only.
 *
 * Member names are hostile: they only ever become keys of a table, never paths of the host.
 */
#ifndef HG_HERMIT_ARCHIVE_H
#define HG_HERMIT_ARCHIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "boot/boot.h"
#include "error.h"

#define ARCHIVE_MAX_BYTES   (512ull << 20) /* unpacked */
#define ARCHIVE_MAX_ENTRIES 16384	   /* files and folders */
#define ARCHIVE_MAX_PATH    1024	   /* as a guest's path, with the NUL */

struct archive_entry {
	const char *path; /* without a slash at either end; "" is the root */
	uint64_t offset, size;
	bool folder;
	unsigned int mode;  /* permissions, without those to write */
	unsigned int order; /* in the archive: of two with one name the later one counts */
};

struct archive {
	int fd; /* of the unpacked tar, a memfd */
	const uint8_t *data;
	uint64_t size;
	struct archive_entry *entries; /* sorted by path */
	unsigned int count;
};

/* Unpacks f and reads its table of contents.  0, or -1 and *e (of one line, one of a bomb too). */
int archive_open(struct archive *a, const struct boot_file *f, struct error *e);
void archive_close(struct archive *a);

/* The table of contents of a tar (POSIX.1-1988 ustar; pax and GNU's long names) at a->data. */
int archive_index(struct archive *a, const char *name, struct error *e);

/* `path` as the table has it: no "//", "." or ".."; -1: too long, or it leads above the root. */
int archive_clean(const char *path, char clean[ARCHIVE_MAX_PATH]);

/* By a clean path; NULL: there is none. */
const struct archive_entry *archive_find(const struct archive *a, const char *clean);

/* The first entry directly in a folder at or behind *index, which is left behind it; NULL: none. */
const struct archive_entry *archive_next(const struct archive *a,
					 const struct archive_entry *folder, uint64_t *index);

#endif
