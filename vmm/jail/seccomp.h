/* SPDX-License-Identifier: Apache-2.0 */
/* The table of rules.h as a filter of the kernel's. */
#ifndef HG_JAIL_SECCOMP_H
#define HG_JAIL_SECCOMP_H

#include "error.h"
#include "jail/rules.h"

/* Confines the calling thread, and those it makes.  no_new_privs is set.  0, or -1 and *e. */
int seccomp_enter(enum thread_class who, struct error *e);

#endif
