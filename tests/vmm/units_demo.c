// SPDX-License-Identifier: Apache-2.0
/* Unit tests of the demo's TCP/IP and its pages (tests/guests), which meet a whole network. */
#include <stdint.h>
#include <stdlib.h>

#include "../guests/http.c"
#include "../guests/stack.c"
#include "units.h"

#define SEND_MAX 80 /* frames for one that came in: a reply in the smallest segments */
#define SENT_MAX 16

static const uint8_t our_mac[6] = {2, 0, 0, 0, 0, 1}, their_mac[6] = {2, 0, 0, 0, 0, 2};
static const uint8_t our_ip[4] = {10, 0, 0, 1}, their_ip[4] = {10, 0, 0, 9};
static struct stack st;
static unsigned int sent_count;
static struct packet sent[SENT_MAX]; /* the first of them */
static uint64_t clock_ms = 1;

static void take_frame(void *arg, const uint8_t *frame, size_t len)
{
	(void)arg;
	CHECK(len >= 42 && len <= FRAME_MAX && sent_count < SEND_MAX);
	if (sent_count < SENT_MAX) {
		memcpy(sent[sent_count].bytes, frame, len);
		sent[sent_count].len = len;
	}
	sent_count++;
}

static size_t answer_with_page(void *arg, const char *request, size_t len, int full, char *reply)
{
	const struct http_facts facts = {.uptime_ms = 12345, .served = 7, .kind = "test"};
	int page;

	(void)arg;
	return http_answer(&facts, request, len, full, reply, &page);
}

static void start(void)
{
	memset(&st, 0, sizeof(st));
	memcpy(st.mac, our_mac, 6);
	memcpy(st.ip, our_ip, 4);
	st.port = 80;
	st.send = take_frame;
	st.answer = answer_with_page;
}

/* From a block of exactly its size, so that the sanitizer sees a byte too much. */
static void input(const uint8_t *frame, size_t len)
{
	uint8_t *exact = malloc(len ? len : 1);

	memcpy(exact, frame, len);
	sent_count = 0;
	stack_input(&st, exact, len, ++clock_ms);
	free(exact);
}

static void other_side(struct stack *s)
{
	memset(s, 0, sizeof(*s));
	memcpy(s->mac, their_mac, 6);
	memcpy(s->ip, their_ip, 4);
}

/* A segment of theirs as a frame. */
static size_t make(struct packet *p, uint16_t port, uint32_t seq, uint32_t ack, uint8_t flags,
		   const char *data)
{
	static struct stack them;
	size_t len = strlen(data), header = TCP_HEADER;
	uint8_t *tcp;

	other_side(&them);
	tcp = start_ip(&them, p, our_mac, our_ip, TCP, header + len);
	memset(tcp, 0, header);
	put16(tcp, port);
	put16(tcp + 2, 80);
	put32(tcp + 4, seq);
	put32(tcp + 8, ack);
	tcp[12] = 0x50;
	tcp[13] = flags;
	put16(tcp + 14, 60000);
	memcpy(tcp + header, data, len);
	put16(tcp + 16, checksum(tcp, header + len, pseudo_header(tcp - IP_HEADER, header + len)));
	return p->len;
}

static void say_to(uint16_t port, uint32_t seq, uint32_t ack, uint8_t flags, const char *data)
{
	struct packet p;
	size_t len = make(&p, port, seq, ack, flags, data);

	input(p.bytes, len);
}

static const uint8_t *tcp_of(unsigned int i)
{
	CHECK(i < sent_count);
	return sent[i].bytes + ETHERNET + IP_HEADER;
}

static uint32_t open_connection(uint16_t port)
{
	uint32_t theirs;

	say_to(port, 1000, 0, SYN, "");
	CHECK(sent_count == 1 && tcp_of(0)[13] == (SYN | ACK) && get32(tcp_of(0) + 8) == 1001);
	theirs = get32(tcp_of(0) + 4) + 1;
	say_to(port, 1001, theirs, ACK, "");
	CHECK(sent_count == 0);
	return theirs;
}

/* All data that was sent by the last input or tick, and whether it was the end. */
static size_t collect(char *to, size_t room, bool *end)
{
	const uint8_t *tcp;
	size_t len, have = 0;
	unsigned int i;

	*end = false;
	for (i = 0; i < sent_count && i < SENT_MAX; i++) {
		tcp = tcp_of(i);
		len = sent[i].len - ETHERNET - IP_HEADER - (size_t)(tcp[12] >> 4) * 4;
		CHECK(have + len < room);
		memcpy(to + have, tcp + (tcp[12] >> 4) * 4, len);
		have += len;
		*end |= tcp[13] & FIN;
	}
	to[have] = '\0';
	return have;
}

