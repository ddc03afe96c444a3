// SPDX-License-Identifier: Apache-2.0
/* The vsock device that is served here: queues, packets and who they belong to. */
#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../console.h" /* listen_unix() */
#include "log.h"
#include "virtio/vsock.h"
#include "virtio/vsock_conn.h"

#define HEADER	 sizeof(struct virtio_vsock_hdr)
#define PORT_MAX 10 /* digits */

enum { RX, TX, EVENT };

/* --- to the guest --- */

static bool owes(struct vsock_conn *c, uint16_t op)
{
	if (!(c->owed & OWED(op)))
		return false;
	c->owed &= ~OWED(op);
	return true;
}

/* The next packet of `c` goes into v->chain.  Bytes written, 0: it has none after all. */
static size_t make_packet(struct vsock_unix *v, struct vsock_conn *c)
{
	struct virtio_vsock_hdr h = {.src_cid = VSOCK_HOST_CID,
				     .dst_cid = v->config.guest_cid,
				     .src_port = c->host_port,
				     .dst_port = c->guest_port,
				     .type = VIRTIO_VSOCK_TYPE_STREAM,
				     .buf_alloc = VSOCK_BUFFER};
	size_t len = 0;

	if (owes(c, VIRTIO_VSOCK_OP_RST)) {
		h.op = VIRTIO_VSOCK_OP_RST;
	} else if (owes(c, VIRTIO_VSOCK_OP_REQUEST)) {
		h.op = VIRTIO_VSOCK_OP_REQUEST;
	} else if (owes(c, VIRTIO_VSOCK_OP_RESPONSE)) {
		h.op = VIRTIO_VSOCK_OP_RESPONSE;
	} else if (c->state == VSOCK_CONNECTED && c->readable && !c->ended && vsock_credit(c) &&
		   (len = vsock_read(c, &v->chain))) {
		h.op = VIRTIO_VSOCK_OP_RW;
		h.len = len;
		c->sent += len;
	} else if (owes(c, VIRTIO_VSOCK_OP_SHUTDOWN)) {
		h.op = VIRTIO_VSOCK_OP_SHUTDOWN;
		h.flags = c->shutdown;
	} else if (owes(c, VIRTIO_VSOCK_OP_CREDIT_REQUEST)) {
		h.op = VIRTIO_VSOCK_OP_CREDIT_REQUEST;
	} else if (owes(c, VIRTIO_VSOCK_OP_CREDIT_UPDATE)) {
		h.op = VIRTIO_VSOCK_OP_CREDIT_UPDATE;
	} else {
		return 0;
	}
	h.fwd_cnt = c->told_fwd = c->fwd;
	c->owed &= ~OWED(VIRTIO_VSOCK_OP_CREDIT_UPDATE); /* this one says it as well */
	iov_write(v->chain.iov + v->chain.nread, v->chain.nwrite, 0, &h, sizeof(h));
	return HEADER + len;
}

static size_t make_rst(struct vsock_unix *v)
{
	const struct vsock_rst *r = &v->rsts[--v->nrsts];
	struct virtio_vsock_hdr h = {.src_cid = r->src_cid,
				     .dst_cid = v->config.guest_cid,
				     .src_port = r->src_port,
				     .dst_port = r->dst_port,
				     .type = VIRTIO_VSOCK_TYPE_STREAM,
				     .op = VIRTIO_VSOCK_OP_RST};

	iov_write(v->chain.iov + v->chain.nread, v->chain.nwrite, 0, &h, sizeof(h));
	return HEADER;
}

/* The connection with something to say whose turn is next. */
static struct vsock_conn *next_speaker(struct vsock_unix *v)
{
	unsigned int i;

	for (i = 0; i < v->nconns; i++, v->turn++) {
		v->turn %= v->nconns;
		if (vsock_has_packet(v->conns[v->turn]))
			return v->conns[v->turn];
	}
	return NULL;
}

