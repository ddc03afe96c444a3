// SPDX-License-Identifier: Apache-2.0
/* The streams of the vsock device: the host's side, and the credit of both. */
#include "virtio/vsock_conn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEADER	 sizeof(struct virtio_vsock_hdr)
#define RCV	 VIRTIO_VSOCK_SHUTDOWN_RCV
#define SEND	 VIRTIO_VSOCK_SHUTDOWN_SEND
#define TOLD_LAG (VSOCK_BUFFER / 4) /* bytes freed after which the guest is told */

static void close_socket(struct vsock_conn *c)
{
	if (c->in_loop)
		loop_remove(c->v->dev.loop, &c->src);
	c->in_loop = false;
	if (c->src.fd >= 0)
		close(c->src.fd);
	c->src.fd = -1;
	free(c->buffer);
	c->buffer = NULL;
	c->waiting = 0;
}

void vsock_free(struct vsock_conn *c)
{
	struct vsock_unix *v = c->v;
	unsigned int i;

	close_socket(c);
	for (i = 0; i < v->nconns; i++)
		if (v->conns[i] == c)
			v->conns[i] = v->conns[--v->nconns];
	free(c);
}

void vsock_kill(struct vsock_conn *c)
{
	close_socket(c);
	c->state = VSOCK_CLOSED;
	c->owed = OWED(VIRTIO_VSOCK_OP_RST);
}

void vsock_watch(struct vsock_conn *c)
{
	uint32_t events = 0;

	if (c->src.fd < 0 || c->hung_up)
		return;
	if (c->state == VSOCK_GREETED || (c->state == VSOCK_CONNECTED && !c->readable && !c->ended))
		events |= EPOLLIN;
	if (c->waiting)
		events |= EPOLLOUT;
	if (!c->in_loop)
		c->in_loop = loop_add(c->v->dev.loop, &c->src, events) == 0;
	else if (events != c->events)
		loop_change(c->v->dev.loop, &c->src, events);
	c->events = events;
}

static void owe(struct vsock_conn *c, uint16_t op)
{
	c->owed |= OWED(op);
}

/* Bytes left our buffer; the guest is told when it is worth a packet. */
static void freed(struct vsock_conn *c, uint32_t bytes)
{
	c->fwd += bytes;
	if (c->fwd - c->told_fwd >= TOLD_LAG)
		owe(c, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
}

/* Both ends are done and everything was passed on: 5.10.6.5, a clean end is answered by RST. */
static void finish_guest_shutdown(struct vsock_conn *c)
{
	if (c->waiting || c->state != VSOCK_CONNECTED)
		return;
	if ((c->guest_shutdown & (RCV | SEND)) == (RCV | SEND)) {
		vsock_kill(c);
	} else if (c->guest_shutdown & SEND && !c->write_closed) {
		c->write_closed = true;
		shutdown(c->src.fd, SHUT_WR);
	}
}

/* Nobody reads what the guest sends: it is told, and what it sent already is dropped. */
static void no_reader(struct vsock_conn *c)
{
	freed(c, c->waiting);
	c->waiting = 0;
	free(c->buffer);
	c->buffer = NULL;
	c->shutdown |= RCV;
	owe(c, VIRTIO_VSOCK_OP_SHUTDOWN);
}

static void flush(struct vsock_conn *c)
{
	uint32_t room = VSOCK_BUFFER - c->start;
	struct iovec iov[2] = {
		{.iov_base = c->buffer + c->start,
		 .iov_len = c->waiting < room ? c->waiting : room},
		{.iov_base = c->buffer, .iov_len = c->waiting < room ? 0 : c->waiting - room}};
	ssize_t n = writev(c->src.fd, iov, 2);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0) {
		no_reader(c);
		return;
	}
	c->start = (c->start + n) % VSOCK_BUFFER;
	c->waiting -= n;
	freed(c, n);
	if (!c->waiting) {
		free(c->buffer);
		c->buffer = NULL;
	}
}

