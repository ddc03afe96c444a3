// SPDX-License-Identifier: Apache-2.0
#include "virtio/vhost_user.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "layout.h"

/* "Front-end message types" of the specification, those in use here. */
enum {
	GET_FEATURES = 1,
	SET_FEATURES = 2,
	SET_OWNER = 3,
	SET_MEM_TABLE = 5,
	SET_VRING_NUM = 8,
	SET_VRING_ADDR = 9,
	SET_VRING_BASE = 10,
	GET_VRING_BASE = 11,
	SET_VRING_KICK = 12,
	SET_VRING_CALL = 13,
	GET_PROTOCOL_FEATURES = 15,
	SET_PROTOCOL_FEATURES = 16,
	GET_QUEUE_NUM = 17,
	SET_VRING_ENABLE = 18,
};

#define F_PROTOCOL_FEATURES  30 /* VHOST_USER_F_PROTOCOL_FEATURES */
#define PROTOCOL_F_MQ	     0
#define PROTOCOL_F_REPLY_ACK 3

#define FLAGS_VERSION 1u
#define FLAGS_REPLY   4u
#define FLAGS_ACK     8u /* need_reply: answer 0, or not 0 when it failed */

#define RING_FEATURES                                                                              \
	(1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_EVENT_IDX |                            \
	 1ull << VIRTIO_RING_F_INDIRECT_DESC)

struct vring_state {
	uint32_t index, num;
};

struct vring_addr {
	uint32_t index, flags;
	uint64_t desc, used, avail, log;
};

struct region {
	uint64_t gpa, size, user_addr, mmap_offset;
};

struct mem_table {
	uint32_t nregions, padding;
	struct region regions[2];
};

/* Every member of `u` is laid out alike with and without padding. */
struct message {
	uint32_t request, flags, size;
	union {
		uint64_t u64;
		struct vring_state state;
		struct vring_addr addr;
		struct mem_table mem;
	} u;
} __attribute__((packed));

#define HEADER offsetof(struct message, u)

static void on_kick_without_back_end(void *arg, uint32_t events)
{
	struct vhost_user *v = arg;
	unsigned int i;
	uint64_t count;

	(void)events;
	for (i = 0; i < v->dev->nqueues; i++)
		if (read(v->kicks[i].fd, &count, sizeof(count)) == sizeof(count) &&
		    virtio_is_running(v->dev))
			v->dev->ops->notify(v->dev, i);
}

/* Once; whatever comes later is a consequence. */
static int lose(struct vhost_user *v, const char *why)
{
	unsigned int i;

	if (v->lost)
		return -1;
	v->lost = true;
	v->why = why;
	v->running = false;
	loop_remove(v->dev->loop, &v->sock);
	close(v->sock.fd);
	v->sock.fd = -1;
	if (!v->on_loss)
		return -1; /* not in use yet */
	for (i = 0; i < v->dev->nqueues; i++) {
		v->kicks[i] = (struct loop_source){
			.fd = v->dev->notifiers->kick[i], .fn = on_kick_without_back_end, .arg = v};
		loop_add(v->dev->loop, &v->kicks[i], EPOLLIN);
	}
	v->on_loss(v->dev);
	return -1;
}

