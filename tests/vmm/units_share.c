// SPDX-License-Identifier: Apache-2.0
/*
 * Unit tests of the vhost-user front end and the file system device, against a back end in a
 * thread: one that answers, and some that hang up, keep silent or talk nonsense.
 */
#include <errno.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "log.h"
#include "units.h"
#include "virtio/fs.h"
#include "virtio/notifiers.h"

#define SIZE	  8
#define REQUEST	  0x200000ull
#define ANSWER	  0x210000ull
#define TEXT	  "served"
#define QUEUES	  2
#define VERSION_1 (1ull << 32)
#define PROTOCOL  (1ull << 30)
#define REPLY_ACK (1ull << 3)

/* What the back end does wrong, and how many requests it serves before it leaves. */
struct behaviour {
	uint64_t features, protocol;
	uint32_t lie_about; /* a request that is answered with a wrong size */
	uint32_t refuse;    /* a request whose acknowledgement is 1 */
	unsigned int serve; /* it takes one more, and hangs up without an answer */
};

struct message {
	uint32_t request, flags, size;
	uint8_t body[128];
};

struct ring {
	uint32_t num;
	uint16_t next, used;
	uint64_t desc, used_addr, avail;
	int kick, call;
};

static struct {
	pthread_t thread;
	struct behaviour how;
	int fd, ram_fd;
	uint8_t *ram;
	uint64_t ram_user;
	struct ring rings[QUEUES];
	unsigned int served;
	bool enabled[QUEUES];
} peer;

static bool get(int fd, struct message *m, int *passed)
{
	struct iovec iov = {.iov_base = m, .iov_len = 12};
	char control[CMSG_SPACE(2 * sizeof(int))];
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control,
			     .msg_controllen = sizeof(control)};

	if (recvmsg(fd, &msg, MSG_WAITALL) != 12)
		return false;
	*passed = -1;
	if (msg.msg_controllen)
		memcpy(passed, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(int));
	return !m->size || recv(fd, m->body, m->size, MSG_WAITALL) == (ssize_t)m->size;
}

static void put(struct message *m, const void *body, uint32_t size)
{
	m->flags = 5;
	m->size = size + (peer.how.lie_about == m->request ? 1 : 0);
	memcpy(m->body, body, size);
	CHECK(send(peer.fd, m, 12 + m->size, MSG_NOSIGNAL) >= 0);
}

static void *at_user(uint64_t addr)
{
	return peer.ram + (addr - peer.ram_user);
}

/* One request of a ring: its answer, or nothing when the last one was served. */
static bool serve(struct ring *r)
{
	uint16_t *avail = at_user(r->avail), head = avail[2 + r->next % r->num];
	struct vring_desc *d = (struct vring_desc *)at_user(r->desc) + head;
	struct vring_used *used = at_user(r->used_addr);
	struct fuse_in_header *in = (void *)(peer.ram + d->addr);
	struct fuse_out_header out = {.len = sizeof(out) + sizeof(TEXT), .unique = in->unique};
	uint64_t one = 1;

	r->next++;
	if (peer.served++ == peer.how.serve)
		return false;
	d = (struct vring_desc *)at_user(r->desc) + d->next;
	memcpy(peer.ram + d->addr, &out, sizeof(out));
	memcpy(peer.ram + d->addr + sizeof(out), TEXT, sizeof(TEXT));
	used->ring[r->used % r->num] = (struct vring_used_elem){.id = head, .len = out.len};
	r->used++;
	__atomic_store_n(&used->idx, r->used, __ATOMIC_RELEASE);
	CHECK(write(r->call, &one, sizeof(one)) == sizeof(one));
	return true;
}

static void set_addresses(const uint8_t *body)
{
	struct {
		uint32_t index, flags;
		uint64_t desc, used, avail, log;
	} a;

	memcpy(&a, body, sizeof(a));
	CHECK(a.index < QUEUES);
	peer.rings[a.index].desc = a.desc;
	peer.rings[a.index].used_addr = a.used;
	peer.rings[a.index].avail = a.avail;
}

