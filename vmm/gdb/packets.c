// SPDX-License-Identifier: Apache-2.0
#include "gdb/packets.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define INTERRUPT 0x03
#define ESCAPE	  '}'
#define ESCAPED	  0x20 /* an escaped byte is sent exclusive-ored with this */

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static void begin(struct rsp_decoder *d)
{
	d->state = RSP_BODY;
	d->sum = d->told = 0;
	d->escaped = d->too_long = d->bad_digit = false;
	d->len = 0;
}

static enum rsp_event feed_idle(struct rsp_decoder *d, uint8_t byte)
{
	if (byte == '$')
		begin(d);
	else if (byte == INTERRUPT)
		return RSP_INTERRUPT;
	else if (byte == '-')
		return RSP_NACK;
	return RSP_NONE; /* '+', and noise between packets */
}

static void feed_body(struct rsp_decoder *d, uint8_t byte)
{
	if (byte == '$') { /* never inside a packet: the rest of the last one was lost */
		begin(d);
		return;
	}
	if (byte == '#') {
		d->state = RSP_SUM_HIGH;
		return;
	}
	d->sum += byte;
	if (!d->escaped && byte == ESCAPE) {
		d->escaped = true;
		return;
	}
	if (d->escaped)
		byte ^= ESCAPED;
	d->escaped = false;
	if (d->len < RSP_MAX)
		d->body[d->len++] = (char)byte;
	else
		d->too_long = true;
}

static void feed_sum(struct rsp_decoder *d, uint8_t byte)
{
	int value = digit((char)byte);

	if (value < 0)
		d->bad_digit = true;
	d->told = (uint8_t)(d->told << 4 | (value & 15));
}

enum rsp_event rsp_feed(struct rsp_decoder *d, uint8_t byte)
{
	switch (d->state) {
	case RSP_IDLE:
		return feed_idle(d, byte);
	case RSP_BODY:
		feed_body(d, byte);
		return RSP_NONE;
	case RSP_SUM_HIGH:
		feed_sum(d, byte);
		d->state = RSP_SUM_LOW;
		return RSP_NONE;
	case RSP_SUM_LOW:
		break;
	}
	feed_sum(d, byte);
	d->state = RSP_IDLE;
	d->body[d->len] = '\0';
	if (d->bad_digit || d->sum != d->told)
		return RSP_BAD;
	return d->too_long ? RSP_LONG : RSP_PACKET;
}

void rsp_text(struct rsp_reply *r, const char *fmt, ...)
{
	size_t room = RSP_MAX - r->len;
	char text[256];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(text) || (size_t)n > room) {
		r->overflow = true;
		return;
	}
	memcpy(r->body + r->len, text, n);
	r->len += n;
}

void rsp_hex(struct rsp_reply *r, const void *data, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *from = data;
	size_t i;

	if (len > (RSP_MAX - r->len) / 2) {
		r->overflow = true;
		return;
	}
	for (i = 0; i < len; i++) {
		r->body[r->len++] = digits[from[i] >> 4];
		r->body[r->len++] = digits[from[i] & 15];
	}
}

void rsp_binary(struct rsp_reply *r, const void *data, size_t len)
{
	const char *from = data;
	size_t i;
	bool escape;

	for (i = 0; i < len; i++) {
		escape = from[i] == ESCAPE || from[i] == '$' || from[i] == '#' || from[i] == '*';
		if (RSP_MAX - r->len < 1u + escape) {
			r->overflow = true;
			return;
		}
		if (escape)
			r->body[r->len++] = ESCAPE;
		r->body[r->len++] = escape ? (char)(from[i] ^ ESCAPED) : from[i];
	}
}

size_t rsp_frame(const struct rsp_reply *r, char out[RSP_FRAME_MAX])
{
	static const char digits[] = "0123456789abcdef";
	uint8_t sum = 0;
	size_t i;

	out[0] = '$';
	for (i = 0; i < r->len; i++) {
		out[1 + i] = r->body[i];
		sum += (uint8_t)r->body[i];
	}
	out[1 + i] = '#';
	out[2 + i] = digits[sum >> 4];
	out[3 + i] = digits[sum & 15];
	return i + 4;
}

bool rsp_number(const char **p, uint64_t *value)
{
	unsigned int n = 0;
	uint64_t v = 0;

	while (n < 16 && digit((*p)[n]) >= 0)
		v = v << 4 | (uint64_t)digit((*p)[n++]);
	if (!n || digit((*p)[n]) >= 0)
		return false;
	*p += n;
	*value = v;
	return true;
}

bool rsp_char(const char **p, char c)
{
	if (**p != c)
		return false;
	(*p)++;
	return true;
}

size_t rsp_bytes(const char **p, void *to, size_t max)
{
	uint8_t *out = to;
	size_t n;

	for (n = 0; n < max; n++, *p += 2) {
		if (digit((*p)[0]) < 0 || digit((*p)[1]) < 0)
			break;
		out[n] = (uint8_t)(digit((*p)[0]) << 4 | digit((*p)[1]));
	}
	return n;
}
