/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of the network device, shared by its files:
 *
 *   net.c         features, life cycle, links that go down
 *   net_queue.c   packets between the rings and a backend, in this program
 *   net_ctrl.c    the control queue
 *   net_tap.c     backend: a tap, one descriptor a pair of queues
 *   net_stream.c  backend: frames over a stream socket (passt)
 */
#ifndef HG_VIRTIO_NET_DEVICE_H
#define HG_VIRTIO_NET_DEVICE_H

#include <linux/virtio_net.h>

#include "ratelimit.h"
#include "virtio/capture.h"
#include "virtio/net.h"
#include "virtio/vhost.h"

/* 5.1.6: with VERSION_1 the header always has num_buffers: 12 bytes. */
#define NET_HEADER sizeof(struct virtio_net_hdr_v1)
/* Ethernet with a VLAN tag, and the largest segment that offload can make. */
#define NET_FRAME_MIN 14
#define NET_FRAME_MAX (18 + 65535)

/* linux/virtio_net.h of older systems lacks them (5.1.3). */
#define NET_F_GUEST_USO4 54
#define NET_F_GUEST_USO6 55
#define NET_F_HOST_USO	 56

struct net;

/* A receive queue (2 * index), a transmit queue (one more), and what is behind the two. */
struct net_pair {
	struct net *net;
	unsigned int index;
	struct loop_source source; /* the backend's descriptor */
	uint32_t watched;	   /* EPOLL bits that the loop looks for */
	bool in_loop;
	bool rx_dry;   /* the guest has no buffers: nothing is read until it brings some */
	bool tx_stuck; /* the backend takes nothing until EPOLLOUT */
	bool tx_noted; /* the packet that has to wait was captured already */
	struct vhost vhost;
	/*
	 * Behind the first chain of a packet, for its tail; or, `held` bytes, a whole packet that
	 * waits until the guest has enough buffers for it.
	 */
	uint32_t held;
	uint8_t rest[NET_HEADER + NET_FRAME_MAX];
};

/* What the driver wants to receive (5.1.6.5.1, 5.1.6.5.2). */
#define NET_FILTER_MAX 64 /* addresses; more of them switch the filter off */
struct net_filter {
	bool promiscuous, all_multicast;
	bool overflow; /* there were more addresses than fit: all may pass */
	unsigned int count;
	uint8_t macs[NET_FILTER_MAX][6];
};

struct net_backend {
	/*
	 * One packet with its header into iov.  Bytes, 0: none there now, -1: the backend is dead.
	 * A packet larger than iov is cut.
	 */
	ssize_t (*receive)(struct net_pair *p, const struct iovec *iov, unsigned int n);
	/* `len` bytes, header first.  1: on its way, 0: not now, EPOLLOUT tells; -1: dropped. */
	int (*send)(struct net_pair *p, struct iovec *iov, unsigned int n, size_t len);
	/* EPOLLOUT came.  May be NULL. */
	void (*writable)(struct net_pair *p);
	/* The rest is for taps and may be NULL. */
	int (*set_offloads)(struct net *n, uint64_t features); /* VIRTIO_NET_F_GUEST_*; 0 or -1 */
	void (*set_filter)(struct net *n, const struct net_filter *f);
	int (*set_pairs)(struct net *n, unsigned int active); /* 0 or -1 */
	void (*destroy)(struct net *n);
};

struct net {
	struct virtio_dev dev; /* first: a virtio_dev pointer is ours */
	const struct net_backend *backend;
	void *stream;		     /* of net_stream.c */
	struct loop_source messages; /* of net_tap.c: the tap was deleted */
	unsigned int npairs;	     /* offered */
	unsigned int active;	     /* in use */
	bool gone;		     /* the backend is dead: the link stays down */
	bool vhost;		     /* the kernel moves the packets */
	uint8_t mac[6];		     /* as configured; the driver may set another one until reset */
	struct virtio_net_config config;
	struct net_filter filter;
	struct ratelimit rx_limit, tx_limit;
	struct net_stats stats;
	struct capture capture;
	/* Scratch: of this packet, of its later parts, of a command. */
	struct vq_chain chain, more, command;
	struct net_pair *pairs[NET_MAX_PAIRS];
};

static inline struct vq *net_rx(struct net_pair *p)
{
	return &p->net->dev.queues[2 * p->index];
}

static inline struct vq *net_tx(struct net_pair *p)
{
	return &p->net->dev.queues[2 * p->index + 1];
}

/* net.c */
struct net *net_new(const struct guest_memory *mem, struct loop *loop, const struct net_config *cfg,
		    const struct net_backend *backend, struct error *e);
/* Gives pair i its descriptor, which is the device's from now on, also on failure. */
int net_attach(struct net *n, unsigned int i, int fd, struct error *e);
void net_watch(struct net_pair *p, uint32_t events);
void net_lose_link(struct net *n, const char *why);
int net_set_pairs(struct net *n, unsigned int active); /* 0 or -1 */

/* net_queue.c: a round over a queue, at most one ring's worth. */
void net_receive(struct net_pair *p);
void net_transmit(struct net_pair *p);
void net_forget(struct net_pair *p); /* at reset */
/* The backend's receive() and send(), with the capture of what goes through. */
ssize_t net_take(struct net_pair *p, const struct iovec *iov, unsigned int n);
int net_give(struct net_pair *p, struct iovec *iov, unsigned int n, size_t len);

/* net_ctrl.c */
void net_control(struct net *n, struct vq *q);

/* net_tap.c */
struct net *net_tap_create(const struct guest_memory *mem, struct loop *loop,
			   const struct net_config *cfg, struct error *e);

/* net_stream.c: takes fd over, a connected stream socket. */
struct net *net_stream_create(const struct guest_memory *mem, struct loop *loop,
			      const struct net_config *cfg, int fd, struct error *e);
int net_stream_connect(const char *path, struct error *e);

/* net_passt.c: starts passt; our end of its socket, or -1 and *e. */
int net_passt_start(const struct net_config *cfg, struct error *e);

#endif
