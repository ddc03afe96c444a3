/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connections of the vsock device that is served here: each joins a Unix stream socket with
 * a stream of the guest's.  What is private to vsock_unix.c (device, packets) and vsock_conn.c
 * (streams, credit).
 *
 * Bounds: VSOCK_MAX_CONNS connections, VSOCK_BUFFER bytes from the guest for a socket that
 * takes none.  Nothing is buffered in the other direction: bytes stay in the host's socket until
 * the guest has both a buffer and credit (5.10.6.3) for them.
 */
#ifndef HG_VIRTIO_VSOCK_CONN_H
#define HG_VIRTIO_VSOCK_CONN_H

#include <linux/virtio_vsock.h>

#include "virtio/device.h"

#define VSOCK_MAX_CONNS	 128
#define VSOCK_HOST_CONNS 16 /* of these, kept for connections that the host begins */
#define VSOCK_BUFFER	 65536u
#define VSOCK_MAX_RSTS	 32 /* answers to packets of no connection */
#define VSOCK_HOST_CID	 2
#define VSOCK_FIRST_PORT 0x40000000u /* of the host's side, where the host begins */
#define VSOCK_GREETING	 32	     /* bytes: "CONNECT 4294967295\n" and some spaces */

enum vsock_state {
	VSOCK_GREETED,	 /* a client of ours, which has not said its port yet */
	VSOCK_REQUESTED, /* by us, of the guest */
	VSOCK_CONNECTING,
	VSOCK_CONNECTED,
	VSOCK_CLOSED, /* only the RST is owed to the guest */
};

/* Packets that wait for a buffer of the guest's, by their operation. */
#define OWED(op) (1u << (op))

struct vsock_unix;

struct vsock_conn {
	struct vsock_unix *v;
	struct loop_source src; /* fd -1: no socket */
	bool in_loop;
	uint32_t events; /* what the loop watches for */
	enum vsock_state state;
	uint32_t guest_port, host_port;
	uint32_t owed;
	uint32_t shutdown; /* VIRTIO_VSOCK_SHUTDOWN_*: what the host does no more */
	uint32_t guest_shutdown;
	bool readable; /* the socket has bytes, or its end */
	bool ended;    /* its end was read */
	bool hung_up;  /* the other side is gone altogether */
	bool asked_credit;
	bool write_closed; /* the guest's end was passed on */
	/* 5.10.6.3: free-running counts of bytes. */
	uint32_t peer_alloc, peer_fwd, sent;
	uint32_t fwd, told_fwd;
	uint8_t *buffer; /* a ring of VSOCK_BUFFER; NULL while nothing waits */
	uint32_t start, waiting;
	char greeting[VSOCK_GREETING];
	unsigned int greeting_len;
};

struct vsock_rst {
	uint64_t src_cid;
	uint32_t src_port, dst_port;
};

struct vsock_unix {
	struct virtio_dev dev; /* first: a virtio_dev pointer is ours */
	struct virtio_vsock_config config;
	struct loop_source listener, connector;
	struct vsock_conn *conns[VSOCK_MAX_CONNS]; /* the first nconns */
	unsigned int nconns, turn;
	struct vsock_rst rsts[VSOCK_MAX_RSTS];
	unsigned int nrsts;
	bool tell_reset; /* after a restore: all connections are gone */
	uint32_t next_port;
	struct vq_chain chain;
	struct iovec part[VQ_MAX_SEGS];
};

/* --- vsock_conn.c --- */

/* NULL: there are too many.  fd -1: none yet. */
struct vsock_conn *vsock_open(struct vsock_unix *v, enum vsock_state state, int fd);
void vsock_free(struct vsock_conn *c);

/* Ends it from our side: the socket is closed, and an RST goes to the guest. */
void vsock_kill(struct vsock_conn *c);

/* Joins the socket `fd`, which was connected for it, and tells the guest. */
void vsock_joined(struct vsock_conn *c, int fd);

/* The guest accepted. */
void vsock_accepted(struct vsock_conn *c);

/* `len` bytes from offset `skip` of the chain's readable part, for the socket. */
void vsock_take(struct vsock_conn *c, const struct vq_chain *chain, size_t skip, uint32_t len);

/* The guest will not receive or send any more: VIRTIO_VSOCK_SHUTDOWN_* in flags. */
void vsock_guest_shutdown(struct vsock_conn *c, uint32_t flags);

/* Bytes that may be sent to the guest now. */
uint32_t vsock_credit(const struct vsock_conn *c);

/*
 * Reads from the socket into the part of `chain` that follows a header: bytes, or 0 when there
 * is nothing now (then c->owed may have changed).
 */
size_t vsock_read(struct vsock_conn *c, const struct vq_chain *chain);

/* Whether a packet waits for a buffer of the guest's. */
bool vsock_has_packet(struct vsock_conn *c);

/* Sets what the loop watches the socket for. */
void vsock_watch(struct vsock_conn *c);

/* --- vsock_unix.c --- */

/* Sends what can be sent to the guest. */
void vsock_pump(struct vsock_unix *v);

/* --- vsock_connector.c --- */

/*
 * A process that does nothing but connect to PATH_PORT when it is asked: this program itself
 * can make no socket and see no path once it is in its jail.  Returns our end, or -1 and *e.
 */
int vsock_connector_start(const char *path, const struct guest_memory *mem, struct error *e);

/* Asks for port `port`; `id` comes back with the answer.  0, or -1. */
int vsock_connector_ask(int fd, uint32_t id, uint32_t port);

/* One answer: 1 with *id and *sock (-1: nobody listens there); 0 nothing there; -1 it is gone. */
int vsock_connector_answer(int fd, uint32_t *id, int *sock);

#endif
