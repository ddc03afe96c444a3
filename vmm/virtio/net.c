// SPDX-License-Identifier: Apache-2.0
#include "virtio/net.h"

#include <errno.h>
#include <linux/vhost.h>
#include <linux/virtio_ids.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "log.h"
#include "snapshot/format.h"
#include "virtio/net_device.h"

#define QUEUE_SIZE 256

/* What the driver takes from us beyond plain packets; all of it is the tap's work. */
#define GUEST_OFFLOADS                                                                             \
	(1ull << VIRTIO_NET_F_GUEST_CSUM | 1ull << VIRTIO_NET_F_GUEST_TSO4 |                       \
	 1ull << VIRTIO_NET_F_GUEST_TSO6 | 1ull << VIRTIO_NET_F_GUEST_ECN |                        \
	 1ull << VIRTIO_NET_F_GUEST_UFO | 1ull << NET_F_GUEST_USO4 | 1ull << NET_F_GUEST_USO6)

void net_watch(struct net_pair *p, uint32_t events)
{
	if (p->watched != events && p->in_loop)
		loop_change(p->net->dev.loop, &p->source, events);
	p->watched = events;
}

/* --- the kernel's side: vhost-net --- */

static int set_backend(const struct net_pair *p, unsigned int ring, int fd)
{
	struct vhost_vring_file file = {.index = ring, .fd = fd};

	return ioctl(p->vhost.fd, VHOST_NET_SET_BACKEND, &file);
}

static void stop_vhost(struct net *n)
{
	unsigned int i;

	for (i = 0; n->vhost && i < n->npairs; i++) {
		if (!n->pairs[i]->vhost.running)
			continue;
		/* Waits until the kernel has let go of guest RAM. */
		set_backend(n->pairs[i], 0, -1);
		set_backend(n->pairs[i], 1, -1);
		vhost_stop(&n->pairs[i]->vhost);
	}
}

static int start_pair(struct net_pair *p)
{
	uint64_t features = vhost_ring_features(&p->vhost) |
			    (p->net->dev.driver_features & 1ull << VIRTIO_NET_F_MRG_RXBUF);

	if (!net_rx(p)->ready || !net_tx(p)->ready)
		return 0; /* the driver uses fewer pairs */
	if (vhost_start(&p->vhost, features))
		return -1;
	return set_backend(p, 0, p->source.fd) || set_backend(p, 1, p->source.fd) ? -1 : 0;
}

static void start_vhost(struct net *n)
{
	unsigned int i;

	for (i = 0; n->vhost && !n->gone && i < n->npairs; i++) {
		if (start_pair(n->pairs[i])) {
			log_line("vhost-net: %s", strerror(errno));
			virtio_break(&n->dev, "vhost-net cannot serve the rings");
			return;
		}
	}
}

static int open_vhost(struct net *n, struct error *e)
{
	unsigned int i;

	for (i = 0; i < n->npairs; i++)
		if (vhost_open(&n->pairs[i]->vhost, "/dev/vhost-net", &n->dev, 2 * i, 2, e))
			return -1;
	return 0;
}

/* It is used wherever it can be had, unless packets are limited or captured: it does neither. */
static int use_vhost(struct net *n, const struct net_config *cfg, struct error *e)
{
	bool limited = n->rx_limit.limited || n->tx_limit.limited;

	if (cfg->no_vhost || cfg->capture || (limited && !cfg->need_vhost))
		return 0;
	n->vhost = !open_vhost(n, e);
	if (n->vhost || cfg->need_vhost)
		return n->vhost ? 0 : -1;
	for (unsigned int i = 0; i < n->npairs; i++)
		vhost_close(&n->pairs[i]->vhost);
	notifiers_destroy(&n->dev);
	n->dev.split_only = false;
	return 0;
}

/* --- links --- */

/*
 * The backend died under us.  Its descriptors report an error from now on, whatever is
 * watched, so they have to leave the loop; the guest sees the cable pulled.
 */