static void who_has_is_answered(void)
{
	uint8_t arp[60] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0,
			   2,	 8,    6,    0,	   1,	 8,    0, 6, 4, 0, 1};
	size_t len;

	start();
	memcpy(arp + 22, their_mac, 6);
	memcpy(arp + 28, their_ip, 4);
	memcpy(arp + 38, our_ip, 4);
	input(arp, sizeof(arp));
	CHECK(sent_count == 1 && !memcmp(sent[0].bytes, their_mac, 6) && sent[0].bytes[21] == 2);
	CHECK(!memcmp(sent[0].bytes + 22, our_mac, 6) && !memcmp(sent[0].bytes + 28, our_ip, 4));
	for (len = 0; len < 42; len++) {
		input(arp, len);
		CHECK(sent_count == 0);
	}
	arp[41]++;
	input(arp, sizeof(arp));
	CHECK(sent_count == 0);
}

static void an_echo_comes_back(void)
{
	static struct stack them;
	struct packet p;
	uint8_t *icmp;

	start();
	other_side(&them);
	icmp = start_ip(&them, &p, our_mac, our_ip, ICMP, 1480); /* the largest */
	memset(icmp, 0x5a, 1480);
	icmp[0] = 8;
	icmp[1] = icmp[2] = icmp[3] = 0;
	put16(icmp + 2, checksum(icmp, 1480, 0));
	input(p.bytes, p.len);
	CHECK(sent_count == 1 && sent[0].len == p.len && sent[0].bytes[34] == 0);
	CHECK(!checksum(sent[0].bytes + 34, 1480, 0) && sent[0].bytes[p.len - 1] == 0x5a);
	icmp[100] ^= 1;
	input(p.bytes, p.len);
	CHECK(sent_count == 0);
}

static void a_page_is_served(void)
{
	uint32_t theirs;
	char page[4096];
	size_t len;
	bool end;

	start();
	theirs = open_connection(4000);
	CHECK(st.connections[0].state == OPEN);
	say_to(4000, 1001, theirs, ACK, "GET / HT");
	CHECK(sent_count == 1 && get32(tcp_of(0) + 8) == 1009); /* not complete: taken */
	say_to(4000, 1009, theirs, ACK | PSH, "TP/1.1\r\nHost: x\r\n\r\n");
	len = collect(page, sizeof(page), &end);
	CHECK(len > 200 && end && strstr(page, "200 OK") && strstr(page, "12.345 s"));
	say_to(4000, 1028, theirs + (uint32_t)len + 1, ACK | FIN, "");
	CHECK(sent_count == 1 && get32(tcp_of(0) + 8) == 1029);
	CHECK(st.connections[0].state == FREE);
	say_to(4000, 1029, theirs, ACK, ""); /* nobody's */
	CHECK(sent_count == 1 && tcp_of(0)[13] == RST);
}

static void what_is_lost_is_sent_again(void)
{
	char page[4096], again[4096];
	uint32_t theirs;
	size_t len;
	bool end;

	start();
	say_to(4000, 1000, 0, SYN, "");
	theirs = get32(tcp_of(0) + 4) + 1;
	say_to(4000, 1000, 0, SYN, ""); /* our answer was lost */
	CHECK(sent_count == 1 && get32(tcp_of(0) + 4) + 1 == theirs);
	say_to(4000, 1001, theirs, ACK, "");
	say_to(4000, 1005, theirs, ACK, "of a later segment");
	CHECK(sent_count == 1 && get32(tcp_of(0) + 8) == 1001);
	say_to(4000, 1001, theirs, ACK, "GET / HTTP/1.1\r\n\r\n");
	len = collect(page, sizeof(page), &end);
	clock_ms += RESEND_MS;
	sent_count = 0;
	CHECK(stack_tick(&st, clock_ms) > 0);
	CHECK(collect(again, sizeof(again), &end) == len && end && !memcmp(page, again, len));
	/* Part of it arrived: only the rest. */
	say_to(4000, 1019, theirs + 100, ACK, "");
	clock_ms += RESEND_MS;
	sent_count = 0;
	stack_tick(&st, clock_ms);
	CHECK(collect(again, sizeof(again), &end) == len - 100 && !memcmp(page + 100, again, 50));
	CHECK(st.connections[0].state == CLOSING);
	while (st.connections[0].state != FREE) { /* nobody is there any more: it ends */
		CHECK(clock_ms < 100000);
		sent_count = 0;
		stack_tick(&st, clock_ms += RESEND_MS);
	}
	CHECK(stack_tick(&st, clock_ms) == 0);
}

static void a_flood_leaves_room(void)
{
	unsigned int i;

	start();
	for (i = 0; i < 10 * CONNECTIONS; i++) {
		say_to((uint16_t)(5000 + i), 1, 0, SYN, "");
		CHECK(sent_count == 1 && tcp_of(0)[13] == (SYN | ACK));
	}
	open_connection(4000);
}

