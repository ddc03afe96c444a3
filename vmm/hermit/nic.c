// SPDX-License-Identifier: Apache-2.0
#include "hermit/nic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "virtio/net_device.h"

struct hermit_nic {
	struct net *net;
	struct irq irq;
	bool in_use;
	struct loop_source rings; /* what the device listens with when it is not ours */
	void (*resume_rings)(void *arg);
	void *resume_arg;
};

static struct net_pair *pair(const struct hermit_nic *nic)
{
	return nic->net->pairs[0];
}

static void watch(struct hermit_nic *nic, uint32_t on, uint32_t off)
{
	if (!nic->net->gone)
		net_watch(pair(nic), (pair(nic)->watched | on) & ~off);
}

/* One interrupt, until the guest has fetched all there is: nic_receive() listens again. */
static void on_packet(void *arg, uint32_t events)
{
	struct hermit_nic *nic = arg;

	if (events & (EPOLLERR | EPOLLHUP)) {
		net_lose_link(nic->net, "the other side is gone");
		return;
	}
	if (events & EPOLLOUT) {
		watch(nic, 0, EPOLLOUT);
		if (nic->net->backend->writable)
			nic->net->backend->writable(pair(nic));
	}
	if (events & EPOLLIN) {
		watch(nic, 0, EPOLLIN);
		irq_pulse(&nic->irq);
	}
}

static void on_resume(void *arg)
{
	watch(arg, EPOLLIN, 0);
}

struct hermit_nic *nic_create(struct virtio_dev *dev, const int *vm_fd)
{
	struct hermit_nic *nic = calloc(1, sizeof(*nic));

	if (!nic)
		return NULL;
	nic->net = (struct net *)dev;
	nic->irq = (struct irq){.vm_fd = vm_fd, .gsi = NIC_GSI};
	nic->rings = pair(nic)->source;
	nic->resume_rings = nic->net->rx_limit.resume;
	nic->resume_arg = nic->net->rx_limit.arg;
	return nic;
}

void nic_destroy(struct hermit_nic *nic)
{
	free(nic);
}

static void use(struct hermit_nic *nic, bool on)
{
	struct net *n = nic->net;

	nic->in_use = on;
	pair(nic)->source.fn = on ? on_packet : nic->rings.fn;
	pair(nic)->source.arg = on ? nic : nic->rings.arg;
	n->rx_limit.resume = on ? on_resume : nic->resume_rings;
	n->rx_limit.arg = on ? nic : nic->resume_arg;
}

void nic_reset(struct hermit_nic *nic)
{
	if (nic->in_use)
		watch(nic, 0, EPOLLIN | EPOLLOUT);
	net_forget(pair(nic));
	use(nic, false);
}

static void lock(const struct hermit_nic *nic)
{
	loop_lock(nic->net->dev.loop);
}

static void unlock(const struct hermit_nic *nic)
{
	pthread_mutex_unlock(nic->net->dev.lock);
}

void nic_info(struct hermit_nic *nic, char mac[NIC_MAC_BYTES])
{
	const uint8_t *m = nic->net->mac;

	snprintf(mac, NIC_MAC_BYTES, "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4],
		 m[5]);
	lock(nic);
	use(nic, true);
	watch(nic, EPOLLIN, 0);
	unlock(nic);
}

bool nic_is_used(const struct hermit_nic *nic)
{
	return nic->in_use;
}

void nic_go_on(struct hermit_nic *nic)
{
	use(nic, true);
	watch(nic, EPOLLIN, 0);
	irq_pulse(&nic->irq); /* the guest may have been told of a packet that is no longer there */
}

int nic_send(struct hermit_nic *nic, const void *from, uint64_t len)
{
	static struct virtio_net_hdr_v1 header; /* nothing is asked of the host */
	struct iovec iov[3] = {{.iov_base = &header, .iov_len = sizeof(header)},
			       {.iov_base = (void *)(uintptr_t)from, .iov_len = len}};
	struct net *n = nic->net;
	int sent = -1;

	if (len < NET_FRAME_MIN || len > NET_FRAME_MAX)
		return -1;
	lock(nic);
	if (!n->gone && ratelimit_allows(&n->tx_limit))
		sent = net_give(pair(nic), iov, 2, NET_HEADER + len);
	/* The guest does not wait: what cannot go now is lost, as on a wire. */
	pair(nic)->tx_noted = false;
	if (sent > 0) {
		n->stats.tx_packets++;
		n->stats.tx_bytes += len;
		ratelimit_charge(&n->tx_limit, 1, len);
	} else {
		n->stats.tx_dropped++;
	}
	unlock(nic);
	return sent > 0 ? 0 : -1;
}

/* A packet in p->rest, header first: its bytes in all.  0: none. */
static size_t fetch(struct hermit_nic *nic)
{
	struct net_pair *p = pair(nic);
	const struct iovec iov = {.iov_base = p->rest, .iov_len = sizeof(p->rest)};
	ssize_t got;

	if (p->held)
		return p->held;
	if (nic->net->gone || !ratelimit_allows(&nic->net->rx_limit))
		return 0; /* on_resume() listens again */
	got = net_take(p, &iov, 1);
	if (got < 0)
		net_lose_link(nic->net, "the other side is gone");
	else if (got <= (ssize_t)NET_HEADER)
		watch(nic, EPOLLIN, 0);
	return got > (ssize_t)NET_HEADER && (size_t)got <= sizeof(p->rest) ? (size_t)got : 0;
}

static int64_t receive(struct hermit_nic *nic, void *to, uint64_t room)
{
	struct net_pair *p = pair(nic);
	struct net *n = nic->net;
	size_t got = fetch(nic), len = got - NET_HEADER;

	if (!got)
		return -1;
	if (len > room && !p->held) {
		/*
		 * libhermit's driver asks for each further packet with the length of the one
		 * before; the interrupt makes it begin anew, with all the room it has.
		 */
		p->held = (uint32_t)got;
		irq_pulse(&nic->irq);
		return -1;
	}
	p->held = 0;
	ratelimit_charge(&n->rx_limit, 1, len);
	if (len > room) {
		n->stats.rx_dropped++;
		watch(nic, EPOLLIN, 0);
		return -1;
	}
	memcpy(to, p->rest + NET_HEADER, len);
	n->stats.rx_packets++;
	n->stats.rx_bytes += len;
	return (int64_t)len;
}

int64_t nic_receive(struct hermit_nic *nic, void *to, uint64_t len)
{
	int64_t n;

	lock(nic);
	n = nic->in_use ? receive(nic, to, len) : -1;
	unlock(nic);
	return n;
}
