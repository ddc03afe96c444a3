/* SPDX-License-Identifier: Apache-2.0 */
/* Unpacks a gzip file (RFC 1952).  zlib does it, which is loaded when it is needed first. */
#ifndef HG_HERMIT_GZIP_H
#define HG_HERMIT_GZIP_H

#include <stdbool.h>
#include <stdint.h>

#include "boot/boot.h"
#include "error.h"

/* Whether f begins as a gzip file whose content is deflated. */
bool gzip_is(const struct boot_file *f);

/*
 * Writes what f holds to `to`, from its beginning: its first member, at most `max` bytes, which
 * are counted in *size.  0, or -1 and *e.
 */
int gzip_unpack(const struct boot_file *f, int to, uint64_t max, uint64_t *size, struct error *e);

#endif
