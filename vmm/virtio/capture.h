/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes packets of both directions to a file for tcpdump and Wireshark: the classic pcap
 * format (draft-ietf-opsawg-pcap), Ethernet, microseconds.  The file grows to CAPTURE_MAX bytes
 * and no further; whatever goes wrong with it ends the capture and not the network.
 */
#ifndef HG_VIRTIO_CAPTURE_H
#define HG_VIRTIO_CAPTURE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "error.h"

#define CAPTURE_MAX (256ull << 20)

struct capture {
	int fd;	       /* -1: none, or it has ended */
	uint64_t used; /* bytes of the file */
};

/* Makes the file anew.  0, or -1 and *e. */
int capture_open(struct capture *c, const char *path, struct error *e);
void capture_close(struct capture *c);

/* One packet: `len` bytes of the n buffers behind their first `skip` ones. */
void capture_packet(struct capture *c, const struct iovec *iov, unsigned int n, size_t skip,
		    size_t len);

#endif