static void set_memory(const uint8_t *body, int fd)
{
	uint64_t region[4];
	uint32_t n;

	memcpy(&n, body, 4);
	memcpy(region, body + 8, sizeof(region));
	CHECK(n == 1 && region[0] == 0 && region[1] == mem.size && region[3] == 0);
	peer.ram = mmap(NULL, region[1], PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(peer.ram != MAP_FAILED);
	peer.ram_user = region[2];
}

/* One message, as "Front-end message types" says. */
static void answer(struct message *m, int passed)
{
	uint64_t value = peer.how.refuse == m->request, queues = QUEUES;
	uint32_t state[2];

	memcpy(state, m->body, sizeof(state));
	switch (m->request) {
	case 1:
		put(m, &peer.how.features, 8);
		return;
	case 5:
		set_memory(m->body, passed);
		break;
	case 8:
		peer.rings[state[0]].num = state[1];
		break;
	case 9:
		set_addresses(m->body);
		break;
	case 10:
		peer.rings[state[0]].next = peer.rings[state[0]].used = state[1];
		break;
	case 11:
		peer.enabled[state[0]] = false;
		state[1] = peer.rings[state[0]].next;
		put(m, state, 8);
		return;
	case 12:
		peer.rings[m->body[0]].kick = passed;
		break;
	case 13:
		peer.rings[m->body[0]].call = passed;
		break;
	case 15:
		put(m, &peer.how.protocol, 8);
		return;
	case 17:
		put(m, &queues, 8);
		return;
	case 18:
		peer.enabled[state[0]] = state[1];
		break;
	}
	if (m->flags & 8)
		put(m, &value, 8);
}

static void *back_end(void *arg)
{
	struct pollfd p[1 + QUEUES];
	struct message m;
	uint64_t count;
	int passed, i;

	(void)arg;
	for (;;) {
		p[0] = (struct pollfd){.fd = peer.fd, .events = POLLIN};
		for (i = 0; i < QUEUES; i++)
			p[1 + i] = (struct pollfd){.fd = peer.enabled[i] ? peer.rings[i].kick : -1,
						   .events = POLLIN};
		poll(p, 1 + QUEUES, -1);
		if (p[0].revents) {
			if (!get(peer.fd, &m, &passed))
				break;
			answer(&m, passed);
			continue;
		}
		for (i = 0; i < QUEUES; i++) {
			struct ring *r = &peer.rings[i];

			if (!p[1 + i].revents || read(r->kick, &count, 8) != 8)
				continue;
			if (!peer.how.serve)
				goto out;
			while (((uint16_t *)at_user(r->avail))[1] != r->next)
				if (!serve(r))
					goto out;
		}
	}
out:
	close(peer.fd);
	return NULL;
}

static struct virtio_dev *open_share(const struct behaviour *how)
{
	int ends[2];

	CHECK(memory_create(&mem, &(struct memory_config){.size = MIB(16), .shared = true}, &err) ==
	      0);
	CHECK(loop_create(&loop, &lock) == 0);
	log_open("/dev/null");
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
	memset(&peer, 0, sizeof(peer));
	peer.how = *how;
	peer.fd = ends[1];
	CHECK(pthread_create(&peer.thread, NULL, back_end, NULL) == 0);
	return fs_create_fd(&mem, &loop, "tag", ends[0], -1, &err);
}

/* Request `i`, with descriptors 2i and 2i + 1; a forgotten one has no room for an answer. */
static void ask(struct virtio_dev *dev, unsigned int i, bool kick)
{
	struct fuse_in_header in = {.len = sizeof(in), .opcode = FUSE_GETATTR, .unique = 100 + i};
	static uint64_t more;

	in.unique += ++more * 1000;
	memory_write(&mem, REQUEST + 256 * i, &in, sizeof(in));
	memset(memory_at(&mem, ANSWER + 256 * i, 256), 0, 256);
	set_desc(&mem, 1, 2 * i, REQUEST + 256 * i, sizeof(in), VRING_DESC_F_NEXT, 2 * i + 1);
	set_desc(&mem, 1, 2 * i + 1, ANSWER + 256 * i, 256, VRING_DESC_F_WRITE, 0);
	offer(&mem, 1, SIZE, 2 * i);
	if (kick)
		reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 1);
}

static void wait_used(uint16_t count)
{
	unsigned int i;

	for (i = 0; i < 200 && used_index(&mem, 1) != count; i++)
		loop_once(&loop, 20);
	CHECK(used_index(&mem, 1) == count);
}

