// SPDX-License-Identifier: Apache-2.0
/* A tap behind the network device: one descriptor a pair of queues. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "virtio/net_device.h"

/* linux/if_tun.h before 6.2 lacks them. */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

/* How an offload of the driver's is called in TUNSETOFFLOAD. */
static const struct {
	unsigned int feature, tun;
} offloads[] = {
	{VIRTIO_NET_F_GUEST_CSUM, TUN_F_CSUM}, {VIRTIO_NET_F_GUEST_TSO4, TUN_F_TSO4},
	{VIRTIO_NET_F_GUEST_TSO6, TUN_F_TSO6}, {VIRTIO_NET_F_GUEST_ECN, TUN_F_TSO_ECN},
	{VIRTIO_NET_F_GUEST_UFO, TUN_F_UFO},   {NET_F_GUEST_USO4, TUN_F_USO4},
	{NET_F_GUEST_USO6, TUN_F_USO6},
};

#define BASIC_FEATURES                                                                             \
	(1ull << VIRTIO_NET_F_CSUM | 1ull << VIRTIO_NET_F_GUEST_CSUM |                             \
	 1ull << VIRTIO_NET_F_HOST_TSO4 | 1ull << VIRTIO_NET_F_HOST_TSO6 |                         \
	 1ull << VIRTIO_NET_F_HOST_ECN | 1ull << VIRTIO_NET_F_GUEST_TSO4 |                         \
	 1ull << VIRTIO_NET_F_GUEST_TSO6 | 1ull << VIRTIO_NET_F_GUEST_ECN |                        \
	 1ull << VIRTIO_NET_F_HOST_UFO | 1ull << VIRTIO_NET_F_GUEST_UFO |                          \
	 1ull << VIRTIO_NET_F_CTRL_GUEST_OFFLOADS)
#define USO_FEATURES (1ull << NET_F_HOST_USO | 1ull << NET_F_GUEST_USO4 | 1ull << NET_F_GUEST_USO6)

static ssize_t packet_receive(struct net_pair *p, const struct iovec *iov, unsigned int n)
{
	ssize_t got = readv(p->source.fd, iov, (int)n);

	return got < 0 ? 0 : got; /* a dead tap says so by EPOLLERR */
}

static int packet_send(struct net_pair *p, struct iovec *iov, unsigned int n, size_t len)
{
	(void)len;
	if (writev(p->source.fd, iov, (int)n) >= 0)
		return 1;
	return errno == EAGAIN ? 0 : -1;
}

static int set_offloads(struct net *n, uint64_t features)
{
	unsigned int tun = 0, i;

	for (i = 0; i < sizeof(offloads) / sizeof(offloads[0]); i++)
		if (features >> offloads[i].feature & 1)
			tun |= offloads[i].tun;
	return ioctl(n->pairs[0]->source.fd, TUNSETOFFLOAD, tun);
}

static void add_address(struct tun_filter *f, const uint8_t mac[6])
{
	memcpy(f->addr[f->count++], mac, 6);
}

/*
 * The tap looks at each packet before it wakes anybody.  It compares a few addresses and
 * hashes the others, which have to be groups' (linux/drivers/net/tun.c): ours goes first.
 */
static void set_filter(struct net *n, const struct net_filter *want)
{
	static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	union {
		struct tun_filter f;
		uint8_t room[sizeof(struct tun_filter) + 6 * (NET_FILTER_MAX + 2)];
	} u = {.f.flags = want->all_multicast ? TUN_FLT_ALLMULTI : 0};
	unsigned int i;

	if (!want->promiscuous && !want->overflow) {
		add_address(&u.f, n->config.mac);
		for (i = 0; i < want->count; i++)
			if (!(want->macs[i][0] & 1))
				add_address(&u.f, want->macs[i]);
		add_address(&u.f, broadcast);
		for (i = 0; i < want->count; i++)
			if (want->macs[i][0] & 1)
				add_address(&u.f, want->macs[i]);
	}
	/* An empty one lets all pass; so must one that the kernel cannot do. */
	if (ioctl(n->pairs[0]->source.fd, TUNSETTXFILTER, &u.f) < 0) {
		u.f.count = 0;
		ioctl(n->pairs[0]->source.fd, TUNSETTXFILTER, &u.f);
	}
}

