/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cage around a running VM: no_new_privs and a seccomp filter that knows every system
 * call and ioctl the VMM makes once all is opened, and kills the process for any other.
 * No file can be opened, no program run, no socket made from inside it.  All capabilities are
 * given up, and where the process had the right to, the run directory becomes its root.
 */
#ifndef HG_SANDBOX_H
#define HG_SANDBOX_H

#include "error.h"

/* Call while there is one thread; the ones made later inherit it.  run_dir NULL: none.  0, or -1
 * and *e. */
int sandbox_enter(const char *run_dir, struct error *e);

#endif
