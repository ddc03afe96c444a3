/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all virtio devices share, and what a device has to provide.  The transports
 * (virtio/mmio.c, virtio/pci.c) are the only callers of struct virtio_ops.  All of it runs under
 * the VM's lock, in the event loop's thread or in a vCPU's.
 */
#ifndef HG_VIRTIO_DEVICE_H
#define HG_VIRTIO_DEVICE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "irq.h"
#include "loop.h"
#include "memory.h"
#include "virtio/queue.h"

#define VIRTIO_MAX_QUEUES 17 /* eight pairs and a control queue */

struct error;
struct snap_in;
struct snap_out;
struct virtio_dev;
struct virtio_notifiers;

struct virtio_ops {
	uint32_t id; /* virtio 1.2, section 5 */
	const char *name;
	unsigned int nqueues; /* unless the device sets its own before virtio_init() */
	uint16_t queue_size;
	bool notify_inline;			  /* what virtio_dev.notify_inline begins as */
	void (*activate)(struct virtio_dev *dev); /* DRIVER_OK was set; may be NULL */
	void (*notify)(struct virtio_dev *dev, unsigned int queue);
	/*
	 * Ends what is in flight: guest RAM is not touched after this.  For a reset, and when a
	 * queue is taken out of use.  May be NULL.
	 */
	void (*reset)(struct virtio_dev *dev);
	/* The driver wrote to configuration space; NULL: all of it is read only. */
	void (*write_config)(struct virtio_dev *dev, uint64_t offset, const uint8_t *data,
			     unsigned int len);
	void (*destroy)(struct virtio_dev *dev);
	/*
	 * Snapshots; all may be NULL.  What the transport and the rings hold is saved without a
	 * device's help (snapshot/devices.c); these are for the rest, called with vCPUs parked.
	 *
	 * cannot_save: why this device, as it is now, cannot be in a snapshot; NULL: it can.
	 * quiesce: ends what is in flight and loses none of it: each chain that was popped is
	 *	pushed or unpopped, and guest RAM is not touched any more.  NULL: between two
	 *	callbacks of this device nothing is ever in flight.
	 * resume: the other way, when the VM goes on after its snapshot; kicks follow.
	 * save, load: state of its own (snapshot/format.h).  load() comes before activate(), which
	 *	follows if the driver had set DRIVER_OK; the bytes are to be trusted no more than
	 *	a guest's.
	 */
	const char *(*cannot_save)(const struct virtio_dev *dev);
	void (*quiesce)(struct virtio_dev *dev);
	void (*resume)(struct virtio_dev *dev);
	void (*save)(const struct virtio_dev *dev, struct snap_out *out);
	int (*load)(struct virtio_dev *dev, struct snap_in *in, struct error *e);
};

struct virtio_dev {
	const struct virtio_ops *ops;
	const struct guest_memory *mem;
	pthread_mutex_t *lock;
	struct loop *loop;
	struct irq irq;
	uint64_t features;	  /* offered; VERSION_1, EVENT_IDX, INDIRECT_DESC are added */
	uint64_t driver_features; /* accepted */
	uint32_t device_features_sel, driver_features_sel, queue_sel;
	/*
	 * True: notify() runs in the vCPU that kicked, before it goes on.  For devices that
	 * answer at once this saves a thread switch, and a guest that spins for the answer
	 * (Linux's hvc0) finds it there.  False: an ioeventfd wakes the event loop.
	 */
	bool notify_inline;
	bool split_only; /* the rings are served by somebody who knows no packed ones (vhost) */
	uint8_t status;
	atomic_uint isr;	/* InterruptStatus: 1 used buffer, 2 configuration */
	atomic_uint isr_always; /* bits that read as set in any case (virtio/window.h) */
	uint8_t *window;	/* where the guest reads the registers; NULL: by an exit */
	uint32_t config_generation;
	unsigned int nqueues;
	struct vq queues[VIRTIO_MAX_QUEUES];
	uint8_t *config; /* device-specific, what the guest reads */
	unsigned int config_len;
	struct loop_source kick; /* an eventfd: the ioeventfd, and our own deferred kicks */
	/*
	 * 0: any kick wakes the loop.  Else those of the first so many queues do, and notify() of
	 * the others runs in the vCPU: a control queue's driver spins for the answer.
	 */
	unsigned int kick_queues;
	/* Of the whole process's life; what vhost does is not among it.  The queues count, too. */
	uint64_t kicks, interrupts, errors;
	struct virtio_notifiers *notifiers; /* of queues served elsewhere; NULL: none */
};

/* Fills the shared part.  0, or -1 with errno when no eventfd can be had. */
int virtio_init(struct virtio_dev *dev, const struct virtio_ops *ops,
		const struct guest_memory *mem, struct loop *loop);

/* Undoes that, and takes the notifiers away; kick.fd is -1 where nothing was done yet. */
void virtio_end(struct virtio_dev *dev);

/* Also what a guest's write of 0 to Status does, and what a reset of the machine does. */
void virtio_reset(struct virtio_dev *dev);

/* Interrupts the guest if the pushes to this queue since the last call want it. */
void virtio_signal(struct virtio_dev *dev, struct vq *q);

/*
 * The end of a round over a queue: `popped` is the last result of vq_pop().  A broken queue
 * breaks the device; what is left over (or came in meanwhile) is served by the event loop
 * later, so that a guest that never stops adding requests cannot hold the lock for ever.
 * Each round takes at most q->size chains.
 */
void virtio_finish(struct virtio_dev *dev, struct vq *q, int popped);

/* dev->config was changed by us: tell the driver. */
void virtio_config_changed(struct virtio_dev *dev);

/* The driver broke the rules: the device asks for a reset (2.1.2) and says why, once. */
void virtio_break(struct virtio_dev *dev, const char *why);

bool virtio_is_running(const struct virtio_dev *dev);

static inline bool virtio_has(const struct virtio_dev *dev, unsigned int feature)
{
	return dev->driver_features >> feature & 1;
}

/* The registers of virtio-mmio, VIRTIO_MMIO_*; and configuration space, beyond which is 0. */
uint32_t virtio_read_register(struct virtio_dev *dev, uint32_t offset);
void virtio_write_register(struct virtio_dev *dev, uint32_t offset, uint32_t value);
void virtio_read_config(const struct virtio_dev *dev, uint64_t offset, uint8_t *data,
			unsigned int len);

/* Something that the driver reads was changed: brings dev->window up to date. */
void virtio_publish(struct virtio_dev *dev);

/* One access to the register window (virtio/mmio.c); a bus_fn that takes the lock itself. */
#define VIRTIO_MMIO_NOTIFY 0x50
void virtio_mmio_access(void *opaque, uint64_t offset, bool write, uint8_t *data, unsigned int len);

/* Serves all queues, as a kick does.  The caller holds the lock. */
void virtio_kick(struct virtio_dev *dev);
/* The same, by the event loop: a vCPU's thread may not do all that a back end does (jail/). */
void virtio_kick_later(struct virtio_dev *dev);

#endif
