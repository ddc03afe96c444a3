/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio file system device (virtio 1.2, section 5.11): FUSE requests that virtiofsd, another
 * process, takes out of guest RAM and serves (virtio/vhost_user.h).
 *
 * When virtiofsd is lost, every request that it left behind and every later one is answered
 * here with ENOTCONN, as a FUSE daemon's death is on a host: the guest's calls end.
 */
#ifndef HG_VIRTIO_FS_H
#define HG_VIRTIO_FS_H

#include "options.h"
#include "virtio/device.h"

/* As fs_create_fd(), with a virtiofsd that is started or connected to as *share says. */
struct virtio_dev *fs_create(const struct guest_memory *mem, struct loop *loop,
			     const struct share_config *share, const char *virtiofsd,
			     const char *run_dir, struct error *e);

/*
 * The back end is at the connected socket `fd`; `log_fd` (-1: none) is what it says for the log.
 * Both are ours from now on.
 */
struct virtio_dev *fs_create_fd(const struct guest_memory *mem, struct loop *loop, const char *tag,
				int fd, int log_fd, struct error *e);

/* fn is called once if the back end is lost. */
void fs_on_loss(struct virtio_dev *dev, void (*fn)(void *arg, const char *tag), void *arg);

#endif
