// SPDX-License-Identifier: Apache-2.0
#include "virtio/rng.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* One request is filled up to here; a driver that wants more asks again. */
#define MAX_BYTES 4096

static void rng_notify(struct virtio_dev *dev, unsigned int queue)
{
	struct vq *q = &dev->queues[queue];
	uint8_t bytes[MAX_BYTES];
	static struct vq_chain c; /* under the VM's lock; too big for a thread's stack */
	unsigned int round;
	size_t want;
	int r = 0;

	for (round = 0; round < q->size && (r = vq_pop(q, &c)) > 0; round++) {
		want = c.write_len < sizeof(bytes) ? c.write_len : sizeof(bytes);
		if (want && getrandom(bytes, want, 0) != (ssize_t)want)
			want = 0;
		vq_push(q, c.head, iov_write(c.iov + c.nread, c.nwrite, 0, bytes, want));
	}
	virtio_finish(dev, q, r);
}

static void rng_destroy(struct virtio_dev *dev)
{
	virtio_end(dev);
	free(dev);
}

static const struct virtio_ops rng_ops = {
	.id = VIRTIO_ID_RNG,
	.name = "rng",
	.nqueues = 1,
	.queue_size = 16,
	.notify_inline = true,
	.notify = rng_notify,
	.destroy = rng_destroy,
};

struct virtio_dev *rng_create(const struct guest_memory *mem, struct loop *loop, struct error *e)
{
	struct virtio_dev *dev = calloc(1, sizeof(*dev));

	if (!dev || virtio_init(dev, &rng_ops, mem, loop)) {
		error_set(e, ERROR_MACHINE, "virtio-rng: %s", strerror(errno));
		free(dev);
		return NULL;
	}
	return dev;
}