static int error_of(unsigned int i)
{
	struct fuse_in_header *in = memory_at(&mem, REQUEST + 256 * i, sizeof(*in));
	struct fuse_out_header *out = memory_at(&mem, ANSWER + 256 * i, sizeof(*out));

	CHECK(out->unique == in->unique && out->len >= sizeof(*out));
	return out->error;
}

static unsigned int losses;

static void count_loss(void *arg, const char *tag)
{
	(void)arg;
	CHECK(!strcmp(tag, "tag"));
	losses++;
}

static const struct behaviour good = {
	.features = VERSION_1 | PROTOCOL, .protocol = REPLY_ACK | 1, .serve = 1000};

static void share_is_served_by_its_back_end(void)
{
	static const uint64_t protocols[] = {0, 1, REPLY_ACK, UINT64_MAX};
	struct behaviour how = good;
	struct virtio_dev *dev;
	char tag[36];
	unsigned int i;

	for (i = 0; i < 4; i++) {
		how.protocol = protocols[i];
		dev = open_share(&how);
		CHECK(dev);
		virtio_mmio_access(dev, VIRTIO_MMIO_CONFIG, false, (uint8_t *)tag, 8);
		CHECK(!strcmp(tag, "tag") && reg_read(dev, VIRTIO_MMIO_CONFIG + 36) == 1);
		CHECK(driver_start(dev, 0, SIZE));
		ask(dev, 0, true);
		wait_used(1);
		CHECK(error_of(0) == 0);
		CHECK(!strcmp(memory_at(&mem, ANSWER + 16, sizeof(TEXT)), TEXT));
		/* A reset and a new driver: its rings begin at 0 again. */
		reg_write(dev, VIRTIO_MMIO_STATUS, 0);
		memset(memory_at(&mem, RING_GPA(0), 0x20000), 0, 0x20000);
		CHECK(driver_start(dev, 0, SIZE));
		ask(dev, 1, true);
		wait_used(1);
		CHECK(error_of(1) == 0);
		dev->ops->destroy(dev);
		pthread_join(peer.thread, NULL);
		CHECK(peer.served == 2);
	}
}

static void *run_loop(void *stop)
{
	while (!*(volatile bool *)stop)
		loop_once(&loop, 1);
	return NULL;
}

/* The loop sees that an answer came, but a vCPU's thread, which holds the lock, takes it. */
static void share_is_started_beside_a_running_loop(void)
{
	struct virtio_dev *dev = open_share(&good);
	bool stop = false;
	pthread_t thread;
	unsigned int i;

	CHECK(dev && pthread_create(&thread, NULL, run_loop, &stop) == 0);
	fs_on_loss(dev, count_loss, NULL);
	for (i = 0; i < 100; i++) {
		CHECK(driver_start(dev, 0, SIZE));
		reg_write(dev, VIRTIO_MMIO_STATUS, 0);
	}
	stop = true;
	pthread_join(thread, NULL);
	CHECK(losses == 0);
}

static void share_offers_only_what_its_back_end_can(void)
{
	struct behaviour how = good;
	struct virtio_dev *dev = open_share(&how);

	CHECK(dev && !(dev->features >> VIRTIO_RING_F_EVENT_IDX & 1) && dev->split_only);
	CHECK(!driver_start(dev, 1ull << VIRTIO_RING_F_EVENT_IDX, SIZE));
	dev->ops->destroy(dev);
	pthread_join(peer.thread, NULL);
	how.features |= 1ull << VIRTIO_RING_F_EVENT_IDX;
	dev = open_share(&how);
	CHECK(dev && driver_start(dev, 1ull << VIRTIO_RING_F_EVENT_IDX, SIZE));
}

static void share_needs_a_sane_back_end(void)
{
	static const struct {
		uint64_t features;
		uint32_t lie_about, refuse;
	} bad[] = {{PROTOCOL, 0, 0},
		   {VERSION_1 | PROTOCOL, 1, 0},
		   {VERSION_1 | PROTOCOL, 15, 0},
		   {VERSION_1 | PROTOCOL, 17, 0},
		   {VERSION_1 | PROTOCOL, 3, 0},
		   {VERSION_1 | PROTOCOL, 0, 3}};
	struct behaviour how = good;
	unsigned int i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		how.features = bad[i].features;
		how.lie_about = bad[i].lie_about;
		how.refuse = bad[i].refuse;
		CHECK(!open_share(&how) && strstr(err.text, "is of no use: it"));
		pthread_join(peer.thread, NULL);
	}
	CHECK(memory_create(&mem, &(struct memory_config){.size = MIB(16)}, &err) == 0);
	CHECK(!fs_create_fd(&mem, &loop, "tag", dup(0), -1, &err) && strstr(err.text, "shared"));
}