/* One packet into v->chain.  False: there was none, and the chain is unused. */
static bool send_one(struct vsock_unix *v, struct vq *q)
{
	struct vsock_conn *c;
	size_t n = 0;

	if (v->nrsts)
		n = make_rst(v);
	while (!n && (c = next_speaker(v))) {
		n = make_packet(v, c);
		v->turn++;
		if (n && c->state == VSOCK_CLOSED)
			vsock_free(c); /* its RST is on the way */
	}
	if (n)
		vq_push(q, v->chain.head, n);
	else
		vq_unpop(q, &v->chain);
	return n;
}

void vsock_pump(struct vsock_unix *v)
{
	struct vq *q = &v->dev.queues[RX];
	bool full = v->nrsts == VSOCK_MAX_RSTS;
	unsigned int round;
	int r = 0;

	if (!virtio_is_running(&v->dev))
		return;
	for (round = 0; round < q->size && (v->nrsts || next_speaker(v)); round++) {
		r = vq_pop(q, &v->chain);
		if (r == 0 && vq_arm(q))
			continue; /* one came in meanwhile */
		if (r > 0 && v->chain.write_len <= HEADER) {
			virtio_break(&v->dev, "a receive buffer has no room for a packet");
			return;
		}
		if (r < 0) {
			virtio_break(&v->dev, q->complaint);
			return;
		}
		if (r == 0 || !send_one(v, q))
			break;
	}
	virtio_signal(&v->dev, q);
	/* Packets that could not be answered may be answered now; and a long round goes on. */
	if (round == q->size || (full && v->nrsts < VSOCK_MAX_RSTS))
		virtio_kick_later(&v->dev);
}

/* --- from the guest --- */

static struct vsock_conn *find(struct vsock_unix *v, uint32_t guest_port, uint32_t host_port)
{
	unsigned int i;

	for (i = 0; i < v->nconns; i++)
		if (v->conns[i]->guest_port == guest_port && v->conns[i]->host_port == host_port &&
		    v->conns[i]->state != VSOCK_GREETED)
			return v->conns[i];
	return NULL;
}

/* 5.10.6.4.2: what belongs to no connection, and is no RST itself, is answered by one. */
static void answer_rst(struct vsock_unix *v, const struct virtio_vsock_hdr *h)
{
	if (h->op != VIRTIO_VSOCK_OP_RST)
		v->rsts[v->nrsts++] = (struct vsock_rst){
			.src_cid = h->dst_cid, .src_port = h->dst_port, .dst_port = h->src_port};
}

/* The identity of a connection while its socket is being made. */
static uint32_t connection_id(const struct vsock_conn *c)
{
	return c->guest_port * 2654435761u ^ c->host_port;
}

static void guest_connects(struct vsock_unix *v, const struct virtio_vsock_hdr *h)
{
	struct vsock_conn *c = vsock_open(v, VSOCK_CONNECTING, -1);

	if (!c) {
		answer_rst(v, h);
		return;
	}
	c->guest_port = h->src_port;
	c->host_port = h->dst_port;
	c->peer_alloc = h->buf_alloc;
	c->peer_fwd = h->fwd_cnt;
	if (v->connector.fd < 0 ||
	    vsock_connector_ask(v->connector.fd, connection_id(c), c->host_port))
		vsock_kill(c);
}

static void guest_speaks(struct vsock_unix *v, struct vsock_conn *c,
			 const struct virtio_vsock_hdr *h)
{
	if (c->state == VSOCK_CLOSED)
		return;
	c->peer_alloc = h->buf_alloc;
	c->peer_fwd = h->fwd_cnt;
	if (vsock_credit(c))
		c->asked_credit = false;
	switch (h->op) {
	case VIRTIO_VSOCK_OP_RESPONSE:
		if (c->state == VSOCK_REQUESTED && !(c->owed & OWED(VIRTIO_VSOCK_OP_REQUEST))) {
			vsock_accepted(c);
			return;
		}
		break;
	case VIRTIO_VSOCK_OP_RW:
		/* The length is the driver's word; the chain is what there is. */
		if (c->state == VSOCK_CONNECTED && h->len <= v->chain.read_len - HEADER) {
			vsock_take(c, &v->chain, HEADER, h->len);
			return;
		}
		break;
	case VIRTIO_VSOCK_OP_SHUTDOWN:
		if (c->state == VSOCK_CONNECTED) {
			vsock_guest_shutdown(c, h->flags);
			return;
		}
		break;
	case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
		return;
	case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
		c->owed |= OWED(VIRTIO_VSOCK_OP_CREDIT_UPDATE);
		return;
	}
	vsock_kill(c); /* nothing else fits here */
}

