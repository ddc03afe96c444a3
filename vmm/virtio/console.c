// SPDX-License-Identifier: Apache-2.0
#include "virtio/console.h"

#include <errno.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/format.h"

enum { RX, TX };

/* Bytes taken from one request, which may name gigabytes over and over, ... */
#define MAX_WRITE 65536u
/* ... and after which a kick is served on by the event loop: nobody waits long for the lock. */
#define MAX_ROUND 65536u

struct vcon {
	struct virtio_dev dev; /* first: a virtio_dev pointer is ours */
	struct console *con;
	struct virtio_console_config config;
	struct vq_chain chain; /* under the VM's lock */
};

static void transmit(struct vcon *v)
{
	struct vq *q = &v->dev.queues[TX];
	struct vq_chain *c = &v->chain;
	unsigned int i, round;
	size_t n, room, sum = 0;
	bool pushed = false;
	int r = 0;

	for (round = 0; round < q->size && sum < MAX_ROUND; round++) {
		r = vq_pop(q, c);
		if (r <= 0)
			break;
		for (i = 0, room = MAX_WRITE; i < c->nread && room; i++, room -= n) {
			n = c->iov[i].iov_len < room ? c->iov[i].iov_len : room;
			console_output(v->con, c->iov[i].iov_base, n);
		}
		vq_push(q, c->head, 0);
		pushed |= room < MAX_WRITE;
		sum += MAX_WRITE - room;
	}
	/*
	 * Linux sends hvc0's output 16 bytes at a time and spins for each; an interrupt for
	 * each would only cost it three more exits.  They come together, with the flush that
	 * console_output() has armed.
	 */
	if (r < 0 || !pushed || vq_arm(q))
		virtio_finish(&v->dev, q, r);
}

static void receive(struct vcon *v)
{
	struct vq *q = &v->dev.queues[RX];
	struct vq_chain *c = &v->chain;
	unsigned int i, round;
	size_t n, done;
	int r = 0;

	for (round = 0; round < q->size && console_pending(v->con); round++) {
		r = vq_pop(q, c);
		if (r <= 0)
			break;
		for (done = 0, i = c->nread; i < c->nread + c->nwrite; i++) {
			n = console_take(v->con, c->iov[i].iov_base, c->iov[i].iov_len);
			done += n;
			if (n < c->iov[i].iov_len)
				break;
		}
		vq_push(q, c->head, done);
	}
	/* Buffers without input are this queue's normal state: only input makes us look again. */
	if (r < 0 || console_pending(v->con))
		virtio_finish(&v->dev, q, r);
	else
		virtio_signal(&v->dev, q);
}

static void vcon_notify(struct virtio_dev *dev, unsigned int queue)
{
	struct vcon *v = (struct vcon *)dev;

	if (queue == TX)
		transmit(v);
	else
		receive(v);
}

void virtio_console_input(struct virtio_dev *dev)
{
	if (virtio_is_running(dev))
		receive((struct vcon *)dev);
}

void virtio_console_flushed(struct virtio_dev *dev)
{
	if (virtio_is_running(dev))
		virtio_signal(dev, &dev->queues[TX]);
}

void virtio_console_resize(struct virtio_dev *dev, uint16_t cols, uint16_t rows)
{
	struct vcon *v = (struct vcon *)dev;

	if (v->config.cols == cols && v->config.rows == rows)
		return;
	v->config.cols = cols;
	v->config.rows = rows;
	virtio_config_changed(dev);
}

/* The size that the guest knows: the terminal's, if it is another, comes as a change. */
static void vcon_save(const struct virtio_dev *dev, struct snap_out *out)
{
	const struct vcon *v = (const struct vcon *)dev;

	snap_put32(out, v->config.cols);
	snap_put32(out, v->config.rows);
}

static int vcon_load(struct virtio_dev *dev, struct snap_in *in, struct error *e)
{
	struct vcon *v = (struct vcon *)dev;

	(void)e;
	v->config.cols = snap_take32(in);
	v->config.rows = snap_take32(in);
	return 0;
}

static void vcon_destroy(struct virtio_dev *dev)
{
	virtio_end(dev);
	free(dev);
}

static const struct virtio_ops vcon_ops = {
	.id = VIRTIO_ID_CONSOLE,
	.name = "console",
	.nqueues = 2,
	.queue_size = 64,
	.notify_inline = true,
	.notify = vcon_notify,
	.destroy = vcon_destroy,
	.save = vcon_save,
	.load = vcon_load,
};

struct virtio_dev *virtio_console_create(const struct guest_memory *mem, struct loop *loop,
					 struct console *con, struct error *e)
{
	struct vcon *v = calloc(1, sizeof(*v));

	if (!v || virtio_init(&v->dev, &vcon_ops, mem, loop)) {
		error_set(e, ERROR_MACHINE, "virtio-console: %s", strerror(errno));
		free(v);
		return NULL;
	}
	v->con = con;
	v->config = (struct virtio_console_config){.cols = 80, .rows = 24, .max_nr_ports = 1};
	v->dev.features |= 1ull << VIRTIO_CONSOLE_F_SIZE;
	v->dev.config = (uint8_t *)&v->config;
	v->dev.config_len = sizeof(v->config);
	return &v->dev;
}
