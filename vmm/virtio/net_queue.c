// SPDX-License-Identifier: Apache-2.0
/* Packets between the rings and a backend (virtio 1.2, 5.1.6), when no vhost moves them. */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "virtio/net_device.h"

/* What became of a packet that came in. */
enum outcome { DELIVERED, DROPPED, NO_PACKET, NO_BUFFERS, BROKEN, DEAD };

/* Chains filled with one packet; shown to the guest together. */
struct parts {
	unsigned int count;
	struct {
		uint32_t head, len;
	} part[VQ_MAX_SIZE];
};

static void add_part(struct parts *parts, uint32_t head, uint32_t len)
{
	parts->part[parts->count].head = head;
	parts->part[parts->count++].len = len;
}

static enum outcome broken(struct vq *q, const char *why)
{
	q->complaint = why;
	q->broken = true;
	return BROKEN;
}

ssize_t net_take(struct net_pair *p, const struct iovec *iov, unsigned int n)
{
	ssize_t got = p->net->backend->receive(p, iov, n);

	if (got > (ssize_t)NET_HEADER)
		capture_packet(&p->net->capture, iov, n, NET_HEADER, (size_t)got - NET_HEADER);
	return got;
}

int net_give(struct net_pair *p, struct iovec *iov, unsigned int n, size_t len)
{
	int sent;

	/* Before it is sent: the backend may change iov. */
	if (!p->tx_noted)
		capture_packet(&p->net->capture, iov, n, NET_HEADER, len - NET_HEADER);
	sent = p->net->backend->send(p, iov, n, len);
	p->tx_noted = !sent;
	return sent;
}

/*
 * The next chain of the receive queue: 1, 0 when there is none, -1 when the guest is broken.
 * After a 0 the driver kicks when it adds one.
 */
static int pop_writable(struct vq *q, struct vq_chain *c)
{
	int r = vq_pop(q, c);

	if (!r && vq_arm(q))
		r = vq_pop(q, c);
	if (r <= 0 || c->nwrite)
		return r;
	broken(q, "a receive buffer is not writable");
	return -1;
}

static void put_back(struct vq *q, const struct vq_chain *first, struct parts *parts)
{
	struct vq_chain c;

	while (parts->count > 1) {
		c.head = parts->part[--parts->count].head;
		vq_unpop(q, &c);
	}
	vq_unpop(q, first);
}

/* Puts `len` bytes of `tail` into more chains. */
static enum outcome spread(struct net_pair *p, struct parts *parts, const uint8_t *tail, size_t len)
{
	struct vq_chain *c = &p->net->more;
	struct vq *q = net_rx(p);
	size_t part;
	int r;

	while (len) {
		/* A ring that is too small as a whole: no buffer will ever be added. */
		if (parts->count >= q->size || parts->count == VQ_MAX_SIZE)
			return DROPPED;
		r = pop_writable(q, c);
		if (r <= 0)
			return r ? BROKEN : NO_BUFFERS;
		part = iov_write(c->iov + c->nread, c->nwrite, 0, tail, len);
		add_part(parts, c->head, part);
		tail += part;
		len -= part;
	}
	return DELIVERED;
}

/* The whole packet goes into p->rest until there are buffers for it. */
static void hold(struct net_pair *p, const struct vq_chain *first, size_t first_len, size_t len)
{
	if (p->held)
		return; /* it is there already */
	memmove(p->rest + first_len, p->rest, len - first_len);
	iov_read(first->iov + first->nread, first->nwrite, 0, p->rest, first_len);
	p->held = len;
}

/*
 * A packet of `len` bytes whose first `first_len` are in the chain net->chain, the others at
 * `tail`.  Without MRG_RXBUF it has to fit one chain (5.1.6.4).
 */
static enum outcome deliver(struct net_pair *p, size_t first_len, const uint8_t *tail, size_t len)
{
	struct vq_chain *first = &p->net->chain;
	struct vq *q = net_rx(p);
	enum outcome outcome = DELIVERED;
	struct parts parts;
	uint16_t count;
	unsigned int i;

	parts.count = 0;
	add_part(&parts, first->head, first_len);
	if (len > first_len && !virtio_has(&p->net->dev, VIRTIO_NET_F_MRG_RXBUF))
		outcome = DROPPED;
	else if (len > first_len)
		outcome = spread(p, &parts, tail, len - first_len);
	if (outcome != DELIVERED) {
		if (outcome == NO_BUFFERS)
			hold(p, first, first_len, len);
		else
			p->held = 0;
		put_back(q, first, &parts);
		return outcome;
	}
	count = parts.count;
	iov_write(first->iov + first->nread, first->nwrite,
		  offsetof(struct virtio_net_hdr_v1, num_buffers), &count, sizeof(count));
	for (i = 0; i < parts.count; i++)
		vq_fill(q, parts.part[i].head, parts.part[i].len);
	vq_flush(q);
	p->held = 0;
	return DELIVERED;
}