static void share_answers_what_a_lost_back_end_left(void)
{
	struct behaviour how = good;
	struct virtio_dev *dev;
	unsigned int i, round;

	how.serve = 13; /* the ring has gone around, and heads were used before */
	dev = open_share(&how);
	CHECK(dev && driver_start(dev, 0, SIZE));
	fs_on_loss(dev, count_loss, NULL);
	for (round = 0; round < 13; round++) {
		ask(dev, round % 3, true);
		wait_used(round + 1);
		CHECK(error_of(round % 3) == 0);
	}
	/* Three at once: the back end takes one of them with it, and never sees the others. */
	for (i = 0; i < 3; i++)
		ask(dev, i, i == 2);
	wait_used(16);
	for (i = 0; i < 3; i++)
		CHECK(error_of(i) == -ENOTCONN);
	CHECK(losses == 1 && virtio_is_running(dev));
	/* And whatever comes later, also by the eventfd that KVM signals. */
	ask(dev, 3, true);
	wait_used(17);
	CHECK(error_of(3) == -ENOTCONN);
	ask(dev, 0, false);
	notifiers_kick(dev, 1);
	wait_used(18);
	CHECK(error_of(0) == -ENOTCONN);
	/* A new driver gets the same. */
	reg_write(dev, VIRTIO_MMIO_STATUS, 0);
	memset(memory_at(&mem, RING_GPA(0), 0x20000), 0, 0x20000);
	CHECK(driver_start(dev, 0, SIZE));
	ask(dev, 2, true);
	wait_used(1);
	CHECK(error_of(2) == -ENOTCONN && losses == 1);
	dev->ops->destroy(dev);
}

/* Requests without a header, without room for an answer, or with a ring that is nonsense. */
static void share_without_back_end_survives_any_request(void)
{
	struct behaviour how = good;
	struct virtio_dev *dev;
	uint16_t *avail, *used;
	unsigned int i;

	how.serve = 0;
	dev = open_share(&how);
	CHECK(dev && driver_start(dev, 0, SIZE));
	avail = memory_at(&mem, AVAIL_GPA(1), 64);
	used = memory_at(&mem, USED_GPA(1), 128);
	for (i = 0; i < SIZE; i++) {
		avail[2 + i] = i * 7919;
		used[2 + 4 * i] = i * 31;
	}
	set_desc(&mem, 1, 0, UINT64_MAX, 1, VRING_DESC_F_NEXT, 1);
	avail[1] = 40000;
	used[1] = 7;
	fs_on_loss(dev, count_loss, NULL);
	loop_once(&loop, 0); /* the kick after DRIVER_OK, at which the back end leaves */
	pthread_join(peer.thread, NULL);
	loop_once(&loop, 1000);
	CHECK(losses == 1);
	reg_write(dev, VIRTIO_MMIO_STATUS, 0);
	memset(memory_at(&mem, RING_GPA(0), 0x20000), 0, 0x20000);
	CHECK(driver_start(dev, 0, SIZE));
	set_desc(&mem, 1, 0, REQUEST, 3, 0, 0); /* FUSE_FORGET has no answer */
	offer(&mem, 1, SIZE, 0);
	set_desc(&mem, 1, 1, ANSWER, 15, VRING_DESC_F_WRITE, 0);
	offer(&mem, 1, SIZE, 1);
	reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 1);
	CHECK(used_index(&mem, 1) == 2 && used_length(&mem, 1, SIZE) == 0);
	CHECK(virtio_is_running(dev));
}

static const struct unit_test tests[] = {
	TEST(share_is_served_by_its_back_end),
	TEST(share_is_started_beside_a_running_loop),
	TEST(share_offers_only_what_its_back_end_can),
	TEST(share_needs_a_sane_back_end),
	TEST(share_answers_what_a_lost_back_end_left),
	TEST(share_without_back_end_survives_any_request),
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return run_units(argc, argv, tests);
}
