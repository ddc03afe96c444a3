// SPDX-License-Identifier: Apache-2.0
/*
 * The virtio-mmio transport, version 2 (virtio 1.2, section 4.2), and what devices share.  Its
 * registers are also what the PCI transport (pci.c) translates to.
 */
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "log.h"
#include "virtio/device.h"
#include "virtio/notifiers.h"

#define VENDOR	      0x4e475948 /* "HYGN" */
#define CONFIG_OFFSET VIRTIO_MMIO_CONFIG
#define COMMON_FEATURES                                                                            \
	(1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_EVENT_IDX |                            \
	 1ull << VIRTIO_RING_F_INDIRECT_DESC)

static void on_kick(void *arg, uint32_t events)
{
	struct virtio_dev *dev = arg;
	uint64_t count;

	(void)events;
	if (read(dev->kick.fd, &count, sizeof(count)) != sizeof(count))
		return;
	dev->kicks += count;
	virtio_kick(dev);
}

int virtio_init(struct virtio_dev *dev, const struct virtio_ops *ops,
		const struct guest_memory *mem, struct loop *loop)
{
	unsigned int i;

	dev->ops = ops;
	dev->mem = mem;
	dev->loop = loop;
	dev->lock = loop->lock;
	dev->features |= COMMON_FEATURES;
	dev->kick = (struct loop_source){.fd = -1, .fn = on_kick, .arg = dev};
	dev->notify_inline |= ops->notify_inline;
	if (!dev->nqueues)
		dev->nqueues = ops->nqueues;
	for (i = 0; i < dev->nqueues; i++)
		vq_init(&dev->queues[i], mem, ops->queue_size);
	dev->kick.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (dev->kick.fd < 0)
		return -1;
	return loop_add(loop, &dev->kick, EPOLLIN);
}

void virtio_end(struct virtio_dev *dev)
{
	notifiers_destroy(dev);
	if (dev->kick.fd < 0)
		return;
	loop_remove(dev->loop, &dev->kick);
	close(dev->kick.fd);
	dev->kick.fd = -1;
}

bool virtio_is_running(const struct virtio_dev *dev)
{
	return (dev->status & VIRTIO_CONFIG_S_DRIVER_OK) &&
	       !(dev->status & VIRTIO_CONFIG_S_NEEDS_RESET);
}

void virtio_kick(struct virtio_dev *dev)
{
	unsigned int i;

	for (i = 0; i < dev->nqueues && virtio_is_running(dev); i++)
		dev->ops->notify(dev, i);
}

void virtio_kick_later(struct virtio_dev *dev)
{
	uint64_t one = 1;

	if (write(dev->kick.fd, &one, sizeof(one)) < 0)
		log_guest("virtio-%s: a deferred kick was lost", dev->ops->name);
}

void virtio_reset(struct virtio_dev *dev)
{
	unsigned int i;

	if (dev->ops->reset)
		dev->ops->reset(dev);
	for (i = 0; i < dev->nqueues; i++)
		vq_reset(&dev->queues[i]);
	dev->status = 0;
	dev->driver_features = 0;
	dev->device_features_sel = dev->driver_features_sel = dev->queue_sel = 0;
	atomic_store(&dev->isr, 0);
	virtio_publish(dev);
}

void virtio_signal(struct virtio_dev *dev, struct vq *q)
{
	if (!vq_wants_irq(q))
		return;
	dev->interrupts++;
	atomic_fetch_or(&dev->isr, VIRTIO_MMIO_INT_VRING);
	irq_pulse(&dev->irq);
}

void virtio_finish(struct virtio_dev *dev, struct vq *q, int popped)
{
	if (popped < 0) {
		virtio_break(dev, q->complaint);
		return;
	}
	if (vq_arm(q))
		virtio_kick_later(dev);
	virtio_signal(dev, q);
}

void virtio_config_changed(struct virtio_dev *dev)
{
	bool tell = dev->status & VIRTIO_CONFIG_S_DRIVER_OK;

	dev->config_generation++;
	dev->interrupts += tell;
	if (tell)
		atomic_fetch_or(&dev->isr, VIRTIO_MMIO_INT_CONFIG);
	virtio_publish(dev);
	if (tell)
		irq_pulse(&dev->irq);
}

