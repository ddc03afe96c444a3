/* SPDX-License-Identifier: Apache-2.0 */
/* A network device whose other end is a socket pair. */
#ifndef TEST_NET_FIXTURE_H
#define TEST_NET_FIXTURE_H

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/virtio_net.h>
#include <sys/socket.h>
#include <unistd.h>

#include "log.h"
#include "units.h"
#include "virtio/net.h"

#define SIZE   8 /* of each ring */
#define HEADER 12
#define MRG    (1ull << VIRTIO_NET_F_MRG_RXBUF)
#define CTRL   (1ull << VIRTIO_NET_F_CTRL_VQ | 1ull << VIRTIO_NET_F_CTRL_RX)
#define MQ     (1ull << VIRTIO_NET_F_MQ)

/* Where buffer n of a test is: 64 KiB apart, behind the rings. */
#define BUFFER(n) (0x400000ull + 0x10000ull * (n))

static int peer, peer2;

static inline struct virtio_dev *open_net(struct net_config *cfg, uint64_t features, int type)
{
	struct virtio_dev *dev;
	int ends[2], more[2];

	setup(MIB(16));
	log_open("/dev/null");
	memcpy(cfg->mac, (uint8_t[]){2, 1, 2, 3, 4, 5}, 6);
	CHECK(socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, ends) == 0);
	CHECK(socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, more) == 0);
	peer = ends[1];
	peer2 = more[1];
	if (type == SOCK_STREAM)
		dev = net_create_stream(&mem, &loop, ends[0], cfg, &err);
	else
		dev = net_create_fds(&mem, &loop, (int[]){ends[0], more[0]}, cfg, &err);
	CHECK(dev && driver_start(dev, features, SIZE));
	return dev;
}

static inline struct virtio_dev *start_net(uint64_t features)
{
	static struct net_config cfg;

	return open_net(&cfg, features, SOCK_SEQPACKET);
}

static inline void settle(void)
{
	struct epoll_event event;
	unsigned int rounds;

	for (rounds = 0; rounds < 1000 && epoll_wait(loop.epoll_fd, &event, 1, 0) > 0; rounds++)
		loop_once(&loop, 0);
	CHECK(rounds < 1000); /* else the loop spins */
}

/* A receive buffer of `len` bytes for the first queue. */
static inline void offer_buffer(struct virtio_dev *dev, unsigned int i, uint32_t len)
{
	set_desc(&mem, 0, i, BUFFER(i), len, VRING_DESC_F_WRITE, 0);
	offer(&mem, 0, SIZE, i);
	reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	settle();
}

static inline void send_packet(size_t len, uint8_t seed)
{
	static uint8_t packet[70000];
	size_t i;

	memset(packet, 0, HEADER);
	for (i = HEADER; i < len; i++)
		packet[i] = i * 7 + seed;
	CHECK(send(peer, packet, len, 0) == (ssize_t)len);
	settle();
}

static inline bool holds(unsigned int buffer, size_t from, size_t len, uint8_t seed)
{
	const uint8_t *at = memory_at(&mem, BUFFER(buffer), len);
	size_t i;

	for (i = 0; i < len; i++)
		if (from + i >= HEADER && at[i] != (uint8_t)((from + i) * 7 + seed))
			return false;
	return true;
}

static inline uint16_t num_buffers(unsigned int buffer)
{
	uint16_t n;

	CHECK(memory_read(&mem, BUFFER(buffer) + 10, &n, 2) == 0);
	return n;
}

#endif
