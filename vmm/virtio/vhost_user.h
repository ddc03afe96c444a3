/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The front end of vhost-user (QEMU's docs/interop/vhost-user.rst): all queues of a virtio
 * device are served by another process, which maps guest RAM (it must be a memfd) and is
 * connected to KVM by the eventfds of virtio/notifiers.h.  Messages go over a Unix socket.
 *
 * Every wait for an answer is bounded by VHOST_USER_TIMEOUT.  A back end that hangs up, does
 * not answer or answers nonsense is lost: it is told to the device once, and from then on
 * kicks arrive at the device, which has to end the guest's requests itself.
 */
#ifndef HG_VIRTIO_VHOST_USER_H
#define HG_VIRTIO_VHOST_USER_H

#include "error.h"
#include "virtio/device.h"
#include "virtio/notifiers.h"

#define VHOST_USER_TIMEOUT 10 /* seconds */

struct vhost_user {
	struct virtio_dev *dev;
	struct loop_source sock;
	uint64_t features; /* what the back end can, virtio's numbers */
	uint64_t protocol; /* VHOST_USER_PROTOCOL_F_* in use */
	bool running, lost;
	const char *why; /* it was lost: "it hung up", ... */
	void (*on_loss)(struct virtio_dev *dev);
	struct loop_source kicks[VIRTIO_MAX_QUEUES]; /* watched once the back end is lost */
};

/*
 * Agrees with the back end at the connected socket `fd`, which is ours from now on, and masks
 * dev->features by what it can.  After virtio_init().  0, or -1 and *e.
 */
int vhost_user_open(struct vhost_user *v, int fd, struct virtio_dev *dev, struct error *e);
void vhost_user_close(struct vhost_user *v);

/* At DRIVER_OK: hands RAM and the rings over.  A failure is a loss. */
void vhost_user_start(struct vhost_user *v);

/* At reset: the back end has let go of the rings when this returns, or is lost. */
void vhost_user_stop(struct vhost_user *v);

#endif
