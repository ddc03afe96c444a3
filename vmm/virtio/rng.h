/* SPDX-License-Identifier: Apache-2.0 */
/* virtio entropy device (virtio 1.2, section 5.4), fed by getrandom(2). */
#ifndef HG_VIRTIO_RNG_H
#define HG_VIRTIO_RNG_H

#include "virtio/device.h"

/* NULL with *e filled when it cannot be made. */
struct virtio_dev *rng_create(const struct guest_memory *mem, struct loop *loop, struct error *e);

#endif
