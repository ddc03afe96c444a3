/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that only the start needed. */
#ifndef HG_FOOTPRINT_H
#define HG_FOOTPRINT_H

/*
 * Unmaps the pages of the program's and its libraries' files: a start runs through two thirds of
 * a MiB of libc, each fault of which maps 16 pages, and a running VM needs a tenth of it.  What is
 * used again is found in the page cache.
 */
void footprint_forget_start(void);

#endif