/* The greeting is taken up to its end and no byte further: what follows is for the guest. */
static void read_greeting(struct vsock_conn *c)
{
	size_t room = VSOCK_GREETING - 1 - c->greeting_len;
	char *to = c->greeting + c->greeting_len, *end;
	ssize_t n = recv(c->src.fd, to, room, MSG_PEEK | MSG_DONTWAIT);
	unsigned int port;
	char rest;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		vsock_free(c);
		return;
	}
	end = memchr(to, '\n', n);
	n = recv(c->src.fd, to, end ? end - to + 1 : n, MSG_DONTWAIT);
	c->greeting_len += n > 0 ? n : 0;
	c->greeting[c->greeting_len] = '\0';
	if (!end && c->greeting_len < VSOCK_GREETING - 1)
		return;
	if (!end || sscanf(c->greeting, "CONNECT %10u%c", &port, &rest) != 2 || rest != '\n') {
		vsock_free(c);
		return;
	}
	c->guest_port = port;
	c->state = VSOCK_REQUESTED;
	owe(c, VIRTIO_VSOCK_OP_REQUEST);
	vsock_watch(c);
}

static void hung_up(struct vsock_conn *c)
{
	c->hung_up = true;
	loop_remove(c->v->dev.loop, &c->src);
	c->in_loop = false;
	if (c->state == VSOCK_GREETED ||
	    (c->state == VSOCK_REQUESTED && c->owed & OWED(VIRTIO_VSOCK_OP_REQUEST))) {
		vsock_free(c); /* the guest never heard of it */
		return;
	}
	if (c->state != VSOCK_CONNECTED) {
		vsock_kill(c);
		return;
	}
	if (c->waiting)
		no_reader(c);
	c->readable = true; /* the last bytes, and the end */
	c->shutdown |= c->ended ? RCV | SEND : RCV;
	if (c->ended)
		owe(c, VIRTIO_VSOCK_OP_SHUTDOWN);
	finish_guest_shutdown(c);
}

static void on_socket(void *arg, uint32_t events)
{
	struct vsock_conn *c = arg;
	struct vsock_unix *v = c->v;

	if (c->state == VSOCK_GREETED && events & EPOLLIN) {
		read_greeting(c);
	} else if (events & (EPOLLHUP | EPOLLERR)) {
		hung_up(c);
	} else {
		if (events & EPOLLOUT && c->waiting) {
			flush(c);
			finish_guest_shutdown(c);
		}
		c->readable |= events & EPOLLIN;
		vsock_watch(c);
	}
	vsock_pump(v);
}

struct vsock_conn *vsock_open(struct vsock_unix *v, enum vsock_state state, int fd)
{
	struct vsock_conn *c;

	if (v->nconns >= VSOCK_MAX_CONNS - (state == VSOCK_CONNECTING ? VSOCK_HOST_CONNS : 0))
		return NULL;
	c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->v = v;
	c->state = state;
	c->src = (struct loop_source){.fd = fd, .fn = on_socket, .arg = c};
	v->conns[v->nconns++] = c;
	vsock_watch(c);
	return c;
}

void vsock_joined(struct vsock_conn *c, int fd)
{
	c->src.fd = fd;
	c->state = VSOCK_CONNECTED;
	owe(c, VIRTIO_VSOCK_OP_RESPONSE);
	vsock_watch(c);
}

void vsock_accepted(struct vsock_conn *c)
{
	char text[32];
	int n = snprintf(text, sizeof(text), "OK %u\n", c->host_port);

	c->state = VSOCK_CONNECTED;
	if (send(c->src.fd, text, n, MSG_DONTWAIT | MSG_NOSIGNAL) != n)
		vsock_kill(c);
	else
		vsock_watch(c);
}

static unsigned int slice(const struct iovec *in, unsigned int n, size_t skip, size_t len,
			  struct iovec *out)
{
	unsigned int i, count = 0;
	size_t part;