/* A queue that is not in use is detached: the host would hand it packets that nobody takes. */
static int set_pairs(struct net *n, unsigned int active)
{
	struct ifreq req = {0};
	unsigned int i;

	for (i = 1; i < n->npairs; i++) {
		req.ifr_flags = i < active ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE;
		/* EINVAL: it is so already. */
		if (ioctl(n->pairs[i]->source.fd, TUNSETQUEUE, &req) && errno != EINVAL)
			return -1;
	}
	return 0;
}

/*
 * A deleted tap wakes those who wait for packets.  With vhost that is not us: a message about
 * the link is, and the kernel lets none through to us but this one (linux/rtnetlink.h).
 */
static void on_link_message(void *arg, uint32_t events)
{
	struct net *n = arg;
	uint8_t message[64];

	(void)events;
	if (recv(n->messages.fd, message, sizeof(message), MSG_DONTWAIT) > 0)
		net_lose_link(n, "the tap is gone");
}

static int watch_link(struct net *n, unsigned int index, struct error *e)
{
	struct sockaddr_nl addr = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK};
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, offsetof(struct nlmsghdr, nlmsg_type)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htons(RTM_DELLINK), 0, 5),
		/* Leaving a bridge is such a message, too, but of the bridge's family. */
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS,
			 NLMSG_HDRLEN + offsetof(struct ifinfomsg, ifi_family)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_UNSPEC, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 NLMSG_HDRLEN + offsetof(struct ifinfomsg, ifi_index)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htonl(index), 0, 1),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_fprog filter = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

	n->messages = (struct loop_source){.fn = on_link_message, .arg = n};
	n->messages.fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	if (n->messages.fd >= 0 &&
	    !setsockopt(n->messages.fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)) &&
	    !bind(n->messages.fd, (struct sockaddr *)&addr, sizeof(addr)) &&
	    !loop_add(n->dev.loop, &n->messages, EPOLLIN))
		return 0;
	return error_set(e, ERROR_MACHINE, "netlink: %s", strerror(errno));
}

static void tap_destroy(struct net *n)
{
	if (n->messages.fd < 0)
		return;
	loop_remove(n->dev.loop, &n->messages);
	close(n->messages.fd);
}

static const struct net_backend tap_backend = {
	.receive = packet_receive,
	.send = packet_send,
	.set_offloads = set_offloads,
	.set_filter = set_filter,
	.set_pairs = set_pairs,
	.destroy = tap_destroy,
};

static const struct net_backend packet_backend = {
	.receive = packet_receive,
	.send = packet_send,
};

static const char *why_not(int error, bool several)
{
	switch (error) {
	case EBUSY:
		return " (another VM has it)";
	case EINVAL:
		return several ? " (it exists, and with a single queue)"
			       : " (it exists, and not as a tap with one queue)";
	case EPERM:
		return " (not permitted to make or use it)";
	}
	return "";
}

static int open_queue(const struct net_config *cfg, struct error *e)
{
	struct ifreq req = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	int fd, header = NET_HEADER;

	if (cfg->pairs > 1)
		req.ifr_flags |= IFF_MULTI_QUEUE;
	fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return error_set(e, ERROR_MACHINE, "/dev/net/tun: %s", strerror(errno));
	strcpy(req.ifr_name, cfg->tap);
	if (ioctl(fd, TUNSETIFF, &req) || ioctl(fd, TUNSETVNETHDRSZ, &header)) {
		error_set(e, ERROR_MACHINE, "tap %s: %s%s", cfg->tap, strerror(errno),
			  why_not(errno, cfg->pairs > 1));
		close(fd);
		return -1;
	}
	return fd;
}

/* Whether the tap is a port of the bridge already, set up by whoever made it. */
static bool is_in_bridge(const struct net_config *cfg)
{
	char path[64 + IFNAMSIZ], to[PATH_MAX], *name;
	ssize_t n;

	snprintf(path, sizeof(path), "/sys/class/net/%s/master", cfg->tap);
	n = readlink(path, to, sizeof(to) - 1);
	if (n <= 0)
		return false;
	to[n] = '\0';
	name = strrchr(to, '/');
	return !strcmp(name ? name + 1 : to, cfg->bridge);
}

static int join_bridge(int s, const struct net_config *cfg, struct error *e)
{
	struct ifreq req = {.ifr_ifindex = (int)if_nametoindex(cfg->tap)};

	strcpy(req.ifr_name, cfg->bridge);
	if (!ioctl(s, SIOCBRADDIF, &req) || is_in_bridge(cfg))
		return 0;
	return error_set(e, ERROR_MACHINE, "cannot add tap %s to bridge %s: %s", cfg->tap,
			 cfg->bridge, strerror(errno));
}

