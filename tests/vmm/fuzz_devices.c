// SPDX-License-Identifier: Apache-2.0
/*
 * Fuzzes the virtqueues, the mmio transport and every device back end in this process,
 * without KVM: the input is a script of register writes, ring contents and kicks.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "driver.h"
#include "fuzz.h"
#include "log.h"
#include "virtio/balloon.h"
#include "virtio/blk.h"
#include "virtio/console.h"
#include "virtio/net.h"
#include "virtio/rng.h"

#define RAM	   (16ull << 20)
#define QUEUE_SIZE 16
#define NDEVICES   7
#define STREAM	   6 /* its number in devices[] */

static struct guest_memory mem;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct loop loop;
static struct virtio_dev *devices[NDEVICES];
static int net_peer, stream_peer = -1;

static int temp_image(char *path)
{
	int fd = mkstemp(path);

	CHECK(fd >= 0 && ftruncate(fd, 1 << 20) == 0);
	close(fd);
	return 0;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	char image[] = "/tmp/fuzz-disk-XXXXXX", image_ro[] = "/tmp/fuzz-disk-XXXXXX";
	struct disk_config disk = {.path = image}, disk_ro = {.path = image_ro, .read_only = true};
	struct balloon_config balloon = {.deflate_on_oom = true, .reporting = true};
	static const struct net_config two_pairs = {.pairs = 2};
	int ends[2], more[2], null = open("/dev/null", O_RDWR);
	struct console *con;
	struct error e;

	(void)argc, (void)argv;
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	log_open("/dev/null");
	CHECK(memory_create(&mem, &(struct memory_config){.size = RAM}, &e) == 0);
	CHECK(loop_create(&loop, &lock) == 0);
	temp_image(image);
	temp_image(image_ro);
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends) == 0);
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, more) == 0);
	net_peer = ends[1];
	con = console_create(&loop, NULL, NULL, &e);
	CHECK(con);
	devices[0] = blk_create(&mem, &loop, &disk, 0, &e);
	devices[1] = blk_create(&mem, &loop, &disk_ro, 1, &e);
	devices[2] = net_create_fds(&mem, &loop, (int[]){ends[0], more[0]}, &two_pairs, &e);
	devices[3] = virtio_console_create(&mem, &loop, con, &e);
	devices[4] = rng_create(&mem, &loop, &e);
	devices[5] = balloon_create(&mem, &loop, &balloon, &e);
	CHECK(devices[0] && devices[1] && devices[2] && devices[3] && devices[4] && devices[5]);
	unlink(image);
	unlink(image_ro);
	return 0;
}

/* Mostly inside RAM and small; sometimes at an edge; sometimes anything. */
static uint64_t some_address(struct script *s)
{
	uint64_t kind = take(s, 1), v = take(s, 3);

	if (kind < 200)
		return v % RAM;
	if (kind < 230)
		return RAM - v % 64;
	if (kind < 240)
		return UINT64_MAX - v % 4096;
	return v << (kind & 63);
}

static uint32_t some_length(struct script *s)
{
	uint64_t kind = take(s, 1);

	if (kind < 100)
		return 16;
	if (kind < 150)
		return 512;
	if (kind < 200)
		return take(s, 2);
	if (kind < 230)
		return 1;
	return (uint32_t)take(s, 4);
}

static void write_descriptor(struct script *s, uint64_t table, unsigned int room)
{
	struct vring_desc d = {.addr = some_address(s), .len = some_length(s)};
	unsigned int index = take(s, 1) % room;

	d.flags = take(s, 1) & 7;
	if (take(s, 1) > 40)
		d.flags &= ~VRING_DESC_F_INDIRECT;
	else
		d.len = take(s, 1) % 20 * 16;
	d.next = take(s, 1) % (room + 1);
	memory_write(&mem, table + 16ull * index, &d, sizeof(d));
}

/* A network over a stream: the first bad frame ends its link, so each input gets a new one. */
static void new_stream(void)
{
	static const struct net_config cfg;
	struct error e;
	int ends[2];

	if (devices[STREAM]) {
		devices[STREAM]->ops->destroy(devices[STREAM]);
		close(stream_peer);
	}
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0);
	stream_peer = ends[1];
	devices[STREAM] = net_create_stream(&mem, &loop, ends[0], &cfg, &e);
	CHECK(devices[STREAM]);
}