	for (i = 0; i < n && len; i++) {
		if (skip >= in[i].iov_len) {
			skip -= in[i].iov_len;
			continue;
		}
		part = in[i].iov_len - skip;
		part = part < len ? part : len;
		out[count++] = (struct iovec){.iov_base = (uint8_t *)in[i].iov_base + skip,
					      .iov_len = part};
		len -= part;
		skip = 0;
	}
	return count;
}

/* Keeps what the socket did not take; there is room, or the guest would have had no credit. */
static bool keep(struct vsock_conn *c, const struct vq_chain *chain, size_t skip, uint32_t len)
{
	uint32_t at = (c->start + c->waiting) % VSOCK_BUFFER, first = VSOCK_BUFFER - at;

	if (!c->buffer)
		c->buffer = malloc(VSOCK_BUFFER);
	if (!c->buffer)
		return false;
	first = first < len ? first : len;
	iov_read(chain->iov, chain->nread, skip, c->buffer + at, first);
	iov_read(chain->iov, chain->nread, skip + first, c->buffer, len - first);
	c->waiting += len;
	return true;
}

void vsock_take(struct vsock_conn *c, const struct vq_chain *chain, size_t skip, uint32_t len)
{
	struct vsock_unix *v = c->v;
	unsigned int n;
	ssize_t done = 0;

	/* More than it may send, or more after its end: it does not keep to the rules. */
	if (len > VSOCK_BUFFER - c->waiting || c->guest_shutdown & SEND) {
		vsock_kill(c);
		return;
	}
	if (c->shutdown & RCV) {
		freed(c, len);
		return;
	}
	if (!c->waiting && len) {
		n = slice(chain->iov, chain->nread, skip, len, v->part);
		done = writev(c->src.fd, v->part, n);
		if (done < 0 && errno != EAGAIN && errno != EINTR) {
			freed(c, len);
			no_reader(c);
			return;
		}
		done = done < 0 ? 0 : done;
		freed(c, done);
	}
	if (done < len && !keep(c, chain, skip + done, len - done))
		vsock_kill(c);
	else
		vsock_watch(c);
}

void vsock_guest_shutdown(struct vsock_conn *c, uint32_t flags)
{
	c->guest_shutdown |= flags & (RCV | SEND);
	if (c->guest_shutdown & RCV && !c->ended) {
		c->ended = true; /* nothing is read for it any more */
		shutdown(c->src.fd, SHUT_RD);
	}
	finish_guest_shutdown(c);
	vsock_watch(c);
}

uint32_t vsock_credit(const struct vsock_conn *c)
{
	uint32_t in_flight = c->sent - c->peer_fwd;

	return in_flight < c->peer_alloc ? c->peer_alloc - in_flight : 0;
}

size_t vsock_read(struct vsock_conn *c, const struct vq_chain *chain)
{
	size_t len = chain->write_len - HEADER, credit = vsock_credit(c);
	ssize_t n;

	n = slice(chain->iov + chain->nread, chain->nwrite, HEADER, len < credit ? len : credit,
		  c->v->part);
	n = readv(c->src.fd, c->v->part, n);
	if (n > 0)
		return n;
	c->readable = false;
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		vsock_watch(c);
	} else if (n < 0) {
		vsock_kill(c);
	} else {
		c->ended = true;
		c->shutdown |= c->hung_up ? RCV | SEND : SEND;
		owe(c, VIRTIO_VSOCK_OP_SHUTDOWN);
		vsock_watch(c);
	}
	return 0;
}

bool vsock_has_packet(struct vsock_conn *c)
{
	if (c->state == VSOCK_CONNECTED && c->readable && !c->ended) {
		if (vsock_credit(c))
			return true;
		if (!c->asked_credit) {
			c->asked_credit = true;
			owe(c, VIRTIO_VSOCK_OP_CREDIT_REQUEST);
		}
	}
	return c->owed;
}
