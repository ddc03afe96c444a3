// SPDX-License-Identifier: Apache-2.0
/*
 * Ethernet frames over a stream socket, each after its length as 32 bits big-endian: what
 * passt serves, and what QEMU's `-netdev stream` speaks.  There is no virtio-net header on
 * that road and no offload: frames are whole and have their checksums.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "virtio/net_device.h"

#define LENGTH	  4	       /* bytes before each frame */
#define IN_BYTES  (128u << 10) /* room for a largest frame, and for many small ones at once */
#define OUT_BYTES (LENGTH + NET_FRAME_MAX)

struct stream {
	uint32_t in_at, in_end;	  /* [in_at, in_end) of `in` is not taken yet */
	uint32_t out_at, out_end; /* the rest of one frame that the socket took in part */
	uint8_t in[IN_BYTES];
	uint8_t out[OUT_BYTES];
};

/* The next frame's length; 0: not all of it is here; -1: no such frame can be. */
static int32_t next_length(const struct stream *s)
{
	uint32_t have = s->in_end - s->in_at, len;

	if (have < LENGTH)
		return 0;
	memcpy(&len, s->in + s->in_at, LENGTH);
	len = ntohl(len);
	if (len < NET_FRAME_MIN || len > NET_FRAME_MAX)
		return -1;
	return have - LENGTH < len ? 0 : (int32_t)len;
}

/* Reads what is there into the room behind what waits.  1, 0: nothing; -1: the peer is gone. */
static int fill(struct net_pair *p, struct stream *s)
{
	ssize_t got;

	if (s->in_at == s->in_end)
		s->in_at = s->in_end = 0;
	if (s->in_at && IN_BYTES - s->in_at < OUT_BYTES) {
		memmove(s->in, s->in + s->in_at, s->in_end - s->in_at);
		s->in_end -= s->in_at;
		s->in_at = 0;
	}
	/* There is room: what waits is less than one frame. */
	got = read(p->source.fd, s->in + s->in_end, IN_BYTES - s->in_end);
	if (got < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	s->in_end += got;
	return got ? 1 : -1;
}

static ssize_t stream_receive(struct net_pair *p, const struct iovec *iov, unsigned int n)
{
	static const struct virtio_net_hdr_v1 header;
	struct stream *s = p->net->stream;
	int32_t len;
	int r;

	while ((len = next_length(s)) == 0) {
		r = fill(p, s);
		if (r <= 0)
			return r;
	}
	if (len < 0)
		return -1; /* what follows cannot be told from the middle of a frame */
	iov_write(iov, n, 0, &header, sizeof(header));
	iov_write(iov, n, sizeof(header), s->in + s->in_at + LENGTH, len);
	s->in_at += LENGTH + len;
	return (ssize_t)sizeof(header) + len;
}

/* Sends what a frame left behind; true when nothing of it is left. */
static bool flush(struct net_pair *p, struct stream *s)
{
	ssize_t sent;

	while (s->out_at < s->out_end) {
		sent = write(p->source.fd, s->out + s->out_at, s->out_end - s->out_at);
		if (sent < 0)
			return false;
		s->out_at += sent;
	}
	s->out_at = s->out_end = 0;
	return true;
}

static void stream_writable(struct net_pair *p)
{
	if (!flush(p, p->net->stream))
		net_watch(p, p->watched | EPOLLOUT);
}

/* Turns header and frame into length and frame, in place: the header is the longer one. */
static unsigned int replace_header(struct iovec *iov, unsigned int n, const uint32_t *length)
{
	size_t skip = NET_HEADER;
	unsigned int from = 0;

	while (from < n && skip >= iov[from].iov_len)
		skip -= iov[from++].iov_len;
	if (from == n || n - from == VQ_MAX_SEGS)
		return 0;
	iov[from].iov_base = (uint8_t *)iov[from].iov_base + skip;
	iov[from].iov_len -= skip;
	/* One place more is needed where header and frame shared a buffer. */
	memmove(iov + 1, iov + from, (n - from) * sizeof(*iov));
	iov[0] = (struct iovec){.iov_base = (void *)(uintptr_t)length, .iov_len = LENGTH};
	return n - from + 1;
}

static int stream_send(struct net_pair *p, struct iovec *iov, unsigned int n, size_t len)
{
	struct stream *s = p->net->stream;
	uint32_t length = htonl((uint32_t)(len - NET_HEADER));
	size_t whole = LENGTH + len - NET_HEADER;
	ssize_t sent;

	if (!flush(p, s))
		return errno == EAGAIN ? 0 : -1;
	n = replace_header(iov, n, &length);
	if (!n)
		return -1;
	sent = writev(p->source.fd, iov, (int)n);
	if (sent < 0)
		return errno == EAGAIN ? 0 : -1;
	if ((size_t)sent < whole)
		s->out_end = iov_read(iov, n, sent, s->out, sizeof(s->out));
	/* The rest goes with the next frame, or when there is room: whichever is first. */
	if (s->out_end)
		net_watch(p, p->watched | EPOLLOUT);
	return 1;
}

static void stream_destroy(struct net *n)
{
	free(n->stream);
}

static const struct net_backend stream_backend = {
	.receive = stream_receive,
	.send = stream_send,
	.writable = stream_writable,
	.destroy = stream_destroy,
};

struct virtio_dev *net_create_stream(const struct guest_memory *mem, struct loop *loop, int fd,
				     const struct net_config *cfg, struct error *e)
{
	struct net *n = net_new(mem, loop, cfg, &stream_backend, e);

	if (!n) {
		close(fd);
		return NULL;
	}
	n->stream = calloc(1, sizeof(struct stream));
	if (!n->stream || fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK)) {
		error_set(e, ERROR_MACHINE, "virtio-net: %s", strerror(errno));
		close(fd);
	} else if (!net_attach(n, 0, fd, e)) {
		return &n->dev;
	}
	n->dev.ops->destroy(&n->dev);
	return NULL;
}

int net_stream_connect(const char *path, struct error *e)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd;

	if (strlen(path) >= sizeof(addr.sun_path))
		return error_set(e, ERROR_USER,
				 "--net socket=%s: a socket's path has at most %zu bytes", path,
				 sizeof(addr.sun_path) - 1);
	strcpy(addr.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_set(e, ERROR_MACHINE, "socket: %s", strerror(errno));
	if (!connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
		return fd;
	error_set(e, ERROR_USER, "--net socket=%s: %s%s", path, strerror(errno),
		  errno == ECONNREFUSED ? " (nobody listens there any more)" : "");
	close(fd);
	return -1;
}
