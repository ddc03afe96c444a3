// SPDX-License-Identifier: Apache-2.0
/* The control queue (virtio 1.2, 5.1.6.5): what to receive, own address, pairs, offloads. */
#include <string.h>

#include "virtio/net_device.h"

/* Class, command, and the longest argument that is looked at: two tables of addresses. */
#define MAX_COMMAND (2 + 2 * (4 + 6 * NET_FILTER_MAX))

struct command {
	uint8_t class, command;
	const uint8_t *data;
	size_t len;   /* of data that is here */
	size_t given; /* what the driver sent, which may be more */
};

static uint32_t le32(const uint8_t *at)
{
	return at[0] | at[1] << 8 | at[2] << 16 | (uint32_t)at[3] << 24;
}

static void apply_filter(struct net *n)
{
	if (n->backend->set_filter && !n->gone)
		n->backend->set_filter(n, &n->filter);
}

/* 5.1.6.5.1 */
static int set_rx_mode(struct net *n, const struct command *c)
{
	if (c->given != 1 || c->data[0] > 1)
		return -1;
	if (c->command == VIRTIO_NET_CTRL_RX_PROMISC)
		n->filter.promiscuous = c->data[0];
	else if (c->command == VIRTIO_NET_CTRL_RX_ALLMULTI)
		n->filter.all_multicast = c->data[0];
	else
		return -1;
	apply_filter(n);
	return 0;
}

/*
 * One table of addresses at *at, which moves behind it.  More of them than we keep is no
 * error: a filter may let more pass than was asked for, so then it lets all pass.
 */
static int take_table(struct net *n, const struct command *c, size_t *at)
{
	uint32_t entries, i;

	if (c->given - *at < 4 || c->len - *at < 4)
		return -1;
	entries = le32(c->data + *at);
	*at += 4;
	if (entries > (c->given - *at) / 6)
		return -1;
	if (entries > NET_FILTER_MAX - n->filter.count || entries > (c->len - *at) / 6) {
		n->filter.overflow = true;
		*at += entries > (c->len - *at) / 6 ? c->len - *at : 6 * entries;
		return 0;
	}
	for (i = 0; i < entries; i++, *at += 6)
		memcpy(n->filter.macs[n->filter.count++], c->data + *at, 6);
	return 0;
}

/* 5.1.6.5.2: a table of unicast addresses, then one of multicast addresses. */
static int set_mac_table(struct net *n, const struct command *c)
{
	struct net_filter before = n->filter;
	size_t at = 0;

	n->filter.count = 0;
	n->filter.overflow = false;
	if (take_table(n, c, &at) || (!n->filter.overflow && take_table(n, c, &at))) {
		n->filter = before;
		return -1;
	}
	apply_filter(n);
	return 0;
}

static int set_mac(struct net *n, const struct command *c)
{
	if (c->command == VIRTIO_NET_CTRL_MAC_TABLE_SET)
		return set_mac_table(n, c);
	if (c->command != VIRTIO_NET_CTRL_MAC_ADDR_SET || c->given != 6)
		return -1;
	if (c->data[0] & 1)
		return -1; /* a group's address is nobody's own */
	memcpy(n->config.mac, c->data, 6);
	virtio_publish(&n->dev);
	apply_filter(n);
	return 0;
}

/* 5.1.6.5.6 */
static int set_queue_pairs(struct net *n, const struct command *c)
{
	unsigned int pairs;

	if (c->command != VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET || c->given != 2 ||
	    !virtio_has(&n->dev, VIRTIO_NET_F_MQ))
		return -1;
	pairs = c->data[0] | c->data[1] << 8;
	if (pairs < VIRTIO_NET_CTRL_MQ_VQ_PAIRS_MIN || pairs > n->npairs)
		return -1;
	return net_set_pairs(n, pairs);
}

/* 5.1.6.5.8: never more than was negotiated. */
static int set_offloads(struct net *n, const struct command *c)
{
	uint64_t wanted;

	if (c->command != VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET || c->given != 8 ||
	    !virtio_has(&n->dev, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS))
		return -1;
	wanted = le32(c->data) | (uint64_t)le32(c->data + 4) << 32;
	if (wanted & ~n->dev.driver_features)
		return -1;
	return n->backend->set_offloads && !n->gone ? n->backend->set_offloads(n, wanted) : 0;
}

static int obey(struct net *n, const struct command *c)
{
	switch (c->class) {
	case VIRTIO_NET_CTRL_RX:
		return set_rx_mode(n, c);
	case VIRTIO_NET_CTRL_MAC:
		return set_mac(n, c);
	case VIRTIO_NET_CTRL_MQ:
		return set_queue_pairs(n, c);
	case VIRTIO_NET_CTRL_GUEST_OFFLOADS:
		return set_offloads(n, c);
	}
	return -1;
}

void net_control(struct net *n, struct vq *q)
{
	struct vq_chain *chain = &n->command;
	uint8_t bytes[MAX_COMMAND], ack;
	struct command c = {.data = bytes + 2};
	unsigned int round;
	size_t len;
	int r = 0;

	for (round = 0; round < q->size && (r = vq_pop(q, chain)) > 0; round++) {
		len = iov_read(chain->iov, chain->nread, 0, bytes, sizeof(bytes));
		ack = VIRTIO_NET_ERR;
		if (len >= 2) {
			c.class = bytes[0];
			c.command = bytes[1];
			c.len = len - 2;
			c.given = chain->read_len - 2;
			if (!obey(n, &c))
				ack = VIRTIO_NET_OK;
		}
		vq_push(q, chain->head,
			iov_write(chain->iov + chain->nread, chain->nwrite, 0, &ack, 1));
	}
	virtio_finish(&n->dev, q, r);
}
