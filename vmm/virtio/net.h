/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio network device (virtio 1.2, section 5.1) over a tap that lives as long as the
 * process.  Checksum offload both ways, segmentation offload from the guest; the tap's
 * virtio-net header goes through unchanged, the host's kernel checks it.
 */
#ifndef HG_VIRTIO_NET_H
#define HG_VIRTIO_NET_H

#include "options.h"
#include "virtio/device.h"

/* Makes the tap, sets it up and adds it to the bridge.  NULL and *e on failure. */
struct virtio_dev *net_create(const struct guest_memory *mem, struct loop *loop,
			      const struct net_config *cfg, struct error *e);

struct net_stats {
	uint64_t rx_packets, rx_bytes, tx_packets, tx_bytes, tx_dropped;
};
const struct net_stats *net_get_stats(const struct virtio_dev *dev);

/* For tests: a device over any descriptor that keeps packet boundaries (takes fd over). */
struct virtio_dev *net_create_fd(const struct guest_memory *mem, struct loop *loop, int fd,
				 const uint8_t mac[6], struct error *e);

#endif
