/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hermit.toml of an image archive (hermit-entry's config.rs): version = "1", kernel,
 * [input] kernel_args, app_args, env_vars, [requirements] memory, cpus.  Other keys are left
 * to later versions, as hermit-entry leaves them.
 */
#ifndef HG_HERMIT_MANIFEST_H
#define HG_HERMIT_MANIFEST_H

#include "hermit/archive.h"
#include "toml.h"

#define MANIFEST_MAX TOML_MAX_ITEMS

struct manifest {
	char *text;		   /* what all strings point into */
	bool version, has_args[2]; /* kernel_args, app_args: both have to be there */
	const char *kernel;
	const char *kernel_args[MANIFEST_MAX], *app_args[MANIFEST_MAX], *env[MANIFEST_MAX];
	unsigned int nkernel_args, napp_args, nenv;
	uint64_t memory; /* bytes that it needs at least; 0: it does not say */
	uint64_t cpus;
};

/* Reads the archive's hermit.toml; `name` is the archive's.  0, or -1 and *e. */
int manifest_read(struct manifest *m, const struct archive *a, const char *name, struct error *e);
void manifest_free(struct manifest *m);

/* "128MiB", "1 GB", "4096" (bytes), as byte-unit writes them.  0, or -1: it is none. */
int parse_byte_unit(const char *text, uint64_t *bytes);

#endif
