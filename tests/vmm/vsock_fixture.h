/* SPDX-License-Identifier: Apache-2.0 */
/* A vsock device served by Unix sockets, and the driver of its guest. */
#ifndef TEST_VSOCK_FIXTURE_H
#define TEST_VSOCK_FIXTURE_H

#include <fcntl.h>
#include <linux/virtio_vsock.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "log.h"
#include "units.h"
#include "virtio/vsock.h"
#include "virtio/vsock_conn.h"

#define SIZE  8
#define CID   7
#define ROOM  4096ull /* of a receive buffer, header included */
#define RXBUF 0x300000ull
#define TXBUF 0x400000ull
#define HDR   sizeof(struct virtio_vsock_hdr)

enum { RX, TX, EVENT };

struct packet {
	struct virtio_vsock_hdr h;
	uint8_t data[ROOM];
};

static char folder[] = "/tmp/hg-vsock-XXXXXX";
static char path[64];
static uint16_t rx_seen;
static uint32_t guest_alloc = 65536, guest_fwd;

static inline void post(struct virtio_dev *dev, unsigned int i)
{
	set_desc(&mem, RX, i, RXBUF + ROOM * i, ROOM, VRING_DESC_F_WRITE, 0);
	offer(&mem, RX, SIZE, i);
	reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, RX);
}

static inline struct virtio_dev *start(bool with_buffers)
{
	struct vsock_config cfg = {.cid = CID, .socket = path};
	struct virtio_dev *dev;
	unsigned int i;

	setup(MIB(16));
	log_open("/dev/null");
	CHECK(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/v", folder);
	dev = vsock_create(&mem, &loop, &cfg, &err);
	CHECK(dev && driver_start(dev, 0, SIZE));
	loop_once(&loop, 0); /* the kick after DRIVER_OK */
	for (i = 0; with_buffers && i < SIZE; i++)
		post(dev, i);
	return dev;
}

static inline void finish(struct virtio_dev *dev)
{
	char text[80];

	dev->ops->destroy(dev);
	snprintf(text, sizeof(text), "rm -rf %s", folder);
	CHECK(system(text) == 0);
}

/* The next packet for the guest, whose buffer is offered again; false: none comes in time. */
static inline bool get_within(struct virtio_dev *dev, struct packet *p, unsigned int ms)
{
	uint16_t *used = memory_at(&mem, USED_GPA(RX), 4 + 8 * SIZE);
	uint32_t entry[2];
	unsigned int i;

	for (i = 0; i < ms / 5 && used_index(&mem, RX) == rx_seen; i++)
		loop_once(&loop, 5);
	if (used_index(&mem, RX) == rx_seen)
		return false;
	memcpy(entry, used + 2 + 4 * (rx_seen++ % SIZE), sizeof(entry));
	CHECK(entry[1] >= HDR && entry[1] <= ROOM);
	memset(p, 0, sizeof(*p));
	memory_read(&mem, RXBUF + ROOM * entry[0], p, entry[1]);
	CHECK(p->h.src_cid == 2 || p->h.op == VIRTIO_VSOCK_OP_RST);
	CHECK(p->h.dst_cid == CID && p->h.len == entry[1] - HDR);
	post(dev, entry[0]);
	return true;
}

static inline bool get(struct virtio_dev *dev, struct packet *p)
{
	return get_within(dev, p, 300);
}

static inline bool get_op(struct virtio_dev *dev, struct packet *p, uint16_t op)
{
	return get_within(dev, p, 20000) && p->h.op == op;
}

/* The end of the host's stream, which the connector's copy of it may put off for a moment. */
static inline bool ends(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char byte;

	return poll(&p, 1, 20000) == 1 && recv(fd, &byte, 1, 0) == 0;
}

/* A raw packet of `bytes` bytes, whatever its header says. */
static inline void put_raw(struct virtio_dev *dev, const void *bytes, uint32_t len)
{
	uint16_t before = used_index(&mem, TX);

	memory_write(&mem, TXBUF, bytes, len);
	set_desc(&mem, TX, 0, TXBUF, len, 0, 0);
	offer(&mem, TX, SIZE, 0);
	reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, TX);
	CHECK(used_index(&mem, TX) == (uint16_t)(before + 1));
}

static inline struct virtio_vsock_hdr header(uint16_t op, uint32_t guest_port, uint32_t host_port)
{
	return (struct virtio_vsock_hdr){.src_cid = CID,
					 .dst_cid = 2,
					 .src_port = guest_port,
					 .dst_port = host_port,
					 .type = VIRTIO_VSOCK_TYPE_STREAM,
					 .op = op,
					 .buf_alloc = guest_alloc,
					 .fwd_cnt = guest_fwd};
}

static inline void put(struct virtio_dev *dev, uint16_t op, uint32_t guest_port, uint32_t host_port,
		       const void *data, uint32_t len)
{
	static uint8_t bytes[HDR + 65536];
	struct virtio_vsock_hdr h = header(op, guest_port, host_port);

	h.len = len;
	memcpy(bytes, &h, HDR);
	if (len)
		memcpy(bytes + HDR, data, len);
	put_raw(dev, bytes, HDR + len);
}

static inline void put_shutdown(struct virtio_dev *dev, uint32_t guest_port, uint32_t host_port,
				uint32_t flags)
{
	struct virtio_vsock_hdr h = header(VIRTIO_VSOCK_OP_SHUTDOWN, guest_port, host_port);

	h.flags = flags;
	put_raw(dev, &h, HDR);
}

static inline int unix_socket(struct sockaddr_un *addr, const char *name)
{
	*addr = (struct sockaddr_un){.sun_family = AF_UNIX};
	strcpy(addr->sun_path, name);
	return socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
}

static inline int listen_at(uint32_t port)
{
	struct sockaddr_un addr;
	char name[80];
	int fd;

	snprintf(name, sizeof(name), "%s_%u", path, port);
	fd = unix_socket(&addr, name);
	CHECK(bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0 && listen(fd, 4) == 0);
	return fd;
}

/* A client of PATH that has said `greeting`. */
static inline int client(const char *greeting)
{
	struct sockaddr_un addr;
	int fd = unix_socket(&addr, path);

	CHECK(connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0);
	CHECK(send(fd, greeting, strlen(greeting), 0) == (ssize_t)strlen(greeting));
	return fd;
}

/* The guest's stream from its port 1000 to the host's port 52; returns the host's socket. */
static inline int joined(struct virtio_dev *dev, struct packet *p)
{
	int listener = listen_at(52), fd;
	char name[80];

	put(dev, VIRTIO_VSOCK_OP_REQUEST, 1000, 52, NULL, 0);
	CHECK(get_op(dev, p, VIRTIO_VSOCK_OP_RESPONSE));
	CHECK(p->h.src_port == 52 && p->h.dst_port == 1000 && p->h.buf_alloc == VSOCK_BUFFER);
	fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
	CHECK(fd >= 0);
	close(listener);
	snprintf(name, sizeof(name), "%s_52", path);
	CHECK(unlink(name) == 0);
	return fd;
}

#endif
