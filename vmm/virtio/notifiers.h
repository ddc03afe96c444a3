/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Eventfds that connect queues of a device straight to whoever serves them outside this
 * program: the kernel's vhost (virtio/vhost.c) or a vhost-user back end.  KVM signals a
 * queue's `kick` when the guest notifies it (an ioeventfd), and interrupts the guest when
 * `call` is signalled (an irqfd); this program sees neither.
 *
 * Nobody here knows when such a queue was used; that InterruptStatus says so all the time
 * (virtio/window.h) is why it works.
 */
#ifndef HG_VIRTIO_NOTIFIERS_H
#define HG_VIRTIO_NOTIFIERS_H

#include <stdbool.h>
#include <stdint.h>

#include "virtio/device.h"

struct virtio_notifiers {
	int call;
	int kick[VIRTIO_MAX_QUEUES]; /* -1: served here: notify() runs in the vCPU that kicked */
};

/*
 * Makes them for queues [first, first + count) of a device that exists already but is not in
 * a machine yet; a second call adds queues.  0, or -1 with errno.
 */
int notifiers_create(struct virtio_dev *dev, unsigned int first, unsigned int count);
void notifiers_destroy(struct virtio_dev *dev); /* those of dev, if it has some */

/* Registers kicks and call with a new KVM VM.  0, or -1 with errno. */
int notifiers_connect(const struct virtio_dev *dev, int vm_fd, uint64_t window_gpa);

/* From now on (until false) interrupts come from outside too. */
void notifiers_activate(struct virtio_dev *dev, bool on);

/* Kicks the outside as the guest does; and interrupts the guest as the outside does. */
void notifiers_kick(const struct virtio_dev *dev, unsigned int queue);
void notifiers_call(const struct virtio_dev *dev);

#endif
