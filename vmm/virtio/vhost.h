/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queues of a virtio device that the host's kernel serves (vhost; linux/vhost.h): what
 * vhost-net and vhost-vsock have in common.  The life of one:
 *
 *   vhost_open()    while the program may still open files; before the machine is built
 *   vhost_start()   at DRIVER_OK; then the device's own "go" (VHOST_NET_SET_BACKEND, ...)
 *   vhost_stop()    after the device's own "halt", at reset; the kernel has let go of the
 *                   rings and of guest RAM, and dev->queues[] say how far it came
 *   vhost_close()
 *
 * Start after stop goes on where it stopped: for a pause, a snapshot, or a change of hands.
 */
#ifndef HG_VIRTIO_VHOST_H
#define HG_VIRTIO_VHOST_H

#include "error.h"
#include "virtio/device.h"
#include "virtio/notifiers.h"

struct vhost {
	struct virtio_dev *dev;
	int fd;
	unsigned int first, count; /* dev->queues[first, first + count) are vring 0, 1, ... */
	uint64_t features;	   /* what the kernel can, virtio's numbers and its own */
	bool running;
	struct loop_source errors; /* an eventfd: the kernel refused something in a ring */
};

/*
 * Opens `path` (/dev/vhost-net, ...) for these queues and tells it where guest RAM is.  0, or
 * -1 with errno and *e (ERROR_MACHINE): ENOENT, ENXIO or ENODEV the kernel has none, EACCES
 * it is not for us.
 */
int vhost_open(struct vhost *v, const char *path, struct virtio_dev *dev, unsigned int first,
	       unsigned int count, struct error *e);
void vhost_close(struct vhost *v);

/*
 * Hands over the rings that are ready, with `features` (VHOST_F_* and the VIRTIO_* among
 * v->features that were negotiated).  0; or -1 with errno, then nothing was handed over.
 */
int vhost_start(struct vhost *v, uint64_t features);
void vhost_stop(struct vhost *v);

/* What the driver and the kernel both know of the features that concern rings. */
uint64_t vhost_ring_features(const struct vhost *v);

/* For ops->notify(): a kick that KVM did not take, the one after DRIVER_OK for instance. */
static inline void vhost_kick(const struct vhost *v, unsigned int queue)
{
	notifiers_kick(v->dev, queue);
}

#endif
