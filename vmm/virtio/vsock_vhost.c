// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <linux/vhost.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_vsock.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "log.h"
#include "virtio/vhost.h"
#include "virtio/vsock.h"

#define DEVICE "/dev/vhost-vsock"

struct vsock_vhost {
	struct virtio_dev dev; /* first: a virtio_dev pointer is ours */
	struct vhost vhost;    /* queues 0 and 1; 2, for events, has nothing to tell */
	struct virtio_vsock_config config;
};

static void set_running(struct vsock_vhost *v, int on)
{
	ioctl(v->vhost.fd, VHOST_VSOCK_SET_RUNNING, &on);
}

static void vsock_activate(struct virtio_dev *dev)
{
	struct vsock_vhost *v = (struct vsock_vhost *)dev;
	uint64_t features = vhost_ring_features(&v->vhost);

	features |= dev->driver_features & v->vhost.features & 1ull << VIRTIO_VSOCK_F_SEQPACKET;
	if (vhost_start(&v->vhost, features)) {
		log_line("virtio-vsock: " DEVICE ": %s", strerror(errno));
		virtio_break(dev, "the kernel did not take its queues");
		return;
	}
	set_running(v, 1);
}

static void vsock_notify(struct virtio_dev *dev, unsigned int queue)
{
	if (queue < 2)
		vhost_kick(&((struct vsock_vhost *)dev)->vhost, queue);
}

static void vsock_reset(struct virtio_dev *dev)
{
	struct vsock_vhost *v = (struct vsock_vhost *)dev;

	if (!v->vhost.running)
		return;
	set_running(v, 0);
	vhost_stop(&v->vhost);
}

static void vsock_destroy(struct virtio_dev *dev)
{
	struct vsock_vhost *v = (struct vsock_vhost *)dev;

	vsock_reset(dev);
	vhost_close(&v->vhost);
	virtio_end(dev);
	free(v);
}

static const char *vsock_cannot_save(const struct virtio_dev *dev)
{
	(void)dev;
	return "the host's kernel keeps its connections (--vsock with socket= can be saved)";
}

static const struct virtio_ops vsock_ops = {
	.id = VIRTIO_ID_VSOCK,
	.name = "vsock",
	.nqueues = 3,
	.queue_size = 256,
	.activate = vsock_activate,
	.notify = vsock_notify,
	.reset = vsock_reset,
	.destroy = vsock_destroy,
	.cannot_save = vsock_cannot_save,
};

struct virtio_dev *vsock_vhost_create(const struct guest_memory *mem, struct loop *loop,
				      uint64_t cid, struct error *e)
{
	struct vsock_vhost *v = calloc(1, sizeof(*v));

	if (!v || virtio_init(&v->dev, &vsock_ops, mem, loop)) {
		error_set(e, ERROR_MACHINE, "virtio-vsock: %s", strerror(errno));
		free(v);
		return NULL;
	}
	v->config.guest_cid = cid;
	v->dev.config = (uint8_t *)&v->config;
	v->dev.config_len = sizeof(v->config);
	v->dev.split_only = true;
	if (vhost_open(&v->vhost, DEVICE, &v->dev, 0, 2, e)) {
		error_set(e, ERROR_MACHINE,
			  "--vsock: " DEVICE ": %s (vhost_vsock in the kernel? socket=PATH works "
			  "without)",
			  strerror(errno));
		free(v);
		return NULL;
	}
	if (ioctl(v->vhost.fd, VHOST_VSOCK_SET_GUEST_CID, &cid)) {
		error_set(e, ERROR_USER, "--vsock: cid %llu: %s%s", (unsigned long long)cid,
			  strerror(errno), errno == EADDRINUSE ? " (another VM has it)" : "");
		return NULL;
	}
	v->dev.features |= v->vhost.features & 1ull << VIRTIO_VSOCK_F_SEQPACKET;
	return &v->dev;
}

struct virtio_dev *vsock_create(const struct guest_memory *mem, struct loop *loop,
				const struct vsock_config *cfg, struct error *e)
{
	return cfg->socket ? vsock_unix_create(mem, loop, cfg, e)
			   : vsock_vhost_create(mem, loop, cfg->cid, e);
}