static void take_packet(struct vsock_unix *v)
{
	struct virtio_vsock_hdr h;
	struct vsock_conn *c;

	if (iov_read(v->chain.iov, v->chain.nread, 0, &h, sizeof(h)) != sizeof(h) ||
	    h.src_cid != v->config.guest_cid)
		return; /* there is nobody to answer */
	c = h.dst_cid == VSOCK_HOST_CID ? find(v, h.src_port, h.dst_port) : NULL;
	if (c && h.op == VIRTIO_VSOCK_OP_RST)
		vsock_free(c);
	else if (c && h.type == VIRTIO_VSOCK_TYPE_STREAM)
		guest_speaks(v, c, &h);
	else if (c)
		vsock_kill(c);
	else if (h.op == VIRTIO_VSOCK_OP_REQUEST && h.type == VIRTIO_VSOCK_TYPE_STREAM &&
		 h.dst_cid == VSOCK_HOST_CID)
		guest_connects(v, &h);
	else
		answer_rst(v, &h);
}

static void transmit(struct vsock_unix *v)
{
	struct vq *q = &v->dev.queues[TX];
	unsigned int round;
	int r = 0;

	/* No more than can be answered: the guest has to take its answers, too (5.10.6.2). */
	for (round = 0; round < q->size && v->nrsts < VSOCK_MAX_RSTS; round++) {
		r = vq_pop(q, &v->chain);
		if (r <= 0)
			break;
		take_packet(v);
		vq_push(q, v->chain.head, 0);
	}
	if (r < 0 || v->nrsts < VSOCK_MAX_RSTS)
		virtio_finish(&v->dev, q, r);
	else
		virtio_signal(&v->dev, q);
	vsock_pump(v);
}

/* --- the device --- */

/* 5.10.6.7: connections did not survive; the driver also reads its CID again. */
static void tell_reset(struct vsock_unix *v)
{
	struct virtio_vsock_event event = {.id = VIRTIO_VSOCK_EVENT_TRANSPORT_RESET};
	struct vq *q = &v->dev.queues[EVENT];
	int r;

	if (!v->tell_reset)
		return;
	r = vq_pop(q, &v->chain);
	if (r > 0) {
		v->tell_reset = false;
		vq_push(q, v->chain.head,
			iov_write(v->chain.iov + v->chain.nread, v->chain.nwrite, 0, &event,
				  sizeof(event)));
	}
	virtio_finish(&v->dev, q, r);
}

static void vsock_notify(struct virtio_dev *dev, unsigned int queue)
{
	struct vsock_unix *v = (struct vsock_unix *)dev;

	if (queue == RX)
		vsock_pump(v);
	else if (queue == TX)
		transmit(v);
	else
		tell_reset(v);
}

static void vsock_reset(struct virtio_dev *dev)
{
	struct vsock_unix *v = (struct vsock_unix *)dev;

	while (v->nconns)
		vsock_free(v->conns[0]);
	v->nrsts = 0;
	v->tell_reset = false;
}

static int vsock_load(struct virtio_dev *dev, struct snap_in *in, struct error *e)
{
	(void)in, (void)e;
	((struct vsock_unix *)dev)->tell_reset = true;
	return 0;
}

static void remove_source(struct loop *loop, struct loop_source *s)
{
	if (s->fd < 0)
		return;
	loop_remove(loop, s);
	close(s->fd);
	s->fd = -1;
}