void virtio_break(struct virtio_dev *dev, const char *why)
{
	if (dev->status & VIRTIO_CONFIG_S_NEEDS_RESET)
		return;
	log_guest("virtio-%s: %s; the device waits for a reset", dev->ops->name,
		  why ? why : "broken request");
	dev->errors++;
	dev->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	virtio_config_changed(dev);
}

static struct vq *selected(struct virtio_dev *dev)
{
	return dev->queue_sel < dev->nqueues ? &dev->queues[dev->queue_sel] : NULL;
}

uint32_t virtio_read_register(struct virtio_dev *dev, uint32_t offset)
{
	struct vq *q = selected(dev);

	switch (offset) {
	case VIRTIO_MMIO_MAGIC_VALUE:
		return 0x74726976; /* "virt" */
	case VIRTIO_MMIO_VERSION:
		return 2;
	case VIRTIO_MMIO_DEVICE_ID:
		return dev->ops->id;
	case VIRTIO_MMIO_VENDOR_ID:
		return VENDOR;
	case VIRTIO_MMIO_DEVICE_FEATURES:
		return dev->device_features_sel < 2
			       ? (uint32_t)(dev->features >> 32 * dev->device_features_sel)
			       : 0;
	case VIRTIO_MMIO_QUEUE_NUM_MAX:
		return q ? q->max : 0;
	case VIRTIO_MMIO_QUEUE_READY:
		return q && q->ready;
	case VIRTIO_MMIO_STATUS:
		return dev->status;
	case VIRTIO_MMIO_INTERRUPT_STATUS:
		return atomic_load(&dev->isr) | atomic_load(&dev->isr_always);
	case VIRTIO_MMIO_CONFIG_GENERATION:
		return dev->config_generation;
	case VIRTIO_MMIO_SHM_LEN_LOW:
	case VIRTIO_MMIO_SHM_LEN_HIGH:
	case VIRTIO_MMIO_SHM_BASE_LOW:
	case VIRTIO_MMIO_SHM_BASE_HIGH:
		return UINT32_MAX; /* 4.2.2: no such shared memory region */
	}
	return 0;
}

static void set_half(uint64_t *to, bool high, uint32_t value)
{
	if (high)
		*to = (*to & UINT32_MAX) | (uint64_t)value << 32;
	else
		*to = (*to & ~(uint64_t)UINT32_MAX) | value;
}

static void write_queue_ready(struct virtio_dev *dev, struct vq *q, uint32_t value)
{
	if (!value) {
		/* Requests in flight end first: the driver may take its memory back (4.2.2.2). */
		if (q->ready && dev->ops->reset)
			dev->ops->reset(dev);
		q->ready = false;
		return;
	}
	if (q->ready || !(dev->status & VIRTIO_CONFIG_S_FEATURES_OK))
		return;
	q->event_idx = virtio_has(dev, VIRTIO_RING_F_EVENT_IDX);
	q->indirect = virtio_has(dev, VIRTIO_RING_F_INDIRECT_DESC);
	q->packed = virtio_has(dev, VIRTIO_F_RING_PACKED);
	if (vq_enable(q))
		virtio_break(dev, "a queue has an unusable size or address");
}

static void write_queue(struct virtio_dev *dev, uint32_t offset, uint32_t value)
{
	struct vq *q = selected(dev);

	if (!q)
		return;
	if (offset == VIRTIO_MMIO_QUEUE_READY) {
		write_queue_ready(dev, q, value);
		return;
	}
	if (q->ready)
		return; /* 4.2.2.2: not while the queue is in use */
	switch (offset) {
	case VIRTIO_MMIO_QUEUE_NUM:
		q->size = value <= q->max ? value : 0;
		break;
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
	case VIRTIO_MMIO_QUEUE_DESC_HIGH:
		set_half(&q->desc_gpa, offset == VIRTIO_MMIO_QUEUE_DESC_HIGH, value);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
		set_half(&q->avail_gpa, offset == VIRTIO_MMIO_QUEUE_AVAIL_HIGH, value);
		break;
	case VIRTIO_MMIO_QUEUE_USED_LOW:
	case VIRTIO_MMIO_QUEUE_USED_HIGH:
		set_half(&q->used_gpa, offset == VIRTIO_MMIO_QUEUE_USED_HIGH, value);
		break;
	}
}

