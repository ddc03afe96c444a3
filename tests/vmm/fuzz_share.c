// SPDX-License-Identifier: Apache-2.0
/*
 * Fuzzes the file system device from both of its sides: answers of a virtiofsd that are nearly
 * right and end anywhere, and the rings of a guest that hg-vmm serves itself from then on.
 */
#include <linux/fuse.h>
#include <sys/socket.h>

#include "fuzz.h"
#include "log.h"
#include "virtio/fs.h"

#define RAM	   (16ull << 20)
#define QUEUES	   2
#define QUEUE_SIZE 16
#define REQUEST	   0x200000ull
#define ANSWER	   0x210000ull
#define VERSION_1  (1ull << 32)
#define PROTOCOL   (1ull << 30)
#define MQ	   1ull
#define REPLY_ACK  8ull

/* Messages with an answer of their own, and those that REPLY_ACK has acknowledged, in order. */
enum { GET_FEATURES = 1, GET_PROTOCOL_FEATURES = 15, GET_QUEUE_NUM = 17 };
static const uint8_t opening[] = {16, 17, 3}, starting[] = {2, 5};
static const uint8_t ring[] = {8, 10, 9, 13, 12, 18};

static struct guest_memory mem;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct loop loop;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct memory_config cfg = {.size = RAM, .shared = true};
	struct error e;

	(void)argc, (void)argv;
	log_open("/dev/null");
	CHECK(memory_create(&mem, &cfg, &e) == 0);
	CHECK(loop_create(&loop, &lock) == 0);
	return 0;
}

/* An answer that waits before it is asked for; now and then not what it should be. */
static void say(struct script *s, int peer, uint32_t request, uint64_t value)
{
	struct {
		uint32_t request, flags, size;
		uint64_t value;
	} __attribute__((packed)) m = {request, 5, 8, value};
	size_t len = sizeof(m);

	switch (take(s, 1)) {
	case 0:
		m.request = take(s, 4);
		break;
	case 1:
		m.flags = take(s, 4);
		break;
	case 2:
		m.size = take(s, 4);
		break;
	case 3:
		m.value = take(s, 8);
		break;
	case 4:
		len = take(s, 1) % sizeof(m);
		break;
	}
	CHECK(send(peer, &m, len, MSG_NOSIGNAL) == (ssize_t)len);
}

static void acknowledge(struct script *s, int peer, const uint8_t *requests, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++)
		say(s, peer, requests[i], requests[i] == GET_QUEUE_NUM ? QUEUES : 0);
}

/* All that a back end will ever say; with its end it is lost, as soon as the loop looks. */
static void say_all(struct script *s, int peer)
{
	uint64_t protocol = take(s, 1) & 1 ? MQ : MQ | REPLY_ACK;
	unsigned int starts = take(s, 1) % 4, queue;

	say(s, peer, GET_FEATURES, VERSION_1 | PROTOCOL);
	say(s, peer, GET_PROTOCOL_FEATURES, protocol);
	if (!(protocol & REPLY_ACK)) {
		say(s, peer, GET_QUEUE_NUM, QUEUES);
	} else {
		acknowledge(s, peer, opening, sizeof(opening));
		while (starts--) {
			acknowledge(s, peer, starting, sizeof(starting));
			for (queue = 0; queue < QUEUES; queue++)
				acknowledge(s, peer, ring, sizeof(ring));
		}
	}
	CHECK(shutdown(peer, SHUT_WR) == 0);
}

static uint64_t some_address(struct script *s)
{
	uint64_t kind = take(s, 1), v = take(s, 2);

	if (kind < 110)
		return REQUEST + v % QUEUE_SIZE * 256;
	if (kind < 220)
		return ANSWER + v % QUEUE_SIZE * 256;
	return kind < 240 ? RAM - v % 64 : v << (kind & 63);
}

static void write_descriptor(struct script *s, unsigned int queue)
{
	uint8_t index = take(s, 1) % QUEUE_SIZE, flags = take(s, 1);
	uint64_t at = some_address(s);
	uint32_t len = flags & 64 ? take(s, 4) : 64;

	set_desc(&mem, queue, index, at, len, flags & 7, take(s, 1) % (QUEUE_SIZE + 1));
}

/* A request and its answer, of which a back end may have given the latter. */
static void write_request(struct script *s)
{
	struct fuse_in_header in = {.len = sizeof(in), .unique = take(s, 1) % 4};
	struct fuse_out_header out = {.len = take(s, 1), .unique = take(s, 1) % 4};
	uint64_t slot = take(s, 1) % QUEUE_SIZE * 256;

	memory_write(&mem, REQUEST + slot, &in, sizeof(in));
	memory_write(&mem, ANSWER + slot, &out, sizeof(out));
}

/* What a back end has given back, or a guest pretends that it has. */
static void write_used(struct script *s, unsigned int queue)
{
	uint16_t *used = memory_at(&mem, USED_GPA(queue), 4 + 8 * QUEUE_SIZE), jump = take(s, 1);

	used[2 + 4 * (used[1] % QUEUE_SIZE)] = take(s, 1) % (QUEUE_SIZE + 1);
	used[1] += jump < 240 ? 1 : jump << 8;
}

/* A request as a driver makes it, but for what was changed before. */
static void ask(struct script *s, unsigned int queue)
{
	unsigned int i = take(s, 1) % (QUEUE_SIZE / 2);

	set_desc(&mem, queue, 2 * i, REQUEST + 256 * i, 64, VRING_DESC_F_NEXT, 2 * i + 1);
	set_desc(&mem, queue, 2 * i + 1, ANSWER + 256 * i, 64, VRING_DESC_F_WRITE, 0);
	offer(&mem, queue, QUEUE_SIZE, 2 * i);
}

static void step(struct script *s, struct virtio_dev *dev)
{
	unsigned int queue = take(s, 1) % QUEUES;
	uint16_t *avail;

	switch (take(s, 1) % 12) {
	case 0:
		write_descriptor(s, queue);
		break;
	case 1:
	case 2:
		ask(s, queue);
		break;
	case 3:
		write_request(s);
		break;
	case 4:
	case 5:
		offer(&mem, queue, QUEUE_SIZE, take(s, 1) % (QUEUE_SIZE + 1));
		break;
	case 6:
		reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, queue);
		break;
	case 7:
	case 8:
		write_used(s, queue);
		break;
	case 9:
		avail = memory_at(&mem, AVAIL_GPA(queue), 4);
		avail[1] += take(s, 2);
		break;
	case 10:
		loop_once(&loop, 0);
		break;
	case 11:
		if (take(s, 1) & 1)
			driver_start(dev, dev->features, QUEUE_SIZE);
		else
			reg_write(dev, take(s, 1) % 0x100 & ~3u, take(s, 4));
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct script s = {.data = data, .len = size};
	struct virtio_dev *dev;
	struct error e;
	int ends[2];

	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
	say_all(&s, ends[1]);
	memset(memory_at(&mem, RING_GPA(0), 0x20000), 0, 0x20000);
	dev = fs_create_fd(&mem, &loop, "tag", ends[0], -1, &e);
	if (dev) {
		driver_start(dev, dev->features, QUEUE_SIZE);
		while (s.at < s.len)
			step(&s, dev);
		loop_once(&loop, 0);
		reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 1);
		reg_write(dev, VIRTIO_MMIO_STATUS, 0);
		dev->ops->destroy(dev);
	}
	close(ends[1]);
	return 0;
}