static int send_message(struct vhost_user *v, const struct message *m, const int *fds,
			unsigned int nfds)
{
	struct iovec iov = {.iov_base = (void *)m, .iov_len = HEADER + m->size};
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(2 * sizeof(int))];
	} control = {0};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	if (nfds) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		control.head = (struct cmsghdr){.cmsg_level = SOL_SOCKET,
						.cmsg_type = SCM_RIGHTS,
						.cmsg_len = CMSG_LEN(nfds * sizeof(int))};
		memcpy(CMSG_DATA(&control.head), fds, nfds * sizeof(int));
	}
	do {
		n = sendmsg(v->sock.fd, &msg, MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	if (n == (ssize_t)iov.iov_len)
		return 0;
	return lose(v, n < 0 && errno == EAGAIN ? "it takes no messages" : "it hung up");
}

static int receive_exactly(struct vhost_user *v, void *to, size_t len)
{
	size_t done = 0;
	ssize_t n;

	while (done < len) {
		n = recv(v->sock.fd, (char *)to + done, len - done, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return lose(v, "it does not answer");
		if (n <= 0)
			return lose(v, "it hung up");
		done += (size_t)n;
	}
	return 0;
}

/* The answer to `request`, of exactly `size` bytes. */
static int receive_reply(struct vhost_user *v, uint32_t request, uint32_t size, struct message *m)
{
	if (receive_exactly(v, m, HEADER))
		return -1;
	if (m->request != request || (m->flags & 7) != (FLAGS_VERSION | FLAGS_REPLY) ||
	    m->size != size)
		return lose(v, "it breaks the protocol");
	return receive_exactly(v, &m->u, size);
}

/* Sends a message that has no answer of its own; waits for its success if that can be had. */
static int command(struct vhost_user *v, struct message *m, uint32_t size, const int *fds,
		   unsigned int nfds)
{
	struct message reply;
	bool ack = v->protocol >> PROTOCOL_F_REPLY_ACK & 1;

	m->flags = FLAGS_VERSION | (ack ? FLAGS_ACK : 0);
	m->size = size;
	if (v->lost || send_message(v, m, fds, nfds))
		return -1;
	if (!ack)
		return 0;
	if (receive_reply(v, m->request, sizeof(uint64_t), &reply))
		return -1;
	return reply.u.u64 ? lose(v, "it refused a request") : 0;
}

static int set_u64(struct vhost_user *v, uint32_t request, uint64_t value)
{
	struct message m = {.request = request, .u.u64 = value};

	return command(v, &m, sizeof(m.u.u64), NULL, 0);
}

static int get_u64(struct vhost_user *v, uint32_t request, uint64_t *value)
{
	struct message m = {.request = request, .flags = FLAGS_VERSION};

	if (send_message(v, &m, NULL, 0) || receive_reply(v, request, sizeof(m.u.u64), &m))
		return -1;
	*value = m.u.u64;
	return 0;
}

/* The whole of RAM in its two parts (layout.h), both out of one memfd. */
static int set_memory(struct vhost_user *v)
{
	const struct guest_memory *mem = v->dev->mem;
	struct message m = {.request = SET_MEM_TABLE, .u.mem.nregions = 1};
	const int fds[2] = {mem->fd, mem->fd};
	struct region r[2] = {
		{.size = mem->low, .user_addr = (uintptr_t)memory_at(mem, 0, mem->low)},
		{.gpa = mem->high, .size = mem->size - mem->low, .mmap_offset = mem->low}};

	if (r[1].size) {
		r[1].user_addr = (uintptr_t)memory_at(mem, mem->high, r[1].size);
		m.u.mem.nregions = 2;
	}
	memcpy(m.u.mem.regions, r, sizeof(r));
	return command(v, &m, 8 + m.u.mem.nregions * sizeof(struct region), fds, m.u.mem.nregions);
}

static int set_fd(struct vhost_user *v, uint32_t request, unsigned int queue, int fd)
{
	struct message m = {.request = request, .u.u64 = queue};

	return command(v, &m, sizeof(m.u.u64), &fd, 1);
}

static int set_state(struct vhost_user *v, uint32_t request, unsigned int queue, uint32_t num)
{
	struct message m = {.request = request, .u.state = {queue, num}};

	return command(v, &m, sizeof(m.u.state), NULL, 0);
}

/* vq_enable() has checked that the three parts of the ring lie in RAM as a whole. */
static int start_ring(struct vhost_user *v, unsigned int i)
{
	const struct vq *q = &v->dev->queues[i];
	const struct virtio_notifiers *n = v->dev->notifiers;
	struct message m = {.request = SET_VRING_ADDR,
			    .u.addr = {.index = i,
				       .desc = (uintptr_t)q->desc,
				       .used = (uintptr_t)q->used,
				       .avail = (uintptr_t)q->avail}};

	if (set_state(v, SET_VRING_NUM, i, q->size) ||
	    set_state(v, SET_VRING_BASE, i, q->next_avail) ||
	    command(v, &m, sizeof(m.u.addr), NULL, 0) || set_fd(v, SET_VRING_CALL, i, n->call) ||
	    set_fd(v, SET_VRING_KICK, i, n->kick[i]))
		return -1;
	/* Without the feature a ring is enabled by its kick (section "Ring states"). */
	return v->features >> F_PROTOCOL_FEATURES & 1 ? set_state(v, SET_VRING_ENABLE, i, 1) : 0;
}

void vhost_user_start(struct vhost_user *v)
{
	uint64_t features = v->dev->driver_features & v->features & RING_FEATURES;
	unsigned int i;

	if (v->lost || v->running)
		return;
	features |= v->features & 1ull << F_PROTOCOL_FEATURES;
	if (set_u64(v, SET_FEATURES, features) || set_memory(v))
		return;
	v->running = true;
	notifiers_activate(v->dev, true);
	for (i = 0; i < v->dev->nqueues; i++)
		if (v->dev->queues[i].ready && start_ring(v, i))
			return;
}

static int stop_ring(struct vhost_user *v, unsigned int i)
{
	struct message m = {.request = GET_VRING_BASE,
			    .flags = FLAGS_VERSION,
			    .size = sizeof(m.u.state),
			    .u.state.index = i};
	struct vq *q = &v->dev->queues[i];

	if (send_message(v, &m, NULL, 0) || receive_reply(v, GET_VRING_BASE, sizeof(m.u.state), &m))
		return -1;
	/* All it took is given back by now: the used index is the back end's alone. */
	q->next_avail = m.u.state.num;
	q->next_used = q->given = q->last_signal = __atomic_load_n(&q->used[1], __ATOMIC_ACQUIRE);
	return 0;
}

void vhost_user_stop(struct vhost_user *v)
{
	unsigned int i;

	if (!v->running)
		return;
	v->running = false;
	for (i = 0; i < v->dev->nqueues; i++)
		if (v->dev->queues[i].ready && stop_ring(v, i))
			break;
	notifiers_activate(v->dev, false);
}

/* Between requests there is nothing that a back end might have to say. */
static void on_socket(void *arg, uint32_t events)
{
	struct vhost_user *v = arg;
	char byte;
	ssize_t n = recv(v->sock.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

	(void)events;
	/* An answer that a vCPU's thread took, while the loop waited for the lock to look here. */
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	lose(v, n > 0 ? "it breaks the protocol" : "it hung up");
}

static int agree(struct vhost_user *v)
{
	struct message owner = {.request = SET_OWNER};
	uint64_t protocol, queues = 0;

	if (get_u64(v, GET_FEATURES, &v->features))
		return -1;
	if (v->features >> F_PROTOCOL_FEATURES & 1) {
		if (get_u64(v, GET_PROTOCOL_FEATURES, &protocol))
			return -1;
		protocol &= 1ull << PROTOCOL_F_MQ | 1ull << PROTOCOL_F_REPLY_ACK;
		if (set_u64(v, SET_PROTOCOL_FEATURES, protocol))
			return -1;
		v->protocol = protocol;
	}
	if (v->protocol >> PROTOCOL_F_MQ & 1 && get_u64(v, GET_QUEUE_NUM, &queues))
		return -1;
	if (queues && queues < v->dev->nqueues)
		return lose(v, "it serves too few queues");
	if (!(v->features >> VIRTIO_F_VERSION_1 & 1))
		return lose(v, "it does not know virtio 1");
	return command(v, &owner, 0, NULL, 0);
}

int vhost_user_open(struct vhost_user *v, int fd, struct virtio_dev *dev, struct error *e)
{
	const struct timeval bound = {.tv_sec = VHOST_USER_TIMEOUT};

	*v = (struct vhost_user){.dev = dev};
	v->sock = (struct loop_source){.fd = fd, .fn = on_socket, .arg = v};
	if (dev->mem->fd < 0) {
		close(fd);
		return error_set(e, ERROR_MACHINE, "vhost-user: guest RAM is not shared");
	}
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &bound, sizeof(bound)) ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &bound, sizeof(bound)) ||
	    loop_add(dev->loop, &v->sock, EPOLLIN) || notifiers_create(dev, 0, dev->nqueues)) {
		error_set(e, ERROR_MACHINE, "vhost-user: %s", strerror(errno));
		close(fd);
		return -1;
	}
	if (agree(v))
		return error_set(e, ERROR_MACHINE, "the vhost-user back end is of no use: %s",
				 v->why);
	dev->split_only = true;
	dev->features &= v->features | ~RING_FEATURES;
	return 0;
}

void vhost_user_close(struct vhost_user *v)
{
	unsigned int i;

	if (v->lost) {
		for (i = 0; i < v->dev->nqueues && v->on_loss; i++)
			loop_remove(v->dev->loop, &v->kicks[i]);
		return;
	}
	vhost_user_stop(v);
	if (!v->lost) {
		loop_remove(v->dev->loop, &v->sock);
		close(v->sock.fd);
	}
}