static void vsock_destroy(struct virtio_dev *dev)
{
	struct vsock_unix *v = (struct vsock_unix *)dev;

	vsock_reset(dev);
	remove_source(dev->loop, &v->listener);
	remove_source(dev->loop, &v->connector);
	virtio_end(dev);
	free(v);
}

static const struct virtio_ops vsock_ops = {
	.id = VIRTIO_ID_VSOCK,
	.name = "vsock",
	.nqueues = 3,
	.queue_size = 256,
	.notify = vsock_notify,
	.reset = vsock_reset,
	.destroy = vsock_destroy,
	.load = vsock_load,
};

static void on_connect(void *arg, uint32_t events)
{
	struct vsock_unix *v = arg;
	struct vsock_conn *c = NULL;
	int fd = accept4(v->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)events;
	if (fd < 0)
		return;
	if (virtio_is_running(&v->dev))
		c = vsock_open(v, VSOCK_GREETED, fd);
	if (!c) {
		close(fd);
		return;
	}
	/* Never a port that a connection of the guest's making may have. */
	c->host_port = v->next_port;
	v->next_port = v->next_port == UINT32_MAX - 1 ? VSOCK_FIRST_PORT : v->next_port + 1;
}

static void on_connected(void *arg, uint32_t events)
{
	struct vsock_unix *v = arg;
	unsigned int i;
	uint32_t id;
	int fd, r;

	(void)events;
	r = vsock_connector_answer(v->connector.fd, &id, &fd);
	if (r < 0) {
		log_line("virtio-vsock: the connector is gone; the guest can connect no more");
		remove_source(v->dev.loop, &v->connector);
	}
	for (i = 0; i < v->nconns; i++) {
		if (v->conns[i]->state != VSOCK_CONNECTING ||
		    (r > 0 && connection_id(v->conns[i]) != id))
			continue;
		if (r > 0 && fd >= 0) {
			vsock_joined(v->conns[i], fd);
			fd = -1;
			break;
		}
		vsock_kill(v->conns[i]);
	}
	if (r > 0 && fd >= 0)
		close(fd); /* the guest gave up meanwhile */
	vsock_pump(v);
}

struct virtio_dev *vsock_unix_create(const struct guest_memory *mem, struct loop *loop,
				     const struct vsock_config *cfg, struct error *e)
{
	struct vsock_unix *v;

	if (strlen(cfg->socket) + 1 + PORT_MAX >= sizeof(((struct sockaddr_un *)0)->sun_path)) {
		error_set(e, ERROR_USER,
			  "--vsock: socket=%s is too long: with _PORT it has at "
			  "most %zu bytes",
			  cfg->socket, sizeof(((struct sockaddr_un *)0)->sun_path) - 1);
		return NULL;
	}
	v = calloc(1, sizeof(*v));
	if (!v || virtio_init(&v->dev, &vsock_ops, mem, loop)) {
		error_set(e, ERROR_MACHINE, "virtio-vsock: %s", strerror(errno));
		free(v);
		return NULL;
	}
	v->config.guest_cid = cfg->cid;
	v->dev.config = (uint8_t *)&v->config;
	v->dev.config_len = sizeof(v->config);
	v->next_port = VSOCK_FIRST_PORT;
	v->listener = (struct loop_source){.fn = on_connect, .arg = v};
	v->connector = (struct loop_source){.fn = on_connected, .arg = v};
	v->connector.fd = vsock_connector_start(cfg->socket, mem, e);
	if (v->connector.fd < 0)
		goto fail;
	v->listener.fd = listen_unix(cfg->socket, e);
	if (v->listener.fd < 0)
		goto fail_connector;
	loop_add(loop, &v->connector, EPOLLIN);
	loop_add(loop, &v->listener, EPOLLIN);
	return &v->dev;
fail_connector:
	close(v->connector.fd);
fail:
	free(v);
	return NULL;
}
