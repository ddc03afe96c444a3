// SPDX-License-Identifier: Apache-2.0
/* virtio devices: the transport's registers and the rings of all, then what each has besides. */
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "snapshot/state.h"

#define STATUS_BITS                                                                                \
	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_DRIVER_OK |        \
	 VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_NEEDS_RESET | VIRTIO_CONFIG_S_FAILED)

struct transport {
	uint64_t driver_features;
	uint32_t id;
	uint32_t device_features_sel, driver_features_sel, queue_sel;
	uint32_t status, isr, config_generation;
	uint32_t nqueues; /* of struct ring behind it; then the device's own bytes */
};

struct ring {
	uint64_t desc_gpa, avail_gpa, used_gpa;
	uint16_t size, next_avail, next_used, given, last_signal;
	uint8_t ready, broken, avail_wrap, used_wrap;
	uint8_t reserved[2];
};

int state_can_save_devices(const struct vm *vm, struct error *e)
{
	const struct virtio_dev *dev;
	const char *why;
	unsigned int i;

	for (i = 0; i < vm->ndevices; i++) {
		dev = vm->devices[i];
		why = dev->ops->cannot_save ? dev->ops->cannot_save(dev) : NULL;
		if (why)
			return error_set(e, ERROR_USER, "virtio-%s cannot be in a snapshot: %s",
					 dev->ops->name, why);
	}
	return 0;
}

void state_quiesce_devices(struct vm *vm)
{
	struct virtio_dev *dev;
	unsigned int i, q;

	for (i = 0; i < vm->ndevices; i++) {
		dev = vm->devices[i];
		if (dev->ops->quiesce)
			dev->ops->quiesce(dev);
		/* Interrupts that were put off, for a timer or a batch: into the APICs with them.
		 */
		for (q = 0; q < dev->nqueues && virtio_is_running(dev); q++)
			virtio_signal(dev, &dev->queues[q]);
	}
}

/* All queues are looked at once more, by the event loop. */
static void kick(const struct virtio_dev *dev)
{
	uint64_t one = 1;

	if (write(dev->kick.fd, &one, sizeof(one)) < 0)
		log_line("virtio-%s: eventfd: %s", dev->ops->name, strerror(errno));
}

void state_resume_devices(struct vm *vm)
{
	struct virtio_dev *dev;
	unsigned int i;

	for (i = 0; i < vm->ndevices; i++) {
		dev = vm->devices[i];
		if (dev->ops->resume)
			dev->ops->resume(dev);
		kick(dev);
	}
}

static void save_ring(const struct vq *q, struct snap_out *o)
{
	struct ring r = {.desc_gpa = q->desc_gpa,
			 .avail_gpa = q->avail_gpa,
			 .used_gpa = q->used_gpa,
			 .size = q->size,
			 .next_avail = q->next_avail,
			 .next_used = q->next_used,
			 .given = q->given,
			 .last_signal = q->last_signal,
			 .ready = q->ready,
			 .broken = q->broken,
			 .avail_wrap = q->avail_wrap,
			 .used_wrap = q->used_wrap};

	snap_put(o, &r, sizeof(r));
}

void state_save_devices(const struct vm *vm, struct snap_out *o)
{
	const struct virtio_dev *dev;
	struct transport t;
	unsigned int i, q;

	for (i = 0; i < vm->ndevices; i++) {
		dev = vm->devices[i];
		t = (struct transport){.driver_features = dev->driver_features,
				       .id = dev->ops->id,
				       .device_features_sel = dev->device_features_sel,
				       .driver_features_sel = dev->driver_features_sel,
				       .queue_sel = dev->queue_sel,
				       .status = dev->status,
				       .isr = atomic_load(&dev->isr),
				       .config_generation = dev->config_generation,
				       .nqueues = dev->nqueues};
		snap_begin(o, SNAP_DEVICE, i);
		snap_put(o, &t, sizeof(t));
		for (q = 0; q < dev->nqueues; q++)
			save_ring(&dev->queues[q], o);
		if (dev->ops->save)
			dev->ops->save(dev, o);
		snap_end(o);
	}
}

static int bad(const struct virtio_dev *dev, const char *what, struct error *e)
{
	return error_set(e, ERROR_USER, "is damaged: virtio-%s: %s", dev->ops->name, what);
}