/* A frame with its length before it, mostly the right one. */
static void send_frame(struct script *s)
{
	uint32_t len = 14 + take(s, 1) * 8, said = take(s, 1) < 250 ? len : (uint32_t)take(s, 4);
	uint8_t bytes[4] = {said >> 24, said >> 16, said >> 8, said};

	if (send(stream_peer, bytes, 4, MSG_DONTWAIT | MSG_NOSIGNAL) == 4 &&
	    send(stream_peer, mem.base, len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return;
}

/* A command of the network's control queue with anything for an argument. */
static void write_command(struct script *s, unsigned int queue)
{
	uint8_t bytes[12] = {take(s, 1) % 6, take(s, 1) % 4, take(s, 1), take(s, 1)};
	uint64_t at = 0x200000 + take(s, 1) * 64;

	memory_write(&mem, at, bytes, sizeof(bytes));
	set_desc(&mem, queue, 0, at, take(s, 1) * 2, VRING_DESC_F_NEXT, 1);
	set_desc(&mem, queue, 1, 0x300000, 1, VRING_DESC_F_WRITE, 0);
}

/* A block request that would be right but for what the script changes afterwards. */
static void write_block_request(struct script *s)
{
	uint32_t header[4] = {take(s, 1) % 12, 0, take(s, 2) % 4096, 0};
	uint64_t at = 0x200000 + take(s, 1) * 64;

	memory_write(&mem, at, header, sizeof(header));
	set_desc(&mem, 0, 0, at, 16, VRING_DESC_F_NEXT, 1);
	set_desc(&mem, 0, 1, some_address(s), some_length(s),
		 VRING_DESC_F_NEXT | (header[0] == 0 ? VRING_DESC_F_WRITE : 0), 2);
	set_desc(&mem, 0, 2, 0x300000, 1, VRING_DESC_F_WRITE, 0);
}

static void step(struct script *s, struct virtio_dev *dev)
{
	unsigned int queue = take(s, 1) % dev->nqueues;
	uint8_t bytes[8];

	switch (take(s, 1) % 12) {
	case 0:
	case 1:
		write_descriptor(s, RING_GPA(queue), QUEUE_SIZE);
		break;
	case 2:
		write_descriptor(s, some_address(s) & ~15ull, QUEUE_SIZE);
		break;
	case 3:
		if (dev == devices[2] || dev == devices[STREAM])
			write_command(s, queue);
		else
			write_block_request(s);
		break;
	case 4:
	case 5:
		offer(&mem, queue, QUEUE_SIZE, take(s, 1) % (QUEUE_SIZE + 1));
		reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, queue);
		break;
	case 6:
		reg_write(dev, take(s, 1) % 0x100 & ~3u, take(s, 4));
		break;
	case 7:
		virtio_mmio_access(dev, take(s, 2) % 0xff8, take(s, 1) & 1, bytes,
				   1u << take(s, 1) % 4);
		break;
	case 8:
		driver_start(dev, take(s, 1) & 1 ? dev->features : take(s, 8), QUEUE_SIZE);
		break;
	case 9:
		if (dev == devices[STREAM]) {
			send_frame(s);
			break;
		}
		bytes[0] = take(s, 1);
		if (send(net_peer, mem.base + bytes[0], 12 + bytes[0], MSG_DONTWAIT) < 0)
			break;
		break;
	case 10:
		memset(memory_at(&mem, RING_GPA(queue), 0x10000), 0, 0x10000);
		break;
	case 11:
		loop_once(&loop, 0);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct script s = {.data = data, .len = size};
	unsigned int number = take(&s, 1) % NDEVICES;
	struct virtio_dev *dev;
	char drain[600];

	if (number == STREAM)
		new_stream();
	dev = devices[number];
	memset(memory_at(&mem, RING_GPA(0), 0x50000), 0, 0x50000);
	driver_start(dev, dev->features, QUEUE_SIZE);
	while (s.at < s.len)
		step(&s, dev);
	loop_once(&loop, 0);
	reg_write(dev, VIRTIO_MMIO_STATUS, 0);
	while (recv(net_peer, drain, sizeof(drain), MSG_DONTWAIT) > 0)
		;
	return 0;
}
