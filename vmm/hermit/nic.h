/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network of C HermitCore and of early Rust kernels: calls that move one packet each, and
 * an interrupt when there is one to fetch.  It sits on a network device of the VMM's
 * (virtio/net.h) in the place of the rings, so every kind of --net will do.
 *
 * The calls may come from any thread; they take the VM's lock.
 */
#ifndef HG_HERMIT_NIC_H
#define HG_HERMIT_NIC_H

#include <stdint.h>

#include "virtio/device.h"

#define NIC_GSI	      11
#define NIC_MAC_BYTES 18 /* of an address as text, with the NUL */

struct hermit_nic;

/* dev is net_create()'s and stays the caller's; it has no driver of virtio's as long as this is
 * in use, which is from the first nic_info() to the next nic_reset().  NULL: out of memory. */
struct hermit_nic *nic_create(struct virtio_dev *dev, const int *vm_fd);
void nic_destroy(struct hermit_nic *nic);
void nic_reset(struct hermit_nic *nic);

/* The address, and from now on interrupts. */
void nic_info(struct hermit_nic *nic, char mac[NIC_MAC_BYTES]);

/* For snapshots: whether nic_info() was called; and as if it were called again. */
bool nic_is_used(const struct hermit_nic *nic);
void nic_go_on(struct hermit_nic *nic);

/* One packet from `from`, `len` bytes: 0, or -1 when it could not be sent now. */
int nic_send(struct hermit_nic *nic, const void *from, uint64_t len);

/*
 * The next packet to `to`: its bytes; or -1, nothing is there (any more): an interrupt tells
 * of the next.  One that is longer than `len` is not cut but stays, and is told of again;
 * it is lost if it does not fit then either.
 */
int64_t nic_receive(struct hermit_nic *nic, void *to, uint64_t len);

#endif
