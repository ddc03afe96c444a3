/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio memory balloon (virtio 1.2, section 5.5): the guest hands pages over until it has
 * given as many as it was asked for, and reports pages that are free anyway; both go back to
 * the host at once.  A page that the guest touches again is a page of zeros.
 *
 * What was ballooned is advice and no promise: a guest that lies hurts itself alone.
 */
#ifndef HG_VIRTIO_BALLOON_H
#define HG_VIRTIO_BALLOON_H

#include "options.h"
#include "virtio/device.h"

#define BALLOON_NSTATS 16 /* tags of 5.5.6.3 and those that Linux added up to 6.12 */

struct balloon_stats {
	uint64_t value[BALLOON_NSTATS]; /* by tag; memory in bytes */
	uint32_t known;			/* bit n: the guest has told value[n] */
	uint64_t updated;		/* seconds since the epoch, 0: never */
	/* What the device did, in bytes, since the VMM began. */
	uint64_t inflated, deflated, reported;
};

/* The names of the tags, as in QEMU's guest-stats. */
extern const char *const balloon_stat_names[BALLOON_NSTATS];

struct virtio_dev *balloon_create(const struct guest_memory *mem, struct loop *loop,
				  const struct balloon_config *cfg, struct error *e);

/* fn is called at most once a second when the guest's memory has changed: bytes it has now. */
void balloon_on_change(struct virtio_dev *dev, void (*fn)(void *arg, uint64_t actual), void *arg);

/* Asks the guest to live with `bytes` of RAM; more than it has means all of it. */
void balloon_set_target(struct virtio_dev *dev, uint64_t bytes);

/* RAM that the guest has by its own account, in bytes. */
uint64_t balloon_actual(const struct virtio_dev *dev);

/* What is known now; the guest is asked for newer figures, which come a moment later. */
const struct balloon_stats *balloon_get_stats(struct virtio_dev *dev);

#endif