/* As the driver's own writes would be taken (virtio/mmio.c). */
static int load_ring(struct virtio_dev *dev, struct vq *q, struct snap_in *in, struct error *e)
{
	struct ring r;

	snap_take_to(in, &r, sizeof(r));
	q->size = r.size;
	q->desc_gpa = r.desc_gpa;
	q->avail_gpa = r.avail_gpa;
	q->used_gpa = r.used_gpa;
	if (!r.ready)
		return 0;
	if (!(dev->status & VIRTIO_CONFIG_S_FEATURES_OK))
		return bad(dev, "a queue without negotiated features", e);
	q->event_idx = virtio_has(dev, VIRTIO_RING_F_EVENT_IDX);
	q->indirect = virtio_has(dev, VIRTIO_RING_F_INDIRECT_DESC);
	q->packed = virtio_has(dev, VIRTIO_F_RING_PACKED);
	if (vq_enable(q))
		return bad(dev, "a queue has an unusable size or address", e);
	if (q->packed && (r.next_avail >= q->size || r.next_used >= q->size))
		return bad(dev, "a queue's position is outside its ring", e);
	q->next_avail = r.next_avail;
	q->next_used = r.next_used;
	q->given = r.given;
	q->last_signal = r.last_signal;
	q->avail_wrap = r.avail_wrap;
	q->used_wrap = r.used_wrap;
	q->broken = r.broken;
	q->complaint = r.broken ? "broken before the snapshot" : NULL;
	return 0;
}

static int load_transport(struct virtio_dev *dev, struct snap_in *in, uint32_t *nqueues,
			  struct error *e)
{
	struct transport t;

	snap_take_to(in, &t, sizeof(t));
	if (in->bad)
		return bad(dev, "its state is too short", e);
	if (t.id != dev->ops->id)
		return error_set(
			e, ERROR_USER,
			"has another kind of device (virtio type %u) where this command "
			"line has virtio-%s; give the devices that the VM was started with",
			t.id, dev->ops->name);
	if (t.driver_features & ~dev->features)
		return error_set(e, ERROR_MACHINE,
				 "needs features of virtio-%s that it does not have here (%#llx); "
				 "give it the options that the VM was started with",
				 dev->ops->name,
				 (unsigned long long)(t.driver_features & ~dev->features));
	if ((t.status & ~STATUS_BITS) ||
	    ((t.status & VIRTIO_CONFIG_S_DRIVER_OK) && !(t.status & VIRTIO_CONFIG_S_FEATURES_OK)) ||
	    ((t.status & VIRTIO_CONFIG_S_FEATURES_OK) &&
	     !(t.driver_features >> VIRTIO_F_VERSION_1 & 1)))
		return bad(dev, "an impossible status", e);
	dev->driver_features = t.driver_features;
	dev->device_features_sel = t.device_features_sel;
	dev->driver_features_sel = t.driver_features_sel;
	dev->queue_sel = t.queue_sel;
	dev->status = t.status;
	dev->config_generation = t.config_generation;
	atomic_store(&dev->isr, t.isr & 3);
	*nqueues = t.nqueues;
	return 0;
}

static int load_device(struct virtio_dev *dev, struct snap_in *in, struct error *e)
{
	uint32_t i, nqueues = 0;

	if (load_transport(dev, in, &nqueues, e))
		return -1;
	if (nqueues != dev->nqueues)
		return error_set(e, ERROR_USER,
				 "has virtio-%s with %u queues, this command line gives it %u",
				 dev->ops->name, nqueues, dev->nqueues);
	for (i = 0; i < nqueues; i++)
		if (load_ring(dev, &dev->queues[i], in, e))
			return -1;
	if (dev->ops->load && dev->ops->load(dev, in, e))
		return -1;
	return snap_done(in, "a device", e);
}

int state_load_devices(struct vm *vm, const uint8_t *file, struct error *e)
{
	struct virtio_dev *dev;
	struct snap_in in;
	unsigned int i;

	for (i = 0; i < vm->ndevices; i++) {
		dev = vm->devices[i];
		if (!snap_find(file, SNAP_DEVICE, i, &in))
			return error_set(
				e, ERROR_USER,
				"has %u devices; this command line makes %u, with virtio-%s "
				"as the next",
				i, vm->ndevices, dev->ops->name);
		if (load_device(dev, &in, e))
			return -1;
	}
	if (snap_find(file, SNAP_DEVICE, i, &in))
		return error_set(
			e, ERROR_USER,
			"has more devices than the %u of this command line; give those that "
			"the VM was started with",
			vm->ndevices);
	for (i = 0; i < vm->ndevices; i++) {
		dev = vm->devices[i];
		if ((dev->status & VIRTIO_CONFIG_S_DRIVER_OK) && dev->ops->activate)
			dev->ops->activate(dev);
		kick(dev);
	}
	return 0;
}
