/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registers of the virtio-mmio devices as memory that the guest can read and not write:
 * a read costs it no exit.  Each device has one page; after all that can change a readable
 * register, virtio_publish() brings the page up to date.
 *
 * InterruptStatus there always has bit 0 (a queue was used): drivers then look at their
 * queues, which is all it asks for (virtio 1.2, 4.2.3.3), nobody has to set it before an
 * interrupt, and its acknowledgement need not come to us.  Bit 1 is exact.
 */
#ifndef HG_VIRTIO_WINDOW_H
#define HG_VIRTIO_WINDOW_H

#include "virtio/device.h"

/* `count` zeroed pages, or NULL with errno. */
void *windows_create(unsigned int count);

/* From now on the guest reads the device's registers at `page`. */
void window_attach(struct virtio_dev *dev, void *page);

/* Lets KVM take a write of 1 to InterruptACK: it goes to `nobody`, an eventfd.  0, or -1. */
int window_swallow_ack(int vm_fd, uint64_t window_gpa, int nobody);

#endif
