// SPDX-License-Identifier: Apache-2.0
#include "virtio/net.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "log.h"

#define HEADER_SIZE sizeof(struct virtio_net_hdr_v1) /* 12: VERSION_1 always has num_buffers */

/* Header, Ethernet with a VLAN tag, and the largest segment that offload can ask for. */
#define MAX_FRAME (HEADER_SIZE + 18 + 65535)

enum { RX, TX };

struct net {
	struct virtio_dev dev; /* first: a virtio_dev pointer is ours */
	struct loop_source tap;
	bool watching; /* the loop waits for packets */
	bool gone;     /* the tap was deleted: the link stays down */
	bool is_tap;
	struct virtio_net_config config;
	struct net_stats stats;
	struct vq_chain chain;
};

static void watch(struct net *n, bool on)
{
	if (n->watching != on && !n->gone)
		loop_change(n->dev.loop, &n->tap, on ? EPOLLIN : 0);
	n->watching = on;
}

static void transmit(struct net *n)
{
	struct vq *q = &n->dev.queues[TX];
	struct vq_chain *c = &n->chain;
	unsigned int round;
	ssize_t sent;
	int r = 0;

	for (round = 0; round < q->size && (r = vq_pop(q, c)) > 0; round++) {
		sent = -1;
		if (c->read_len > HEADER_SIZE && c->read_len <= MAX_FRAME)
			sent = writev(n->tap.fd, c->iov, c->nread);
		if (sent < 0) {
			/* A full or downed link loses packets, as links do. */
			n->stats.tx_dropped++;
		} else {
			n->stats.tx_packets++;
			n->stats.tx_bytes += sent - HEADER_SIZE;
		}
		vq_push(q, c->head, 0);
	}
	virtio_finish(&n->dev, q, r);
}

/* One packet into one chain.  False: no packet there. */
static bool receive_one(struct net *n, struct vq *q, struct vq_chain *c)
{
	static const uint16_t one_buffer = 1;
	ssize_t got;

	got = readv(n->tap.fd, c->iov + c->nread, c->nwrite);
	if (got < (ssize_t)HEADER_SIZE) {
		if (got < 0 && errno != EAGAIN && errno != EINTR)
			watch(n, false); /* the tap was taken down or away */
		vq_unpop(q, c);
		return false;
	}
	iov_write(c->iov + c->nread, c->nwrite, offsetof(struct virtio_net_hdr_v1, num_buffers),
		  &one_buffer, sizeof(one_buffer));
	n->stats.rx_packets++;
	n->stats.rx_bytes += got - HEADER_SIZE;
	vq_push(q, c->head, got);
	return true;
}

static void receive(struct net *n)
{
	struct vq *q = &n->dev.queues[RX];
	struct vq_chain *c = &n->chain;
	unsigned int round;
	int r = 0;

	for (round = 0; round < q->size; round++) {
		r = vq_pop(q, c);
		/* No buffers: stop listening until the guest brings some, or the loop would spin.
		 */
		if (r == 0 && !vq_arm(q)) {
			watch(n, false);
			break;
		}
		if (r > 0 && !c->nwrite) {
			q->complaint = "a receive buffer is not writable";
			q->broken = true;
			r = -1;
		}
		if (r < 0) {
			watch(n, false);
			virtio_break(&n->dev, q->complaint);
			return;
		}
		if (r > 0 && !receive_one(n, q, c))
			break;
	}
	virtio_signal(&n->dev, q);
}

/*
 * The tap was deleted under us.  Its descriptor reports an error from now on, whatever is
 * watched, so it has to leave the loop; the guest sees the cable pulled.
 */
static void lose_link(struct net *n)
{
	n->gone = true;
	loop_remove(n->dev.loop, &n->tap);
	n->config.status &= ~VIRTIO_NET_S_LINK_UP;
	log_line("virtio-net: the tap is gone");
	virtio_config_changed(&n->dev);
}

static void on_tap(void *arg, uint32_t events)
{
	struct net *n = arg;

	if (events & (EPOLLERR | EPOLLHUP))
		lose_link(n);
	else if (virtio_is_running(&n->dev))
		receive(n);
	else
		watch(n, false);
}

static void net_notify(struct virtio_dev *dev, unsigned int queue)
{
	struct net *n = (struct net *)dev;

	if (queue == TX)
		transmit(n);
	else
		watch(n, true); /* level triggered: packets that wait are seen at once */
}

static void net_activate(struct virtio_dev *dev)
{
	struct net *n = (struct net *)dev;
	unsigned int offload = 0;

	/* What the guest takes from us: only what it negotiated. */
	if (virtio_has(dev, VIRTIO_NET_F_GUEST_CSUM))
		offload |= TUN_F_CSUM;
	if (n->is_tap)
		ioctl(n->tap.fd, TUNSETOFFLOAD, offload);
}

