// SPDX-License-Identifier: Apache-2.0
/*
 * Fuzzes the vsock device that is served by Unix sockets: packets of a guest that are nearly
 * right, buffers of any size, and what clients and listeners on the host do meanwhile.
 */
#include <linux/virtio_vsock.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "fuzz.h"
#include "log.h"
#include "virtio/vsock.h"

#define RAM	   (16ull << 20)
#define QUEUE_SIZE 16
#define CID	   3
#define NCLIENTS   6
#define BUFFERS	   0x300000ull
#define PACKET	   0x400000ull

enum { RX, TX, EVENT };

static struct guest_memory mem;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct loop loop;
static struct virtio_dev *dev;
static char path[] = "/tmp/fuzz-vsock-XXXXXX/v";
static int listener;
static int clients[NCLIENTS];

static int unix_socket(struct sockaddr_un *addr, const char *suffix)
{
	*addr = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(addr->sun_path, sizeof(addr->sun_path), "%s%s", path, suffix);
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct vsock_config cfg = {.cid = CID, .socket = path};
	struct sockaddr_un addr;
	struct error e;
	unsigned int i;

	(void)argc, (void)argv;
	log_open("/dev/null");
	*strrchr(path, '/') = '\0';
	CHECK(mkdtemp(path));
	path[strlen(path)] = '/';
	CHECK(memory_create(&mem, &(struct memory_config){.size = RAM}, &e) == 0);
	CHECK(loop_create(&loop, &lock) == 0);
	dev = vsock_create(&mem, &loop, &cfg, &e);
	CHECK(dev);
	listener = unix_socket(&addr, "_52");
	CHECK(bind(listener, (struct sockaddr *)&addr, sizeof(addr)) == 0);
	CHECK(listen(listener, 8) == 0);
	for (i = 0; i < NCLIENTS; i++)
		clients[i] = -1;
	return 0;
}

/* A length or a count: often one that matters. */
static uint32_t some_count(struct script *s)
{
	static const uint32_t known[] = {0, 1, 44, 4096, 65535, 65536, 65537, UINT32_MAX};
	uint64_t kind = take(s, 1);

	return kind < 128 ? known[kind % 8] : (uint32_t)take(s, kind < 220 ? 2 : 4);
}

static uint32_t some_port(struct script *s)
{
	uint64_t kind = take(s, 1);

	return kind < 100 ? 52 : kind < 200 ? 0x40000000u + kind % 8 : kind % 60;
}

static void send_packet(struct script *s)
{
	struct virtio_vsock_hdr h = {.src_cid = take(s, 1) ? CID : 9,
				     .dst_cid = take(s, 1) ? 2 : 7,
				     .src_port = take(s, 1) % 4,
				     .dst_port = some_port(s),
				     .type = take(s, 1) ? VIRTIO_VSOCK_TYPE_STREAM : 2,
				     .op = take(s, 1) % 9,
				     .flags = take(s, 1) % 4};
	uint32_t have = some_count(s) % 70000, cut = take(s, 1) % 50;

	h.buf_alloc = some_count(s);
	h.fwd_cnt = some_count(s);
	h.len = take(s, 1) < 200 ? have : some_count(s);
	memory_write(&mem, PACKET, &h, sizeof(h));
	set_desc(&mem, TX, 0, PACKET, cut ? cut : 1, VRING_DESC_F_NEXT, 1);
	set_desc(&mem, TX, 1, PACKET + (cut ? cut : 1), sizeof(h) + have, 0, 0);
	offer(&mem, TX, QUEUE_SIZE, 0);
	reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, TX);
}

static void post_buffer(struct script *s)
{
	unsigned int i = take(s, 1) % QUEUE_SIZE;

	set_desc(&mem, RX, i, BUFFERS + 8192 * i, 45 + some_count(s) % 8000, VRING_DESC_F_WRITE, 0);
	offer(&mem, RX, QUEUE_SIZE, i);
	reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, RX);
}

static void use_client(struct script *s)
{
	static const char *const words[] = {"CONNECT 1\n", "CONNECT 2\nmore",
					    "CONN",	   "ECT 3\n",
					    "nonsense\n",  "CONNECT 99999999999999999\n"};
	int *fd = &clients[take(s, 1) % NCLIENTS];
	const char *word = words[take(s, 1) % 6];
	static char bytes[65536];
	struct sockaddr_un addr;
	ssize_t n = 0;

	switch (take(s, 1) % 7) {
	case 0:
	case 1:
		if (*fd >= 0)
			break;
		*fd = unix_socket(&addr, "");
		n = connect(*fd, (struct sockaddr *)&addr, sizeof(addr));
		n = n ? n : send(*fd, word, strlen(word), MSG_NOSIGNAL);
		break;
	case 2:
		if (*fd < 0)
			*fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		break;
	case 3:
		n = *fd < 0 ? 0 : send(*fd, bytes, some_count(s) % sizeof(bytes), MSG_NOSIGNAL);
		break;
	case 4:
		n = *fd < 0 ? 0 : recv(*fd, bytes, sizeof(bytes), 0);
		break;
	case 5:
		n = *fd < 0 ? 0 : shutdown(*fd, (int)take(s, 1) % 3);
		break;
	case 6:
		if (*fd >= 0)
			close(*fd);
		*fd = -1;
	}
	(void)n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct script s = {.data = data, .len = size};
	unsigned int i;
	int fd;

	memset(memory_at(&mem, RING_GPA(0), 0x30000), 0, 0x30000);
	driver_start(dev, dev->features, QUEUE_SIZE);
	while (s.at < s.len) {
		uint64_t what = take(&s, 1) % 16;

		if (what < 5)
			send_packet(&s);
		else if (what < 8)
			post_buffer(&s);
		else if (what < 12)
			use_client(&s);
		else if (what == 15 && take(&s, 1) < 20)
			driver_start(dev, dev->features, QUEUE_SIZE);
		else
			loop_once(&loop, 0);
	}
	reg_write(dev, VIRTIO_MMIO_STATUS, 0);
	for (i = 0; i < NCLIENTS; i++) {
		if (clients[i] >= 0)
			close(clients[i]);
		clients[i] = -1;
	}
	while ((fd = accept(listener, NULL, NULL)) >= 0)
		close(fd);
	for (i = 0; i < 4; i++)
		loop_once(&loop, 0);
	return 0;
}