/* The MTU that was asked for, or the bridge's if that is not what a tap has anyway. */
static int set_mtu(int s, struct net_config *cfg, struct error *e)
{
	struct ifreq req = {0};

	if (!cfg->mtu && cfg->bridge[0]) {
		strcpy(req.ifr_name, cfg->bridge);
		if (!ioctl(s, SIOCGIFMTU, &req) && req.ifr_mtu != 1500 && req.ifr_mtu >= 68)
			cfg->mtu = req.ifr_mtu;
	}
	if (!cfg->mtu)
		return 0;
	strcpy(req.ifr_name, cfg->tap);
	if (!ioctl(s, SIOCGIFMTU, &req) && (uint64_t)req.ifr_mtu == cfg->mtu)
		return 0;
	req.ifr_mtu = (int)cfg->mtu;
	if (!ioctl(s, SIOCSIFMTU, &req))
		return 0;
	return error_set(e, ERROR_MACHINE, "cannot give tap %s an MTU of %d: %s", cfg->tap,
			 req.ifr_mtu, strerror(errno));
}

static int set_up(int s, const struct net_config *cfg, struct error *e)
{
	struct ifreq req = {0};

	strcpy(req.ifr_name, cfg->tap);
	/* One that somebody made for us is up; then we need no right to change it. */
	if (!ioctl(s, SIOCGIFFLAGS, &req) && (req.ifr_flags & IFF_UP))
		return 0;
	req.ifr_flags |= IFF_UP | IFF_RUNNING;
	if (!ioctl(s, SIOCSIFFLAGS, &req))
		return 0;
	return error_set(e, ERROR_MACHINE, "cannot set tap %s up: %s", cfg->tap, strerror(errno));
}

static int configure(struct net_config *cfg, struct error *e)
{
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), r;

	if (s < 0)
		return error_set(e, ERROR_MACHINE, "tap %s: %s", cfg->tap, strerror(errno));
	r = set_mtu(s, cfg, e);
	if (!r && cfg->bridge[0])
		r = join_bridge(s, cfg, e);
	if (!r)
		r = set_up(s, cfg, e);
	close(s);
	return r;
}

/* What this kernel's taps can take: USO came with Linux 6.2. */
static uint64_t probe(int fd)
{
	bool uso = !ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_USO4 | TUN_F_USO6);

	ioctl(fd, TUNSETOFFLOAD, 0);
	return uso ? BASIC_FEATURES | USO_FEATURES : BASIC_FEATURES;
}

/* The first one is open; it is the device's from now on. */
static int open_queues(struct net *n, const struct net_config *cfg, int fd, struct error *e)
{
	unsigned int i;

	for (i = 0; i < n->npairs; i++) {
		if (i)
			fd = open_queue(cfg, e);
		if (fd < 0 || net_attach(n, i, fd, e))
			return -1;
	}
	n->dev.features |= probe(n->pairs[0]->source.fd);
	return n->npairs > 1 ? set_pairs(n, 1) : 0;
}

struct net *net_tap_create(const struct guest_memory *mem, struct loop *loop,
			   const struct net_config *given, struct error *e)
{
	struct net_config cfg = *given;
	struct net *n;
	int fd;

	/* The first queue makes the tap, and its bridge decides on the MTU. */
	fd = open_queue(&cfg, e);
	if (fd < 0)
		return NULL;
	if (configure(&cfg, e)) {
		close(fd);
		return NULL;
	}
	n = net_new(mem, loop, &cfg, &tap_backend, e);
	if (n && !open_queues(n, &cfg, fd, e) && !watch_link(n, if_nametoindex(cfg.tap), e))
		return n;
	if (n)
		n->dev.ops->destroy(&n->dev);
	else
		close(fd);
	return NULL;
}

struct virtio_dev *net_create_fds(const struct guest_memory *mem, struct loop *loop, const int *fds,
				  const struct net_config *cfg, struct error *e)
{
	struct net *n = net_new(mem, loop, cfg, &packet_backend, e);
	unsigned int i;

	if (!n)
		return NULL;
	n->dev.features |= BASIC_FEATURES | USO_FEATURES;
	for (i = 0; i < n->npairs; i++) {
		if (net_attach(n, i, fds[i], e)) {
			n->dev.ops->destroy(&n->dev);
			return NULL;
		}
	}
	return &n->dev;
}