static void a_request_that_never_ends_is_answered(void)
{
	uint32_t theirs, i;
	char page[4096];
	bool end;

	start();
	theirs = open_connection(4000);
	for (i = 0; i < REQUEST_MAX / 8; i++)
		say_to(4000, 1001 + 8 * i, theirs, ACK, "GET GET ");
	collect(page, sizeof(page), &end);
	CHECK(end && strstr(page, "400 Bad Request"));
	theirs = open_connection(4001);
	say_to(4001, 1001, theirs, ACK | FIN, "GET");
	collect(page, sizeof(page), &end);
	CHECK(end && strstr(page, "400 Bad Request"));
}

static void wrong_requests_have_their_answers(void)
{
	static const struct {
		const char *request, *status;
	} wrong[] = {
		{"GET /none HTTP/1.1\r\n\r\n", "404 Not Found"},
		{"POST / HTTP/1.1\r\n\r\n", "405 Method Not Allowed"},
		{"GET HTTP/1.1\r\n\r\n", "400 Bad Request"},
		{"GET / HTTP/2\r\n\r\n", "400 Bad Request"},
		{"GET /\r\n\r\n", "400 Bad Request"},
		{"\r\n\r\n", "400 Bad Request"},
		{"\x16\x03\x01\x02\r\n\r\n", "400 Bad Request"},
		{"GET /?x HTTP/1.0\r\n\r\n", "200 OK"},
		{"GET /uptime HTTP/1.0\r\n\r\n", "12.345 s"},
		{"HEAD / HTTP/1.1\r\n\r\n", "200 OK"},
	};
	char response[HTTP_RESPONSE_MAX + 1];
	struct http_facts facts = {12345, 1, "test"};
	unsigned int i;
	size_t n;
	int page;

	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		n = http_answer(&facts, wrong[i].request, strlen(wrong[i].request), 0, response,
				&page);
		response[n] = '\0';
		CHECK(strstr(response, wrong[i].status));
		CHECK(page == (strstr(response, "200 OK") != NULL));
	}
	CHECK(!strstr(response, "<html"));
}

static uint64_t next_random(uint64_t *state) /* xorshift64* */
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 2685821657736338717ull;
}

/* So that what was changed is looked at and not just dropped. */
static void mend(struct packet *p)
{
	uint8_t *ip = p->bytes + ETHERNET;
	size_t header = (size_t)(ip[0] & 15) * 4, total = get16(ip + 2);

	if (p->len < ETHERNET + IP_HEADER || header < IP_HEADER || total > p->len - ETHERNET ||
	    total < header)
		return;
	put16(ip + 10, 0);
	put16(ip + 10, checksum(ip, header, 0));
	if (ip[9] == TCP && total >= header + TCP_HEADER) {
		put16(ip + header + 16, 0);
		put16(ip + header + 16,
		      checksum(ip + header, total - header, pseudo_header(ip, total - header)));
	}
}

/* Frames of real connections with bytes changed and ends cut off, and their clock. */
static void nothing_that_comes_in_harms(void)
{
	static const char *const texts[] = {"", "GET / HTTP/1.1\r\n\r\n", "GET ", "\r\n\r\n", "x"};
	uint64_t state = 88172645463325252ull, r;
	unsigned int round, i;
	struct connection *c;
	struct packet p;

	start();
	for (round = 0; round < 400000; round++) {
		r = next_random(&state);
		c = &st.connections[r >> 8 & 3];
		/* Mostly what that connection waits for. */
		make(&p, (uint16_t)(4000 + (r & 7)), r >> 16 & 7 ? c->expected : (uint32_t)r,
		     r >> 20 & 7 ? c->sent - (uint32_t)(r >> 50 & 3) : (uint32_t)(r >> 7),
		     r >> 24 & 3 ? ACK : (uint8_t)(r >> 26), texts[(r >> 36) % 5]);
		if (r >> 40 & 1)
			memcpy(p.bytes + ETHERNET + IP_HEADER, (uint8_t[]){0x0f, 0xa0}, 2);
		put16(p.bytes + 48, (uint32_t)(r >> 45 & 1 ? r : 60000)); /* its window */
		for (i = 0; r >> 42 & 1 && i < (r >> 54 & 3); i++)
			p.bytes[next_random(&state) % p.len] = (uint8_t)next_random(&state);
		if (r >> 43 & 3)
			mend(&p);
		if (!(r >> 57 & 15))
			p.len = next_random(&state) % (p.len + 1);
		input(p.bytes, p.len);
		clock_ms += r >> 60;
		sent_count = 0;
		if (!(round & 15))
			for (i = 0; i < CONNECTIONS; i++, sent_count = 0)
				stack_tick(&st, clock_ms);
	}
	start();
	open_connection(4000);
}

static const struct unit_test tests[] = {
	TEST(who_has_is_answered),
	TEST(an_echo_comes_back),
	TEST(a_page_is_served),
	TEST(what_is_lost_is_sent_again),
	TEST(a_flood_leaves_room),
	TEST(a_request_that_never_ends_is_answered),
	TEST(wrong_requests_have_their_answers),
	TEST(nothing_that_comes_in_harms),
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return run_units(argc, argv, tests);
}
