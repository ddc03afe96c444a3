/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The checksum of snapshots: of the state file as a whole and of every page of RAM.  Against
 * disks and copies that go wrong, not against forgers; built for speed, since all of the RAM in
 * a snapshot goes through it before the guest may run.
 *
 * A Fletcher sum over eight lanes of 64-bit words (as ZFS's fletcher4, wider), mixed: a change
 * goes unnoticed once in 2^64.
 */
#ifndef HG_SNAPSHOT_SUM_H
#define HG_SNAPSHOT_SUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SUM_PAGE 4096u

/* Of len bytes at any address; the length counts too. */
uint64_t sum_bytes(const void *data, size_t len);

/*
 * Of `pages` pages at data (aligned to 64 bytes), which are numbers first, first + 1, ... of
 * RAM.  Adds up: the sum of a RAM is that of its parts in any order, and a page of zeros adds
 * nothing, so that holes need not be read.
 */
uint64_t sum_pages(const void *data, uint64_t first, uint64_t pages);

/* Whether a page (aligned to 64 bytes) holds nothing but zeros. */
bool sum_is_zero(const void *page);

#endif
