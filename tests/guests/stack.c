// SPDX-License-Identifier: Apache-2.0
#include "stack.h"

#include <string.h>

#define ETHERNET   14
#define IP_HEADER  20
#define TCP_HEADER 20
#define MSS_OPTION 4
#define MSS_MAX	   (FRAME_MAX - ETHERNET - IP_HEADER - TCP_HEADER)
#define TYPE_ARP   0x0806
#define TYPE_IP	   0x0800
#define ICMP	   1
#define TCP	   6

enum { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16 };

/* A frame that is being made. */
struct packet {
	uint8_t bytes[FRAME_MAX];
	size_t len;
};

static uint16_t get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static uint32_t get32(const uint8_t *at)
{
	return (uint32_t)get16(at) << 16 | get16(at + 2);
}

static void put16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static void put32(uint8_t *at, uint32_t value)
{
	put16(at, value >> 16);
	put16(at + 2, value);
}

/* The Internet checksum (RFC 1071) of some bytes after a sum of others. */
static uint16_t checksum(const uint8_t *at, size_t len, uint32_t sum)
{
	for (; len > 1; at += 2, len -= 2)
		sum += get16(at);
	if (len)
		sum += (uint32_t)at[0] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/* What TCP's checksum covers beside its segment. */
static uint32_t pseudo_header(const uint8_t *ip, size_t len)
{
	return get16(ip + 12) + get16(ip + 14) + get16(ip + 16) + get16(ip + 18) + TCP +
	       (uint32_t)len;
}

static void start_frame(const struct stack *s, struct packet *p, const uint8_t *to, uint16_t type)
{
	memcpy(p->bytes, to, 6);
	memcpy(p->bytes + 6, s->mac, 6);
	put16(p->bytes + 12, type);
	p->len = ETHERNET;
}

/* The IP header for `len` bytes behind it, which are written later. */
static uint8_t *start_ip(const struct stack *s, struct packet *p, const uint8_t *mac,
			 const uint8_t *to, uint8_t protocol, size_t len)
{
	uint8_t *ip = p->bytes + ETHERNET;

	start_frame(s, p, mac, TYPE_IP);
	memset(ip, 0, IP_HEADER);
	ip[0] = 0x45;
	put16(ip + 2, IP_HEADER + (uint32_t)len);
	ip[6] = 0x40; /* no fragments */
	ip[8] = 64;
	ip[9] = protocol;
	memcpy(ip + 12, s->ip, 4);
	memcpy(ip + 16, to, 4);
	put16(ip + 10, checksum(ip, IP_HEADER, 0));
	p->len += IP_HEADER + len;
	return ip + IP_HEADER;
}

/* --- ARP and ICMP --- */

static const uint8_t arp_request[8] = {0, 1, 8, 0, 6, 4, 0, 1}; /* Ethernet, IPv4 */

static void on_arp(const struct stack *s, const uint8_t *frame, size_t len)
{
	const uint8_t *arp = frame + ETHERNET;
	struct packet p;
	uint8_t *out = p.bytes + ETHERNET;

	if (len < ETHERNET + 28 || memcmp(arp, arp_request, sizeof(arp_request)) ||
	    memcmp(arp + 24, s->ip, 4))
		return;
	start_frame(s, &p, arp + 8, TYPE_ARP);
	memcpy(out, arp_request, sizeof(arp_request));
	out[7] = 2; /* a reply */
	memcpy(out + 8, s->mac, 6);
	memcpy(out + 14, s->ip, 4);
	memcpy(out + 18, arp + 8, 10);
	s->send(s->arg, p.bytes, ETHERNET + 28);
}

/* An ARP announcement (RFC 5227, 2.3): bridges and passt learn where we are. */
void stack_announce(const struct stack *s)
{
	static const uint8_t everybody[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	struct packet p;
	uint8_t *arp = p.bytes + ETHERNET;

	start_frame(s, &p, everybody, TYPE_ARP);
	memset(arp, 0, 28);
	memcpy(arp, arp_request, sizeof(arp_request));
	memcpy(arp + 8, s->mac, 6);
	memcpy(arp + 14, s->ip, 4);
	memcpy(arp + 24, s->ip, 4);
	s->send(s->arg, p.bytes, ETHERNET + 28);
}

static void on_icmp(const struct stack *s, const uint8_t *frame, const uint8_t *icmp, size_t len)
{
	struct packet p;
	uint8_t *out;

	if (len < 8 || icmp[0] != 8 || icmp[1] != 0 || checksum(icmp, len, 0))
		return;
	out = start_ip(s, &p, frame + 6, frame + ETHERNET + 12, ICMP, len);
	memcpy(out, icmp, len);
	out[0] = 0; /* an echo reply */
	put16(out + 2, 0);
	put16(out + 2, checksum(out, len, 0));
	s->send(s->arg, p.bytes, p.len);
}

/* --- TCP --- */

struct segment {
	const uint8_t *mac, *ip; /* of the other side */
	uint16_t from, to, window, mss;
	uint32_t seq, ack;
	uint8_t flags;
	const void *data;
	size_t len;
};

static void transmit(const struct stack *s, const struct segment *out)
{
	size_t header = TCP_HEADER + (out->flags & SYN ? MSS_OPTION : 0), len = header + out->len;
	struct packet p;
	uint8_t *tcp = start_ip(s, &p, out->mac, out->ip, TCP, len);

	put16(tcp, out->from);
	put16(tcp + 2, out->to);
	put32(tcp + 4, out->seq);
	put32(tcp + 8, out->ack);
	tcp[12] = (uint8_t)(header / 4 << 4);
	tcp[13] = out->flags;
	put16(tcp + 14, REQUEST_MAX);
	put32(tcp + 16, 0);
	if (out->flags & SYN)
		put32(tcp + TCP_HEADER, 0x02040000 | MSS_MAX);
	if (out->len)
		memcpy(tcp + header, out->data, out->len);
	put16(tcp + 16, checksum(tcp, len, pseudo_header(tcp - IP_HEADER, len)));
	s->send(s->arg, p.bytes, p.len);
}

static void transmit_on(const struct stack *s, const struct connection *c, uint32_t seq,
			uint8_t flags, const char *data, size_t len)
{
	const struct segment out = {.mac = c->mac,
				    .ip = c->ip,
				    .from = s->port,
				    .to = c->port,
				    .seq = seq,
				    .ack = c->expected,
				    .flags = flags | ACK,
				    .data = data,
				    .len = len};

	transmit(s, &out);
}

static void reply(const struct stack *s, const struct connection *c, uint8_t flags)
{
	transmit_on(s, c, c->sent, flags, NULL, 0);
}

/* RFC 9293, 3.5.2: a segment that belongs to no connection. */
static void refuse(const struct stack *s, const struct segment *in)
{
	struct segment out = {
		.mac = in->mac, .ip = in->ip, .from = in->to, .to = in->from, .flags = RST};

	if (in->flags & RST)
		return;
	if (in->flags & ACK) {
		out.seq = in->ack;
	} else {
		out.flags |= ACK;
		out.ack = in->seq + (uint32_t)in->len + !!(in->flags & SYN) + !!(in->flags & FIN);
	}
	transmit(s, &out);
}

/* Sends of the reply what the window takes; behind its last byte we say that it is over. */
static void push(const struct stack *s, struct connection *c)
{
	uint32_t at, in_flight;
	size_t len, left;
	uint8_t flags;

	for (;;) {
		at = c->sent - c->start - 1;
		in_flight = c->sent - c->acked;
		if (at > c->reply_len)
			return; /* even the end was sent */
		left = c->reply_len - at;
		len = left < c->mss ? left : c->mss;
		if (len && in_flight + len > c->window) {
			if (in_flight)
				return; /* an acknowledgement comes, and the window with it */
			len = c->window ? c->window : 1; /* a closed one is asked (3.8.6.1) */
		}
		flags = len == left ? FIN | PSH : 0;
		transmit_on(s, c, c->sent, flags, c->reply + at, len);
		c->sent += (uint32_t)len + !!(flags & FIN);
		if (c->sent - c->acked > c->top - c->acked)
			c->top = c->sent;
		if (flags & FIN || !c->window)
			return;
	}
}

static struct connection *find(struct stack *s, const struct segment *in)
{
	struct connection *c;

	for (c = s->connections; c < s->connections + CONNECTIONS; c++)
		if (c->state != FREE && c->port == in->from && !memcmp(c->ip, in->ip, 4))
			return c;
	return NULL;
}

static void begin(struct stack *s, const struct segment *in)
{
	struct connection *c, *oldest = s->connections;

	for (c = s->connections; c < s->connections + CONNECTIONS && oldest->state != FREE; c++)
		if (c->state == FREE || c->touched < oldest->touched)
			oldest = c;
	c = oldest;
	c->state = OPENING;
	memcpy(c->mac, in->mac, 6);
	memcpy(c->ip, in->ip, 4);
	c->port = in->from;
	c->window = in->window;
	c->mss = in->mss;
	s->secret = s->secret * 1103515245u + 12345;
	c->start = c->acked = s->secret ^ (uint32_t)s->now * 64000u;
	c->sent = c->start;
	c->expected = in->seq + 1;
	c->finished = 0;
	c->tries = 0;
	c->touched = c->resent = s->now;
	c->request_len = c->reply_len = 0;
	reply(s, c, SYN);
	c->top = ++c->sent;
}

/* The request has grown, or ended: is it one that can be answered? */
static void consider(struct stack *s, struct connection *c)
{
	int full = c->finished || c->request_len == REQUEST_MAX;

	if (c->state != OPEN || (!c->request_len && !full))
		return;
	c->reply_len = s->answer(s->arg, c->request, c->request_len, full, c->reply);
	if (!c->reply_len && !full)
		return;
	if (c->reply_len > REPLY_MAX)
		c->reply_len = REPLY_MAX;
	c->state = CLOSING;
	c->resent = s->now;
	push(s, c);
}

static void on_ack(struct stack *s, struct connection *c, const struct segment *in)
{
	uint32_t news = in->ack - c->acked;

	c->window = in->window;
	if (news > c->top - c->acked)
		return; /* of something that was never sent, or old */
	if (news) {
		if (news > c->sent - c->acked)
			c->sent = in->ack; /* it has what we were about to send again */
		c->acked = in->ack;
		c->tries = 0;
		c->resent = s->now;
		if (c->state == OPENING)
			c->state = OPEN;
	}
	if (c->state == CLOSING)
		push(s, c);
}

/* Takes what comes next in its order; all else is sent again by the other side. */
static void on_data(struct stack *s, struct connection *c, const struct segment *in)
{
	uint32_t old = c->expected - in->seq;
	size_t len, room = REQUEST_MAX - c->request_len;

	if (!in->len && !(in->flags & FIN))
		return;
	if (old > in->len) {
		reply(s, c, 0); /* a gap, or a repetition: what we have */
		return;
	}
	len = in->len - old;
	if (c->state != OPEN)
		room = len; /* nobody reads any more what follows a request */
	if (len > room)
		len = room;
	if (c->state == OPEN)
		memcpy(c->request + c->request_len, (const uint8_t *)in->data + old, len);
	c->request_len += c->state == OPEN ? len : 0;
	c->expected += (uint32_t)len;
	if ((in->flags & FIN) && old + len == in->len && !c->finished) {
		c->expected++;
		c->finished = 1;
	}
	reply(s, c, 0);
	consider(s, c);
}

static void on_segment(struct stack *s, const struct segment *in)
{
	struct connection *c = find(s, in);

	if (!c) {
		if ((in->flags & (SYN | ACK | RST | FIN)) == SYN)
			begin(s, in);
		else
			refuse(s, in);
		return;
	}
	if (in->flags & RST) {
		if (in->seq == c->expected) /* RFC 5961, 3.2: nobody can guess it */
			c->state = FREE;
		return;
	}
	if (in->flags & SYN) {
		/* Sent again because our answer was lost; or one that forgot the connection. */
		if (c->state == OPENING && in->seq + 1 == c->expected)
			transmit_on(s, c, c->start, SYN, NULL, 0);
		else
			reply(s, c, 0);
		return;
	}
	if (!(in->flags & ACK))
		return;
	c->touched = s->now;
	on_ack(s, c, in);
	if (c->state == OPENING)
		return; /* what it acknowledges is not our SYN */
	on_data(s, c, in);
	/* Both sides are done, and each knows it of the other. */
	if (c->state == CLOSING && c->finished && c->acked - c->start == c->reply_len + 2)
		c->state = FREE;
}

/* The other side's largest segment, one of TCP's options (RFC 9293, 3.2), within reason. */
static uint16_t read_mss(const uint8_t *option, const uint8_t *end)
{
	uint16_t mss = 536;

	while (option < end && *option) {
		if (*option == 1) {
			option++;
			continue;
		}
		if (end - option < 2 || option[1] < 2 || option[1] > end - option)
			break;
		if (option[0] == 2 && option[1] == 4)
			mss = get16(option + 2);
		option += option[1];
	}
	mss = mss < 64 ? 64 : mss;
	return mss > MSS_MAX ? MSS_MAX : mss;
}

static void on_tcp(struct stack *s, const uint8_t *frame, const uint8_t *ip, const uint8_t *tcp,
		   size_t len)
{
	struct segment in = {.mac = frame + 6, .ip = ip + 12};
	size_t header;

	if (len < TCP_HEADER || checksum(tcp, len, pseudo_header(ip, len)))
		return;
	header = (size_t)(tcp[12] >> 4) * 4;
	if (header < TCP_HEADER || header > len)
		return;
	in.from = get16(tcp);
	in.to = get16(tcp + 2);
	in.seq = get32(tcp + 4);
	in.ack = get32(tcp + 8);
	in.flags = tcp[13];
	in.window = get16(tcp + 14);
	in.mss = read_mss(tcp + TCP_HEADER, tcp + header);
	in.data = tcp + header;
	in.len = len - header;
	if (in.to == s->port)
		on_segment(s, &in);
	else
		refuse(s, &in);
}

/* --- IP --- */

static void on_ip(struct stack *s, const uint8_t *frame, size_t len)
{
	const uint8_t *ip = frame + ETHERNET;
	size_t header, total;

	len -= ETHERNET;
	if (len < IP_HEADER || ip[0] >> 4 != 4)
		return;
	header = (size_t)(ip[0] & 15) * 4;
	total = get16(ip + 2); /* a short frame is padded */
	if (header < IP_HEADER || total < header || total > len || total > FRAME_MAX - ETHERNET ||
	    checksum(ip, header, 0))
		return;
	if ((get16(ip + 6) & 0x3fff) || memcmp(ip + 16, s->ip, 4))
		return; /* a fragment; or not ours */
	/* Nobody answers to groups and broadcasts. */
	if (ip[12] >= 224 || (frame[6] & 1))
		return;
	/* What is sent back has no options, so it is never longer. */
	if (ip[9] == ICMP)
		on_icmp(s, frame, ip + header, total - header);
	else if (ip[9] == TCP)
		on_tcp(s, frame, ip, ip + header, total - header);
}

void stack_input(struct stack *s, const uint8_t *frame, size_t len, uint64_t now)
{
	s->now = now;
	if (len < ETHERNET)
		return;
	if (get16(frame + 12) == TYPE_ARP)
		on_arp(s, frame, len);
	else if (get16(frame + 12) == TYPE_IP && !memcmp(frame, s->mac, 6))
		on_ip(s, frame, len);
}

static void resend(struct stack *s, struct connection *c)
{
	c->resent = s->now;
	c->tries++;
	if (c->state == OPENING) {
		transmit_on(s, c, c->start, SYN, NULL, 0);
		return;
	}
	c->sent = c->acked;
	push(s, c);
}

uint64_t stack_tick(struct stack *s, uint64_t now)
{
	struct connection *c;
	uint64_t next = 0;

	s->now = now;
	for (c = s->connections; c < s->connections + CONNECTIONS; c++) {
		if (c->state == FREE)
			continue;
		next = RESEND_MS;
		if (now - c->touched > IDLE_MS || c->tries > RESEND_TRIES) {
			reply(s, c, RST);
			c->state = FREE;
		} else if (c->state != OPEN && c->acked != c->sent &&
			   now - c->resent >= RESEND_MS) {
			resend(s, c);
		}
	}
	return next;
}
