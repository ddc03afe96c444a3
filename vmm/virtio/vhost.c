// SPDX-License-Identifier: Apache-2.0
#include "virtio/vhost.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "layout.h"

#define RING_FEATURES                                                                              \
	(1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_EVENT_IDX |                            \
	 1ull << VIRTIO_RING_F_INDIRECT_DESC)

/* Our errno must survive the close() of a clean-up. */
static void close_quietly(int fd)
{
	int saved = errno;

	if (fd >= 0)
		close(fd);
	errno = saved;
}

static void on_error(void *arg, uint32_t events)
{
	struct vhost *v = arg;
	uint64_t count;

	(void)events;
	if (read(v->errors.fd, &count, sizeof(count)) == sizeof(count) && v->running)
		virtio_break(v->dev, "the kernel refused a ring or a request");
}

/* GPA to address of ours: the whole of RAM, in its two parts (layout.h). */
static int set_memory(struct vhost *v)
{
	const struct guest_memory *m = v->dev->mem;
	union {
		struct vhost_memory head;
		uint8_t room[sizeof(struct vhost_memory) + 2 * sizeof(struct vhost_memory_region)];
	} table = {0};
	struct vhost_memory_region *r = table.head.regions;

	if (m->low) { /* a unikernel's may lie above the hole as a whole */
		*r = (struct vhost_memory_region){.memory_size = m->low};
		r++->userspace_addr = (uintptr_t)memory_at(m, 0, m->low);
	}
	if (m->size > m->low) {
		*r = (struct vhost_memory_region){.guest_phys_addr = m->high,
						  .memory_size = m->size - m->low};
		r->userspace_addr = (uintptr_t)memory_at(m, m->high, r->memory_size);
		r++;
	}
	table.head.nregions = (uint32_t)(r - table.head.regions);
	return ioctl(v->fd, VHOST_SET_MEM_TABLE, &table);
}

static int prepare(struct vhost *v)
{
	if (ioctl(v->fd, VHOST_SET_OWNER) || ioctl(v->fd, VHOST_GET_FEATURES, &v->features) ||
	    set_memory(v))
		return -1;
	if (!(v->features >> VIRTIO_F_VERSION_1 & 1)) {
		errno = EOPNOTSUPP;
		return -1;
	}
	if (notifiers_create(v->dev, v->first, v->count))
		return -1;
	v->errors.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (v->errors.fd < 0)
		return -1;
	return loop_add(v->dev->loop, &v->errors, EPOLLIN);
}

int vhost_open(struct vhost *v, const char *path, struct virtio_dev *dev, unsigned int first,
	       unsigned int count, struct error *e)
{
	*v = (struct vhost){.dev = dev, .first = first, .count = count};
	v->errors = (struct loop_source){.fd = -1, .fn = on_error, .arg = v};
	v->fd = open(path, O_RDWR | O_CLOEXEC);
	if (v->fd >= 0 && !prepare(v)) {
		dev->features &= v->features | ~RING_FEATURES;
		dev->split_only = true;
		return 0;
	}
	error_set(e, ERROR_MACHINE, "%s: %s", path, strerror(errno));
	close_quietly(v->errors.fd);
	close_quietly(v->fd);
	v->fd = -1;
	return -1;
}

void vhost_close(struct vhost *v)
{
	if (v->fd < 0)
		return;
	vhost_stop(v);
	loop_remove(v->dev->loop, &v->errors);
	close(v->errors.fd);
	close(v->fd);
	v->fd = -1;
}

uint64_t vhost_ring_features(const struct vhost *v)
{
	return v->dev->driver_features & v->features & RING_FEATURES;
}

/* vq_enable() has checked that the three parts of the ring lie in RAM as a whole. */
static int start_ring(const struct vhost *v, unsigned int i)
{
	const struct vq *q = &v->dev->queues[v->first + i];
	const struct virtio_notifiers *n = v->dev->notifiers;
	struct vhost_vring_state num = {.index = i, .num = q->size};
	struct vhost_vring_state base = {.index = i, .num = q->next_avail};
	struct vhost_vring_addr addr = {.index = i,
					.desc_user_addr = (uintptr_t)q->desc,
					.avail_user_addr = (uintptr_t)q->avail,
					.used_user_addr = (uintptr_t)q->used};
	struct vhost_vring_file kick = {.index = i, .fd = n->kick[v->first + i]};
	struct vhost_vring_file call = {.index = i, .fd = n->call};
	struct vhost_vring_file err = {.index = i, .fd = v->errors.fd};

	return ioctl(v->fd, VHOST_SET_VRING_NUM, &num) ||
			       ioctl(v->fd, VHOST_SET_VRING_BASE, &base) ||
			       ioctl(v->fd, VHOST_SET_VRING_ADDR, &addr) ||
			       ioctl(v->fd, VHOST_SET_VRING_ERR, &err) ||
			       ioctl(v->fd, VHOST_SET_VRING_CALL, &call) ||
			       ioctl(v->fd, VHOST_SET_VRING_KICK, &kick)
		       ? -1
		       : 0;
}

/* The kernel stops looking at the ring, and says what it would have taken next. */
static void stop_ring(const struct vhost *v, unsigned int i)
{
	struct vq *q = &v->dev->queues[v->first + i];
	struct vhost_vring_file none = {.index = i, .fd = -1};
	struct vhost_vring_state base = {.index = i};

	ioctl(v->fd, VHOST_SET_VRING_KICK, &none);
	ioctl(v->fd, VHOST_SET_VRING_CALL, &none);
	if (!q->ready || ioctl(v->fd, VHOST_GET_VRING_BASE, &base))
		return;
	/* All it took is given back by now: the used index is the kernel's alone. */
	q->next_avail = base.num;
	q->next_used = q->given = q->last_signal = __atomic_load_n(&q->used[1], __ATOMIC_ACQUIRE);
}

int vhost_start(struct vhost *v, uint64_t features)
{
	bool again = false;
	unsigned int i;

	if (v->running)
		return 0;
	if (ioctl(v->fd, VHOST_SET_FEATURES, &features))
		return -1;
	for (i = 0; i < v->count; i++) {
		if (!v->dev->queues[v->first + i].ready)
			continue;
		again |= v->dev->queues[v->first + i].next_used != 0;
		if (start_ring(v, i)) {
			while (i--)
				stop_ring(v, i);
			return -1;
		}
	}
	v->running = true;
	notifiers_activate(v->dev, true);
	/* What was used right before a stop may not have reached the guest. */
	if (again)
		notifiers_call(v->dev);
	return 0;
}

void vhost_stop(struct vhost *v)
{
	unsigned int i;

	if (!v->running)
		return;
	v->running = false;
	for (i = 0; i < v->count; i++)
		stop_ring(v, i);
	notifiers_activate(v->dev, false);
}
