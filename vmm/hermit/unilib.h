/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unilib-FS: Unishyper's files by hypercall, as of its libs/unilib (hvc.rs, fs.rs).  There a call
 * is an HVC of aarch64 with three arguments in x0 to x2 and in x7 the mode, 0x12 << 8 | event; its
 * result comes back in x0.  On x86 Unishyper has no way to make such a call, so that the way is
 * ours: the arguments in a block in RAM, which an OUT names.
 *
 *	out dx, eax	DX = UNILIB_PORT, EAX = the block's GPA (RDI for interfaces 2 and 3)
 *
 *	event	     arguments			   result (-errno: it failed)
 *	0 init	     -				   0; has to be the first one
 *	1 open	     path, its length, flags	   a descriptor
 *	2 close	     descriptor			   0
 *	3 read	     descriptor, buffer, length	   bytes, 0 at the end
 *	4 write	     descriptor, buffer, length	   bytes
 *	5 lseek	     descriptor, offset, whence	   the new offset
 *	6 stat	     path, its length, buffer	   0; struct file_attr (hermit/params.h)
 *	7 unlink     path, its length		   0
 *
 * Paths and buffers are GPAs; flags are Linux's.  A path without a slash in front counts from
 * /unilibfs, which a mapping puts somewhere.  Unishyper has named stat and unlink, but not yet
 * said their arguments.
 */
#ifndef HG_HERMIT_UNILIB_H
#define HG_HERMIT_UNILIB_H

#include <stdbool.h>
#include <stdint.h>

#include "hermit/files.h"
#include "hermit/params.h"
#include "memory.h"

#define UNILIB_PORT 0x1300
#define UNILIB_ROOT "/unilibfs"

/* Serves a call that was copied out of RAM; *ready is the guest's, false at first.  The result. */
int64_t unilib_serve(bool *ready, struct files *files, const struct guest_memory *m,
		     const struct unilib_call *c);

#endif