static enum outcome receive_one(struct net_pair *p, struct vq *q)
{
	struct vq_chain *c = &p->net->chain;
	struct iovec *iov;
	size_t len, first_len;
	unsigned int n;
	enum outcome o;
	ssize_t got;
	int r;

	r = pop_writable(q, c);
	if (r <= 0)
		return r ? BROKEN : NO_BUFFERS;
	if (c->write_len < NET_HEADER + NET_FRAME_MIN)
		return broken(q, "a receive buffer is too small");
	iov = c->iov + c->nread;
	n = c->nwrite;
	if (p->held) {
		len = p->held;
		first_len = iov_write(iov, n, 0, p->rest, len);
		o = deliver(p, first_len, p->rest + first_len, len);
	} else {
		/* Straight into the guest; what does not fit the chain is copied later. */
		if (c->nread + n < VQ_MAX_SEGS)
			iov[n++] = (struct iovec){.iov_base = p->rest, .iov_len = sizeof(p->rest)};
		got = net_take(p, iov, n);
		if (got < (ssize_t)NET_HEADER) {
			vq_unpop(q, c);
			return got < 0 ? DEAD : NO_PACKET;
		}
		len = got;
		if (len > sizeof(p->rest)) {
			vq_unpop(q, c);
			p->net->stats.rx_dropped++;
			return DROPPED;
		}
		first_len = len < c->write_len ? len : c->write_len;
		o = deliver(p, first_len, p->rest, len);
	}
	if (o == DELIVERED) {
		p->net->stats.rx_packets++;
		p->net->stats.rx_bytes += len - NET_HEADER;
	} else if (o == DROPPED) {
		p->net->stats.rx_dropped++;
	}
	if (o == DELIVERED || o == DROPPED)
		ratelimit_charge(&p->net->rx_limit, 1, len - NET_HEADER);
	return o;
}

static void wait_for(struct net_pair *p, uint32_t on, uint32_t off)
{
	net_watch(p, (p->watched | on) & ~off);
}

void net_receive(struct net_pair *p)
{
	struct net *n = p->net;
	struct vq *q = net_rx(p);
	unsigned int round;
	enum outcome o = DELIVERED;

	for (round = 0; round < q->size && o <= DROPPED; round++) {
		if (!ratelimit_allows(&n->rx_limit)) {
			wait_for(p, 0, EPOLLIN); /* until on_rx_resume() */
			break;
		}
		o = receive_one(p, q);
	}
	/* No buffers: stop listening until the guest brings some, or we would spin. */
	if (o == NO_BUFFERS)
		wait_for(p, 0, EPOLLIN);
	else if (o <= NO_PACKET && !n->rx_limit.waiting)
		wait_for(p, EPOLLIN, 0);
	/* More may be there than a round takes, and not all backends would say so again. */
	if (round == q->size && o <= DROPPED)
		virtio_kick_later(&n->dev);
	virtio_signal(&n->dev, q);
	if (o == DEAD)
		net_lose_link(n, "the other side is gone");
	else if (o == BROKEN)
		virtio_break(&n->dev, q->complaint);
}

/* 1: done with, sent or not.  0: it has to wait. */
static int transmit_one(struct net_pair *p, struct vq_chain *c)
{
	struct net *n = p->net;
	int sent = -1;

	/* A full or downed link loses packets, as links do. */
	if (!n->gone && c->read_len >= NET_HEADER + NET_FRAME_MIN &&
	    c->read_len <= NET_HEADER + NET_FRAME_MAX)
		sent = net_give(p, c->iov, c->nread, c->read_len);
	if (!sent)
		return 0;
	if (sent < 0) {
		n->stats.tx_dropped++;
	} else {
		n->stats.tx_packets++;
		n->stats.tx_bytes += c->read_len - NET_HEADER;
		ratelimit_charge(&n->tx_limit, 1, c->read_len - NET_HEADER);
	}
	return 1;
}

void net_transmit(struct net_pair *p)
{
	struct net *n = p->net;
	struct vq *q = net_tx(p);
	struct vq_chain *c = &n->chain;
	unsigned int round;
	int r = 0;

	for (round = 0; round < q->size && (r = vq_pop(q, c)) > 0; round++) {
		if (!ratelimit_allows(&n->tx_limit)) {
			vq_unpop(q, c);
			virtio_signal(&n->dev, q);
			return; /* on_tx_resume() comes back */
		}
		if (!transmit_one(p, c)) {
			vq_unpop(q, c);
			wait_for(p, EPOLLOUT, 0);
			virtio_signal(&n->dev, q);
			return;
		}
		vq_push(q, c->head, 0);
	}
	virtio_finish(&n->dev, q, r);
}

void net_forget(struct net_pair *p)
{
	p->tx_noted = false;
	p->held = 0;
}
