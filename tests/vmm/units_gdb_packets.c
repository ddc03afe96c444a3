// SPDX-License-Identifier: Apache-2.0
/* Unit tests of the debugger's protocol: framing, numbers, the description of the registers. */
#include "gdb_fixture.h"
#include "units.h"

static enum rsp_event feed_all(struct rsp_decoder *d, const char *bytes, size_t len)
{
	enum rsp_event last = RSP_NONE;
	size_t i;

	for (i = 0; i < len; i++)
		last = rsp_feed(d, (uint8_t)bytes[i]);
	return last;
}

#define FEED(d, s) feed_all(d, s, sizeof(s) - 1)

static void packets_are_framed_as_gdb_frames_them(void)
{
	static struct rsp_decoder d;

	CHECK(FEED(&d, "+noise$g#67") == RSP_PACKET && d.len == 1 && !strcmp(d.body, "g"));
	CHECK(FEED(&d, "$g#68") == RSP_BAD);
	CHECK(FEED(&d, "$g#zz") == RSP_BAD);
	CHECK(FEED(&d, "\003") == RSP_INTERRUPT);
	CHECK(FEED(&d, "-") == RSP_NACK);
	CHECK(FEED(&d, "$\003#03") == RSP_PACKET && d.len == 1); /* inside it is a byte */
	/* '}' 0x03 is '#' escaped; the checksum is of what is sent. */
	CHECK(FEED(&d, "$X}\003#d8") == RSP_PACKET && d.len == 2 && d.body[1] == '#');
	CHECK(FEED(&d, "$lost$g#67") == RSP_PACKET && d.len == 1);
	CHECK(FEED(&d, "$#00") == RSP_PACKET && d.len == 0);
}

static void a_packet_without_end_takes_no_more_room(void)
{
	static struct rsp_decoder d;
	unsigned int i, sum = 0;
	char end[4];

	rsp_feed(&d, '$');
	for (i = 0; i < 10 * RSP_MAX; i++, sum += 'a')
		CHECK(rsp_feed(&d, 'a') == RSP_NONE);
	snprintf(end, sizeof(end), "#%02x", sum & 255);
	CHECK(feed_all(&d, end, 3) == RSP_LONG && d.len == RSP_MAX);
	CHECK(FEED(&d, "$g#67") == RSP_PACKET);
}

static void answers_are_bounded_and_escaped(void)
{
	static struct rsp_reply r;
	char out[RSP_FRAME_MAX];
	size_t n;

	rsp_binary(&r, "a#b}c$d*", 8);
	CHECK(r.len == 12 && !memcmp(r.body, "a}\003b}]c}\004d}\n", 12));
	r.len = 0;
	rsp_text(&r, "OK");
	n = rsp_frame(&r, out);
	CHECK(n == 6 && !memcmp(out, "$OK#9a", 6));
	r.len = RSP_MAX - 1;
	rsp_hex(&r, "x", 1);
	CHECK(r.overflow && r.len == RSP_MAX - 1);
	r.overflow = false;
	rsp_binary(&r, "}", 1);
	CHECK(r.overflow && r.len == RSP_MAX - 1);
}

static void numbers_have_at_most_sixteen_digits(void)
{
	const char *p = "ffffffffffffffff,", *long_one = "1ffffffffffffffff", *none = ",";
	uint64_t v;

	CHECK(rsp_number(&p, &v) && v == UINT64_MAX && *p == ',');
	CHECK(!rsp_number(&long_one, &v) && !rsp_number(&none, &v));
}

static void the_description_and_the_registers_agree(void)
{
	size_t len, offset, sum = 0, n, count = 0;
	const char *xml = registers_describe(&len), *p = xml;
	unsigned int number, bits;

	CHECK(strlen(xml) == len && !strcmp(xml + len - 9, "</target>"));
	for (number = 0; (n = register_place(number, &offset)); number++) {
		CHECK(offset == sum);
		sum += n;
		p = strstr(p, "<reg name=");
		CHECK(p && sscanf(strstr(p, "bitsize="), "bitsize=\"%u\"", &bits) == 1);
		CHECK(bits == 8 * n);
		p++;
		count++;
	}
	CHECK(!strstr(p, "<reg name=") && count == number);
	CHECK(sum == sizeof(struct gdb_registers));
	CHECK(register_place(GDB_RIP, &offset) == 8);
	CHECK(offset == offsetof(struct gdb_registers, rip));
}

static const struct unit_test tests[] = {
	TEST(packets_are_framed_as_gdb_frames_them),
	TEST(a_packet_without_end_takes_no_more_room),
	TEST(answers_are_bounded_and_escaped),
	TEST(numbers_have_at_most_sixteen_digits),
	TEST(the_description_and_the_registers_agree),
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return run_units(argc, argv, tests);
}
