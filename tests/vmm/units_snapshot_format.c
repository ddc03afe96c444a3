// SPDX-License-Identifier: Apache-2.0
/* Unit tests of the format of a snapshot's state file. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "options/family.h"
#include "snapshot/ram.h"
#include "snapshot/snapshot.h"
#include "snapshot/state.h"
#include "snapshot/sum.h"
#include "snapshot_fixture.h"
#include "units.h"
#include "vm_fixture.h"

static const uint8_t id[SNAP_ID] = "an id of 16 byte";

static void sample(struct snap_out *o)
{
	snap_create(o, id);
	snap_begin(o, SNAP_OPTIONS, 0);
	snap_put(o, "cpus\0002", 7);
	snap_end(o);
	snap_begin(o, SNAP_REGS, 7);
	snap_put32(o, 0x12345678);
	snap_put64(o, 0x1122334455667788ull);
	snap_end(o);
	CHECK(snap_finish(o) == 0);
}

static void state_file_is_read_back(void)
{
	struct snap_out o;
	struct snap_in in;

	sample(&o);
	CHECK(snap_check(o.data, o.len, &err) == 0);
	CHECK(!memcmp(snap_id(o.data), id, SNAP_ID));
	CHECK(snap_find(o.data, SNAP_REGS, 7, &in));
	CHECK(snap_take32(&in) == 0x12345678 && snap_take64(&in) == 0x1122334455667788ull);
	CHECK(snap_done(&in, "it", &err) == 0);
	CHECK(!snap_find(o.data, SNAP_REGS, 8, &in) && snap_done(&in, "it", &err) == -1);
}

static void section_is_not_read_past_its_end(void)
{
	struct snap_out o;
	struct snap_in in;
	uint8_t to[16];

	sample(&o);
	snap_find(o.data, SNAP_REGS, 7, &in);
	CHECK(snap_take(&in, 8) && !snap_take(&in, 5) && in.bad);
	memset(to, 0xff, sizeof(to));
	snap_take_to(&in, to, sizeof(to));
	CHECK(to[0] == 0 && to[15] == 0 && snap_take32(&in) == 0);
	snap_find(o.data, SNAP_REGS, 7, &in);
	snap_take32(&in);
	CHECK(snap_done(&in, "it", &err) == -1); /* something is left over */
}

/* In an allocation of just that length, so that a read past it is seen. */
static int check_copy(const uint8_t *from, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);
	int r;

	memcpy(copy, from, len);
	r = snap_check(copy, len, &err);
	free(copy);
	return r;
}

static void state_file_cut_anywhere_is_refused(void)
{
	struct snap_out o;
	size_t len;

	sample(&o);
	for (len = 0; len < o.len; len++)
		CHECK(check_copy(o.data, len) == -1 && strstr(err.text, "truncated"));
	/* Nor does a new length and checksum make a whole of a part. */
	for (len = sizeof(struct snap_header) + 1; len < o.len; len++) {
		struct snap_out part;

		sample(&part);
		reseal(part.data, len);
		CHECK(check_copy(part.data, len) == 0 ||
		      strstr(err.text, "sections do not add up"));
		snap_discard(&part);
	}
}

static void state_file_with_a_flipped_bit_is_refused(void)
{
	struct snap_out o;
	size_t i;

	sample(&o);
	for (i = 0; i < 8 * o.len; i++) {
		o.data[i / 8] ^= 1u << i % 8;
		CHECK(check_copy(o.data, o.len) == -1);
		o.data[i / 8] ^= 1u << i % 8;
	}
	CHECK(check_copy(o.data, o.len) == 0);
}

static void foreign_files_are_named_as_such(void)
{
	struct snap_out o;
	uint32_t version = SNAP_VERSION + 1;

	sample(&o);
	o.data[0] ^= 1;
	CHECK(snap_check(o.data, o.len, &err) == -1 && strstr(err.text, "not the state"));
	o.data[0] ^= 1;
	memcpy(o.data + offsetof(struct snap_header, version), &version, sizeof(version));
	reseal(o.data, o.len);
	CHECK(snap_check(o.data, o.len, &err) == -1 && strstr(err.text, "format version 3"));
}

static void sections_that_lie_about_themselves_are_refused(void)
{
	static const uint32_t lengths[] = {8, 0x7fffffff, 0xfffffff0, 0xffffffff};
	struct snap_section s;
	struct snap_out o;
	size_t at = sizeof(struct snap_header);
	unsigned int i;

	for (i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		sample(&o);
		memcpy(&s, o.data + at, sizeof(s));
		s.length = lengths[i];
		memcpy(o.data + at, &s, sizeof(s));
		reseal(o.data, o.len);
		CHECK(check_copy(o.data, o.len) == (lengths[i] == 8 ? 0 : -1));
		snap_discard(&o);
	}
	sample(&o);
	o.data[at] = SNAP_KINDS;
	reseal(o.data, o.len);
	CHECK(check_copy(o.data, o.len) == -1 && strstr(err.text, "does not know"));
	o.data[at] = SNAP_OPTIONS;
	o.data[at + offsetof(struct snap_section, version)]++;
	reseal(o.data, o.len);
	CHECK(check_copy(o.data, o.len) == -1 && strstr(err.text, "does not know"));
}

static const struct unit_test tests[] = {
	TEST(state_file_is_read_back),
	TEST(section_is_not_read_past_its_end),
	TEST(state_file_cut_anywhere_is_refused),
	TEST(state_file_with_a_flipped_bit_is_refused),
	TEST(foreign_files_are_named_as_such),
	TEST(sections_that_lie_about_themselves_are_refused),
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return run_units(argc, argv, tests);
}