static void net_reset(struct virtio_dev *dev)
{
	watch((struct net *)dev, false);
}

static void net_destroy(struct virtio_dev *dev)
{
	struct net *n = (struct net *)dev;

	if (!n->gone)
		loop_remove(dev->loop, &n->tap);
	loop_remove(dev->loop, &dev->kick);
	close(dev->kick.fd);
	close(n->tap.fd);
	free(n);
}

static const struct virtio_ops net_ops = {
	.id = VIRTIO_ID_NET,
	.name = "net",
	.nqueues = 2,
	.queue_size = 256,
	.activate = net_activate,
	.notify = net_notify,
	.reset = net_reset,
	.destroy = net_destroy,
};

struct virtio_dev *net_create_fd(const struct guest_memory *mem, struct loop *loop, int fd,
				 const uint8_t mac[6], struct error *e)
{
	struct net *n = calloc(1, sizeof(*n));

	if (!n || virtio_init(&n->dev, &net_ops, mem, loop)) {
		error_set(e, ERROR_MACHINE, "virtio-net: %s", strerror(errno));
		free(n);
		return NULL;
	}
	memcpy(n->config.mac, mac, 6);
	n->config.status = VIRTIO_NET_S_LINK_UP;
	n->dev.config = (uint8_t *)&n->config;
	n->dev.config_len = sizeof(n->config);
	n->dev.features |= 1ull << VIRTIO_NET_F_MAC | 1ull << VIRTIO_NET_F_STATUS |
			   1ull << VIRTIO_NET_F_CSUM | 1ull << VIRTIO_NET_F_GUEST_CSUM |
			   1ull << VIRTIO_NET_F_HOST_TSO4 | 1ull << VIRTIO_NET_F_HOST_TSO6 |
			   1ull << VIRTIO_NET_F_HOST_ECN;
	n->tap = (struct loop_source){.fd = fd, .fn = on_tap, .arg = n};
	if (loop_add(loop, &n->tap, 0)) {
		error_set(e, ERROR_MACHINE, "virtio-net: %s", strerror(errno));
		free(n);
		return NULL;
	}
	return &n->dev;
}

static int open_tap(const struct net_config *cfg, struct error *e)
{
	struct ifreq req = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	int fd, header = HEADER_SIZE;

	fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return error_set(e, ERROR_MACHINE, "/dev/net/tun: %s", strerror(errno));
	strcpy(req.ifr_name, cfg->tap);
	if (ioctl(fd, TUNSETIFF, &req) || ioctl(fd, TUNSETVNETHDRSZ, &header)) {
		error_set(e, ERROR_MACHINE, "tap %s: %s%s", cfg->tap, strerror(errno),
			  errno == EBUSY ? " (another VM has it)" : "");
		close(fd);
		return -1;
	}
	return fd;
}

static int join_and_up(const struct net_config *cfg, struct error *e)
{
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), r = 0;
	struct ifreq req = {0};

	if (s < 0)
		return error_set(e, ERROR_MACHINE, "tap %s: %s", cfg->tap, strerror(errno));
	strcpy(req.ifr_name, cfg->tap);
	if (cfg->bridge[0]) {
		struct ifreq bridge = {.ifr_ifindex = (int)if_nametoindex(cfg->tap)};

		strcpy(bridge.ifr_name, cfg->bridge);
		if (ioctl(s, SIOCBRADDIF, &bridge))
			r = error_set(e, ERROR_MACHINE, "cannot add tap %s to bridge %s: %s",
				      cfg->tap, cfg->bridge, strerror(errno));
	}
	req.ifr_flags = IFF_UP | IFF_RUNNING;
	if (!r && ioctl(s, SIOCSIFFLAGS, &req))
		r = error_set(e, ERROR_MACHINE, "cannot set tap %s up: %s", cfg->tap,
			      strerror(errno));
	close(s);
	return r;
}

struct virtio_dev *net_create(const struct guest_memory *mem, struct loop *loop,
			      const struct net_config *cfg, struct error *e)
{
	struct virtio_dev *dev;
	int fd = open_tap(cfg, e);

	if (fd < 0)
		return NULL;
	if (join_and_up(cfg, e)) {
		close(fd);
		return NULL;
	}
	dev = net_create_fd(mem, loop, fd, cfg->mac, e);
	if (dev)
		((struct net *)dev)->is_tap = true;
	else
		close(fd);
	return dev;
}

const struct net_stats *net_get_stats(const struct virtio_dev *dev)
{
	return &((const struct net *)dev)->stats;
}