void net_lose_link(struct net *n, const char *why)
{
	unsigned int i;

	if (n->gone)
		return;
	n->gone = true;
	log_line("virtio-net: %s; the link is down", why);
	stop_vhost(n);
	for (i = 0; i < n->npairs; i++) {
		loop_remove(n->dev.loop, &n->pairs[i]->source);
		n->pairs[i]->in_loop = false;
		if (virtio_is_running(&n->dev))
			net_transmit(n->pairs[i]); /* gives back what waited, unsent */
	}
	n->config.status &= ~VIRTIO_NET_S_LINK_UP;
	virtio_config_changed(&n->dev);
}

static void on_source(void *arg, uint32_t events)
{
	struct net_pair *p = arg;
	struct net *n = p->net;

	if (events & (EPOLLERR | EPOLLHUP)) {
		net_lose_link(n, "the other side is gone");
		return;
	}
	if (!virtio_is_running(&n->dev) || n->vhost) {
		net_watch(p, 0);
		return;
	}
	if (events & EPOLLOUT) {
		net_watch(p, p->watched & ~EPOLLOUT);
		if (n->backend->writable)
			n->backend->writable(p);
		net_transmit(p);
	}
	if ((events & EPOLLIN) && !n->gone)
		net_receive(p);
}

static void on_rx_resume(void *arg)
{
	struct net *n = arg;
	unsigned int i;

	for (i = 0; i < n->active && virtio_is_running(&n->dev) && !n->gone; i++)
		net_receive(n->pairs[i]);
}

static void on_tx_resume(void *arg)
{
	struct net *n = arg;
	unsigned int i;

	for (i = 0; i < n->npairs && virtio_is_running(&n->dev); i++)
		net_transmit(n->pairs[i]);
}

/* --- the device --- */

/* Without MQ the control queue follows the first pair, else all that there are (5.1.2). */
static unsigned int control_queue(const struct net *n)
{
	return virtio_has(&n->dev, VIRTIO_NET_F_MQ) ? 2 * n->npairs : 2;
}

static void net_notify(struct virtio_dev *dev, unsigned int queue)
{
	struct net *n = (struct net *)dev;
	struct net_pair *p;

	if (queue == control_queue(n) && virtio_has(dev, VIRTIO_NET_F_CTRL_VQ)) {
		net_control(n, &dev->queues[queue]);
		return;
	}
	if (queue >= 2 * n->npairs)
		return;
	p = n->pairs[queue / 2];
	if (n->vhost && !n->gone)
		vhost_kick(&p->vhost, queue);
	else if (queue & 1)
		net_transmit(p);
	else if (!n->gone)
		net_receive(p);
}

int net_set_pairs(struct net *n, unsigned int active)
{
	if (n->backend->set_pairs && !n->gone && n->backend->set_pairs(n, active))
		return -1;
	n->active = active;
	virtio_kick_later(&n->dev); /* those that came into use may have buffers already */
	return 0;
}

static void set_filter_off(struct net *n)
{
	n->filter = (struct net_filter){.promiscuous = true};
	if (n->backend->set_filter && !n->gone)
		n->backend->set_filter(n, &n->filter);
}

static void net_activate(struct virtio_dev *dev)
{
	struct net *n = (struct net *)dev;

	/* What the guest takes from us: only what it negotiated. */
	if (n->backend->set_offloads && !n->gone)
		n->backend->set_offloads(n, dev->driver_features & GUEST_OFFLOADS);
	start_vhost(n);
}

static void forget_guest(struct net *n)
{
	unsigned int i;

	stop_vhost(n);
	for (i = 0; i < n->npairs; i++) {
		net_watch(n->pairs[i], 0);
		net_forget(n->pairs[i]);
	}
}

static void net_reset(struct virtio_dev *dev)
{
	struct net *n = (struct net *)dev;

	forget_guest(n);
	memcpy(n->config.mac, n->mac, 6);
	if (!n->filter.promiscuous)
		set_filter_off(n);
	/* 5.1.6.5.6: after a reset one pair is in use. */
	if (n->active != 1 && n->backend->set_pairs && !n->gone)
		n->backend->set_pairs(n, 1);
	n->active = 1;
}

