/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starts virtiofsd, the program that serves a host folder over vhost-user: the one of QEMU up
 * to 7.x (written in C) or its successor (in Rust).  It ends when our end of its socket does.
 */
#ifndef HG_VIRTIO_VIRTIOFSD_H
#define HG_VIRTIO_VIRTIOFSD_H

#include "error.h"
#include "options.h"

/*
 * `program` NULL: the first one found.  `folder` is where the socket is made and removed again
 * (NULL: /tmp).  Returns the connected socket, with *log_fd (not blocking) what the daemon says;
 * or -1 and *e.
 */
int virtiofsd_start(const struct share_config *share, const char *program, const char *folder,
		    int *log_fd, struct error *e);

#endif
