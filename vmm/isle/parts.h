/* SPDX-License-Identifier: Apache-2.0 */
/* What isle.c is put together from. */
#ifndef HG_ISLE_PARTS_H
#define HG_ISLE_PARTS_H

#include <sched.h>
#include <stdbool.h>

#include "error.h"

/* --- cpus.c: sets of CPUs, below CPU_SETSIZE, as Linux writes them --- */

#define CPUS_TEXT 4096 /* bytes that hold any set, either way */

/* "0-3,8"; 0, or -1 for what is no list or names CPUs beyond the set. */
int cpus_parse(const char *text, cpu_set_t *set);
void cpus_print(const cpu_set_t *set, char text[CPUS_TEXT]);

/* "ff,ffffffff": 32 bits each, the highest CPUs first, as in /proc/irq. */
int cpus_parse_mask(const char *text, cpu_set_t *set);
void cpus_print_mask(const cpu_set_t *set, char text[CPUS_TEXT]);

/* First line of a small file, without its newline; 0, or -1 and errno. */
int isle_read(const char *path, char *text, size_t size);
/* Writes text to a file that exists.  0, or -1 and errno. */
int isle_write(const char *path, const char *text);

/* --- partition.c --- */

/* Makes the control group of isle `number`: an isolated partition of `cpus`. */
int partition_make(unsigned int number, const char *cpus, struct error *e);
/* Takes it away; its CPUs are the host's again. */
void partition_remove(unsigned int number);
/* Its cgroup.threads, for writing; -1 and errno. */
int partition_open(unsigned int number);

/* --- irqs.c --- */

/*
 * Lets interrupts come to `shared` CPUs only.  Where each was before is kept in the file `saved`,
 * as it was when the first isle came; with all CPUs shared again they are put back.
 */
void irqs_keep_to(const cpu_set_t *shared, bool all, const char *saved);

/* --- bridge.c --- */

#define ISLE_BRIDGE "isles"

/* Makes the bridge with the host's address, 192.168.28.1/24, unless it is there. */
int bridge_make(struct error *e);

#endif