static void net_quiesce(struct virtio_dev *dev)
{
	struct net *n = (struct net *)dev;
	unsigned int i;

	stop_vhost(n);
	/* Without rings no packet gets into RAM; whoever has the device instead listens on. */
	for (i = 0; i < n->npairs && virtio_is_running(dev); i++)
		net_watch(n->pairs[i], 0); /* a packet that is held stays held */
}

static void net_resume(struct virtio_dev *dev)
{
	if (virtio_is_running(dev))
		start_vhost((struct net *)dev);
}

/* What the driver has set, and the address that its guest goes by. */
static void net_save(const struct virtio_dev *dev, struct snap_out *out)
{
	const struct net *n = (const struct net *)dev;
	const struct net_filter *f = &n->filter;

	snap_put32(out, n->active);
	snap_put32(out, f->promiscuous | f->all_multicast << 1 | f->overflow << 2);
	snap_put32(out, f->count);
	snap_put(out, f->macs, sizeof(f->macs));
	snap_put(out, n->config.mac, sizeof(n->config.mac));
}

static int net_load(struct virtio_dev *dev, struct snap_in *in, struct error *e)
{
	struct net *n = (struct net *)dev;
	uint32_t active = snap_take32(in), flags = snap_take32(in), count = snap_take32(in);

	n->filter = (struct net_filter){.promiscuous = flags & 1,
					.all_multicast = flags >> 1 & 1,
					.overflow = flags >> 2 & 1,
					.count = count};
	snap_take_to(in, n->filter.macs, sizeof(n->filter.macs));
	snap_take_to(in, n->config.mac, sizeof(n->config.mac));
	if (in->bad || !active || active > n->npairs || count > NET_FILTER_MAX)
		return error_set(e, ERROR_USER, "is damaged: virtio-net");
	if (n->backend->set_filter && !n->gone)
		n->backend->set_filter(n, &n->filter);
	if (active != n->active && net_set_pairs(n, active))
		return error_set(e, ERROR_MACHINE, "has %u pairs of queues, which the tap refuses",
				 active);
	return 0;
}

static void net_destroy(struct virtio_dev *dev)
{
	struct net *n = (struct net *)dev;
	unsigned int i;

	for (i = 0; i < n->npairs; i++) {
		if (!n->pairs[i])
			continue;
		if (n->vhost) {
			set_backend(n->pairs[i], 0, -1);
			set_backend(n->pairs[i], 1, -1);
			vhost_close(&n->pairs[i]->vhost);
		}
		if (n->pairs[i]->in_loop)
			loop_remove(dev->loop, &n->pairs[i]->source);
		if (n->pairs[i]->source.fd >= 0)
			close(n->pairs[i]->source.fd);
		free(n->pairs[i]);
	}
	capture_close(&n->capture);
	ratelimit_close(&n->rx_limit);
	ratelimit_close(&n->tx_limit);
	if (n->backend->destroy)
		n->backend->destroy(n);
	virtio_end(dev);
	free(n);
}

static const struct virtio_ops net_ops = {
	.id = VIRTIO_ID_NET,
	.name = "net",
	.queue_size = QUEUE_SIZE,
	.activate = net_activate,
	.notify = net_notify,
	.reset = net_reset,
	.destroy = net_destroy,
	.quiesce = net_quiesce,
	.resume = net_resume,
	.save = net_save,
	.load = net_load,
};

static int new_pairs(struct net *n)
{
	unsigned int i;

	for (i = 0; i < n->npairs; i++) {
		/* Zeroed, and its pages not touched before a packet needs them. */
		n->pairs[i] = calloc(1, sizeof(*n->pairs[i]));
		if (!n->pairs[i])
			return -1;
		n->pairs[i]->net = n;
		n->pairs[i]->index = i;
		n->pairs[i]->source =
			(struct loop_source){.fd = -1, .fn = on_source, .arg = n->pairs[i]};
		n->pairs[i]->vhost.fd = -1;
	}
	return 0;
}

