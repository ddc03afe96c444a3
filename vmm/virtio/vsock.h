/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio socket device (virtio 1.2, section 5.10), with one of two back ends:
 *
 * - the host's kernel (vhost_vsock): AF_VSOCK on the host, CIDs shared by all its VMs;
 * - Unix sockets, in Firecracker's convention: who connects to PATH and sends
 *   "CONNECT port\n" gets "OK port\n" and a stream to the guest's port; a guest that connects
 *   to port P of CID 2 gets a stream to whoever listens at PATH_P.
 */
#ifndef HG_VIRTIO_VSOCK_H
#define HG_VIRTIO_VSOCK_H

#include "options.h"
#include "virtio/device.h"

struct virtio_dev *vsock_create(const struct guest_memory *mem, struct loop *loop,
				const struct vsock_config *cfg, struct error *e);

/* vsock_vhost.c and vsock_unix.c: the two of them. */
struct virtio_dev *vsock_vhost_create(const struct guest_memory *mem, struct loop *loop,
				      uint64_t cid, struct error *e);
struct virtio_dev *vsock_unix_create(const struct guest_memory *mem, struct loop *loop,
				     const struct vsock_config *cfg, struct error *e);

#endif
