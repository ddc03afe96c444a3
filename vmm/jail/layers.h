/* SPDX-License-Identifier: Apache-2.0 */
/* The parts that jail.c puts together, in the order of their use. */
#ifndef HG_JAIL_LAYERS_H
#define HG_JAIL_LAYERS_H

#include <stdbool.h>
#include <sys/types.h>

#include "jail/jail.h"
#include "options.h"

/* Remembers, for jail_report(), that a layer is not there, and errno as the reason. */
void jail_lacks(const char *layer);

/*
 * keeper.c.  Becomes the process that is to be the VMM: see there for which processes there
 * are.  Returns in it, with the descriptor to write one byte to when the VM runs, or -1.
 */
int keeper_start(const struct vm_config *cfg, char **argv);
/* From now on this process dies with its keeper, if it has one. */
void keeper_bind(void);

/* namespaces.c.  In the parent of the VMM: the child will be the first of a PID namespace. */
void namespaces_before_fork(void);
/*
 * All other namespaces, and the file system: what is left of it is the run directory, or an
 * empty one when run_dir is NULL; it is the working directory then.
 */
int namespaces_enter(const char *run_dir, struct error *e);

/*
 * landlock.c.  Nothing but to rename and remove in the working directory, and to use what lies
 * in the guest's folders.
 */
void landlock_enter(const struct jail_folder *folders, unsigned int count);

/* cgroup.c.  Makes the VM's control group and enters it; before guest RAM is touched. */
int cgroup_enter(const struct vm_config *cfg, struct error *e);
/* Its path, for who takes it away in the end; NULL: there is none. */
char *cgroup_path(const struct vm_config *cfg);

#endif