static void fill_config(struct net *n, const struct net_config *cfg)
{
	memcpy(n->mac, cfg->mac, 6);
	memcpy(n->config.mac, cfg->mac, 6);
	n->config.status = VIRTIO_NET_S_LINK_UP;
	n->config.max_virtqueue_pairs = n->npairs;
	n->config.mtu = cfg->mtu;
	n->dev.config = (uint8_t *)&n->config;
	/* Speed and what follows belongs to features that are not offered. */
	n->dev.config_len = offsetof(struct virtio_net_config, speed);
	n->dev.features |= 1ull << VIRTIO_NET_F_MAC | 1ull << VIRTIO_NET_F_STATUS |
			   1ull << VIRTIO_NET_F_MRG_RXBUF | 1ull << VIRTIO_NET_F_CTRL_VQ |
			   1ull << VIRTIO_NET_F_CTRL_RX | 1ull << VIRTIO_NET_F_CTRL_MAC_ADDR;
	if (n->npairs > 1)
		n->dev.features |= 1ull << VIRTIO_NET_F_MQ;
	if (cfg->mtu)
		n->dev.features |= 1ull << VIRTIO_NET_F_MTU;
}

struct net *net_new(const struct guest_memory *mem, struct loop *loop, const struct net_config *cfg,
		    const struct net_backend *backend, struct error *e)
{
	struct net *n = calloc(1, sizeof(*n));

	if (!n) {
		error_set(e, ERROR_MACHINE, "virtio-net: %s", strerror(errno));
		return NULL;
	}
	n->backend = backend;
	n->npairs = cfg->pairs ? cfg->pairs : 1;
	n->active = 1;
	n->filter.promiscuous = true;
	n->dev.nqueues = 2 * n->npairs + 1;
	n->dev.kick_queues = 2 * n->npairs;
	n->dev.kick.fd = -1;
	n->messages.fd = n->capture.fd = -1;
	if (virtio_init(&n->dev, &net_ops, mem, loop) || new_pairs(n) ||
	    ratelimit_init(&n->rx_limit, loop, &cfg->rx, on_rx_resume, n) ||
	    ratelimit_init(&n->tx_limit, loop, &cfg->tx, on_tx_resume, n)) {
		error_set(e, ERROR_MACHINE, "virtio-net: %s", strerror(errno));
		net_destroy(&n->dev);
		return NULL;
	}
	if (cfg->capture && capture_open(&n->capture, cfg->capture, e)) {
		net_destroy(&n->dev);
		return NULL;
	}
	fill_config(n, cfg);
	return n;
}

int net_attach(struct net *n, unsigned int i, int fd, struct error *e)
{
	n->pairs[i]->source.fd = fd;
	if (loop_add(n->dev.loop, &n->pairs[i]->source, 0))
		return error_set(e, ERROR_MACHINE, "virtio-net: %s", strerror(errno));
	n->pairs[i]->in_loop = true;
	return 0;
}

struct virtio_dev *net_create(const struct guest_memory *mem, struct loop *loop,
			      const struct net_config *cfg, struct error *e)
{
	struct net *n;
	int fd;

	if (cfg->kind == NET_TAP) {
		n = net_tap_create(mem, loop, cfg, e);
		if (n && use_vhost(n, cfg, e)) {
			net_destroy(&n->dev);
			return NULL;
		}
		return n ? &n->dev : NULL;
	}
	fd = cfg->kind == NET_PASST ? net_passt_start(cfg, e) : net_stream_connect(cfg->socket, e);
	return fd < 0 ? NULL : net_create_stream(mem, loop, fd, cfg, e);
}

const struct net_stats *net_get_stats(const struct virtio_dev *dev)
{
	return &((const struct net *)dev)->stats;
}