static void write_status(struct virtio_dev *dev, uint32_t value)
{
	uint8_t before = dev->status;

	if (!value) {
		virtio_reset(dev);
		return;
	}
	/* Only a reset takes bits away, and only we set NEEDS_RESET. */
	value = (value & 0xff & ~VIRTIO_CONFIG_S_NEEDS_RESET) | before;
	if ((value & ~before) & VIRTIO_CONFIG_S_FEATURES_OK) {
		/* 2.2.2: a set we cannot work with is refused by leaving FEATURES_OK clear. */
		if ((dev->driver_features & ~dev->features) || !virtio_has(dev, VIRTIO_F_VERSION_1))
			value &= ~VIRTIO_CONFIG_S_FEATURES_OK;
	}
	if (!(value & VIRTIO_CONFIG_S_FEATURES_OK))
		value &= ~VIRTIO_CONFIG_S_DRIVER_OK;
	dev->status = value;
	if ((value & ~before) & VIRTIO_CONFIG_S_DRIVER_OK) {
		log_guest_debug("virtio-%s: its driver runs, features %#llx", dev->ops->name,
				(unsigned long long)dev->driver_features);
		if (dev->ops->activate)
			dev->ops->activate(dev);
		/* What waits in the queues already is served where kicks are: in the loop. */
		if (dev->notify_inline)
			virtio_kick(dev);
		else
			virtio_kick_later(dev);
	}
}

void virtio_write_register(struct virtio_dev *dev, uint32_t offset, uint32_t value)
{
	switch (offset) {
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		dev->device_features_sel = value;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES:
		if (dev->driver_features_sel < 2 && !(dev->status & VIRTIO_CONFIG_S_FEATURES_OK))
			set_half(&dev->driver_features, dev->driver_features_sel == 1, value);
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
		dev->driver_features_sel = value;
		break;
	case VIRTIO_MMIO_QUEUE_SEL:
		dev->queue_sel = value;
		break;
	case VIRTIO_MMIO_QUEUE_NOTIFY:
		dev->kicks++;
		if (value < dev->nqueues && virtio_is_running(dev))
			dev->ops->notify(dev, value);
		break;
	case VIRTIO_MMIO_INTERRUPT_ACK:
		atomic_fetch_and(&dev->isr, ~value);
		break;
	case VIRTIO_MMIO_STATUS:
		write_status(dev, value);
		break;
	default:
		write_queue(dev, offset, value);
	}
}

/* Configuration space may be read with any width (4.2.2.2). */
void virtio_read_config(const struct virtio_dev *dev, uint64_t offset, uint8_t *data,
			unsigned int len)
{
	unsigned int i;

	for (i = 0; i < len; i++)
		data[i] = offset + i < dev->config_len ? dev->config[offset + i] : 0;
}

void virtio_mmio_access(void *opaque, uint64_t offset, bool write, uint8_t *data, unsigned int len)
{
	struct virtio_dev *dev = opaque;
	uint32_t value = 0;

	if (write && len == 4)
		memcpy(&value, data, 4);
	loop_lock(dev->loop);
	if (offset >= CONFIG_OFFSET) {
		if (!write)
			virtio_read_config(dev, offset - CONFIG_OFFSET, data, len);
		else if (dev->ops->write_config)
			dev->ops->write_config(dev, offset - CONFIG_OFFSET, data, len);
	} else if (len == 4 && write) {
		virtio_write_register(dev, offset, value);
	} else if (len == 4) {
		value = virtio_read_register(dev, offset);
		memcpy(data, &value, 4);
	} else if (!write) {
		memset(data, 0, len);
	}
	if (write && offset != VIRTIO_MMIO_QUEUE_NOTIFY)
		virtio_publish(dev);
	pthread_mutex_unlock(dev->lock);
}
