/* SPDX-License-Identifier: Apache-2.0 */
/*
 * As much of TCP/IP as a page needs: ARP (RFC 826), echoes of ICMP (RFC 792), and a TCP (RFC
 * 9293) that takes connections, reads one request, sends one reply and closes.  IPv4, no
 * fragments, one interface.
 *
 * Every bound is in this header; frames may hold anything.  Replies go to the station that a
 * frame came from, so there is no table of neighbours and no route.
 */
#ifndef GUEST_STACK_H
#define GUEST_STACK_H

#include <stddef.h>
#include <stdint.h>

#define FRAME_MAX    1514 /* bytes of Ethernet, without its checksum */
#define CONNECTIONS  16	  /* a further one takes the place of the oldest */
#define REQUEST_MAX  1024 /* bytes */
#define REPLY_MAX    2048
#define RESEND_MS    300 /* between two tries */
#define RESEND_TRIES 8
#define IDLE_MS	     15000 /* a connection that says nothing is given up */

enum state { FREE, OPENING, OPEN, CLOSING };

struct connection {
	enum state state;
	uint8_t mac[6], ip[4];
	uint16_t port;
	uint16_t window, mss;	   /* of the other side, bytes */
	uint32_t start;		   /* our first sequence number, the SYN's */
	uint32_t acked, sent, top; /* sequence numbers: all before them; top is the highest */
	uint32_t expected;	   /* what we have seen of the other side's */
	int finished;		   /* the other side has said that it is */
	unsigned int tries;	   /* since it last acknowledged something */
	uint64_t touched, resent;  /* ms */
	size_t request_len, reply_len;
	char request[REQUEST_MAX], reply[REPLY_MAX];
};

struct stack {
	uint8_t mac[6], ip[4];
	uint16_t port; /* where connections are taken */
	void (*send)(void *arg, const uint8_t *frame, size_t len);
	/*
	 * The reply to `len` bytes of a request, up to REPLY_MAX bytes: its length; 0: the request
	 * is not complete.  `full`: there will be no more of it.
	 */
	size_t (*answer)(void *arg, const char *request, size_t len, int full, char *reply);
	void *arg;
	uint32_t secret; /* makes sequence numbers harder to guess */
	uint64_t now;	 /* ms */
	struct connection connections[CONNECTIONS];
};

/* Says to all who we are; once, when the network is there. */
void stack_announce(const struct stack *s);

/* One frame came in at `now`, a clock of ms that never goes back. */
void stack_input(struct stack *s, const uint8_t *frame, size_t len, uint64_t now);

/* Sends again what was lost.  Milliseconds until it wants to be called again; 0: never. */
uint64_t stack_tick(struct stack *s, uint64_t now);

#endif
