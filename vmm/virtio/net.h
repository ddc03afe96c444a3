/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio network device (virtio 1.2, section 5.1) over a tap, or over a stream socket to a
 * user-mode network (passt).  A tap's packets are moved by the kernel's vhost-net where it
 * can be had and no rate is limited, else by this program.  The virtio-net header goes
 * through to the tap unchanged: the host's kernel checks it.
 */
#ifndef HG_VIRTIO_NET_H
#define HG_VIRTIO_NET_H

#include "options.h"
#include "virtio/device.h"

/* Opens what cfg names: tap, socket or passt.  NULL and *e on failure. */
struct virtio_dev *net_create(const struct guest_memory *mem, struct loop *loop,
			      const struct net_config *cfg, struct error *e);

/* As the guest sees it: rx is what it received.  With vhost the kernel does not tell: zeros. */
struct net_stats {
	uint64_t rx_packets, rx_bytes, rx_dropped;
	uint64_t tx_packets, tx_bytes, tx_dropped;
};
const struct net_stats *net_get_stats(const struct virtio_dev *dev);

/*
 * For tests: a device over any descriptors that keep packet boundaries, one a pair of queues,
 * with all offloads; and one over a connected stream socket.  They take the descriptors over.
 */
struct virtio_dev *net_create_fds(const struct guest_memory *mem, struct loop *loop, const int *fds,
				  const struct net_config *cfg, struct error *e);
struct virtio_dev *net_create_stream(const struct guest_memory *mem, struct loop *loop, int fd,
				     const struct net_config *cfg, struct error *e);

#endif
