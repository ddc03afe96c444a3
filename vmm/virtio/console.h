/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio console (virtio 1.2, section 5.3): one port, hvc0 in Linux, with the terminal's
 * size.  No multiport: the control queue would only cost exits.
 */
#ifndef HG_VIRTIO_CONSOLE_H
#define HG_VIRTIO_CONSOLE_H

#include "../console.h" /* not this file */
#include "virtio/device.h"

struct virtio_dev *virtio_console_create(const struct guest_memory *mem, struct loop *loop,
					 struct console *con, struct error *e);

/* Input from the console's writer has arrived (console_pending()): move what fits. */
void virtio_console_input(struct virtio_dev *dev);

/* The output has been written out: interrupt for the buffers that were taken meanwhile. */
void virtio_console_flushed(struct virtio_dev *dev);

/* Tells the guest the terminal's size. */
void virtio_console_resize(struct virtio_dev *dev, uint16_t cols, uint16_t rows);

#endif
