/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The framing of GDB's remote serial protocol ("Debugging with GDB", appendix E.1):
 * $body#checksum with acknowledgements, '}' escapes in both directions, and the bare byte
 * 0x03 that interrupts.  Nothing here knows what a packet means; everything is bounded.
 */
#ifndef HG_GDB_PACKETS_H
#define HG_GDB_PACKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RSP_MAX 8192u /* bytes of a body, in both directions; told as PacketSize */

enum rsp_event {
	RSP_NONE,   /* more bytes are needed */
	RSP_PACKET, /* body and len hold a packet, a NUL follows it */
	RSP_BAD,    /* its checksum is wrong */
	RSP_LONG,   /* a whole packet, of more than RSP_MAX bytes; its body is lost */
	RSP_NACK,   /* the last answer is wanted again */
	RSP_INTERRUPT,
};

struct rsp_decoder {
	enum { RSP_IDLE, RSP_BODY, RSP_SUM_HIGH, RSP_SUM_LOW } state;
	uint8_t sum, told;
	bool escaped, too_long, bad_digit;
	size_t len;
	char body[RSP_MAX + 1];
};

/* A zeroed decoder is ready.  Takes one byte; what it completed. */
enum rsp_event rsp_feed(struct rsp_decoder *d, uint8_t byte);

/* An answer in the making.  What does not fit is left out and noted. */
struct rsp_reply {
	size_t len;
	bool overflow;
	char body[RSP_MAX];
};

void rsp_text(struct rsp_reply *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void rsp_hex(struct rsp_reply *r, const void *data, size_t len);
void rsp_binary(struct rsp_reply *r, const void *data, size_t len); /* escaped */

/* $, body, #, checksum.  Returns the frame's length. */
#define RSP_FRAME_MAX (RSP_MAX + 4)
size_t rsp_frame(const struct rsp_reply *r, char out[RSP_FRAME_MAX]);

/* A hexadecimal number at *p of 1 to 16 digits; *p moves behind it.  False: there is none. */
bool rsp_number(const char **p, uint64_t *value);

/* The character c at *p; *p moves behind it. */
bool rsp_char(const char **p, char c);

/* Decodes pairs of digits at *p until `max` bytes or the first other character. */
size_t rsp_bytes(const char **p, void *to, size_t max);

#endif
