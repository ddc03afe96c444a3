// SPDX-License-Identifier: Apache-2.0
/* Unit tests of giving guest RAM back to the host. */
#include <sys/mman.h>
#include <unistd.h>

#include "units.h"

#define PAGES 16

/* How many of the pages at gpa the host holds. */
static unsigned int resident(uint64_t gpa)
{
	unsigned char in[PAGES];
	unsigned int i, n = 0;

	CHECK(mincore(memory_at(&mem, gpa, PAGES * 4096), PAGES * 4096, in) == 0);
	for (i = 0; i < PAGES; i++)
		n += in[i] & 1;
	return n;
}

static void discard_from_any_memory(bool shared)
{
	const struct memory_config c = {.size = MIB(16), .small_pages = true, .shared = shared};
	uint8_t *p;

	CHECK(memory_create(&mem, &c, &err) == 0 && (mem.fd >= 0) == shared);
	p = memory_at(&mem, 0x400000, PAGES * 4096);
	memset(p, 0x5a, PAGES * 4096);
	CHECK(resident(0x400000) == PAGES);
	/* Only whole pages go: the halves at both ends keep what they hold. */
	CHECK(memory_discard(&mem, p + 100, 4096 * 3) == 0);
	CHECK(resident(0x400000) == PAGES - 2);
	CHECK(p[99] == 0x5a && p[4095] == 0x5a && p[4096] == 0 && p[3 * 4096] == 0x5a);
	CHECK(memory_discard(&mem, p + 1, 4095) == 0 && p[2] == 0x5a);
	CHECK(memory_discard(&mem, p + 8192, 0) == 0);
	CHECK(memory_discard(&mem, mem.base - 1, 4096) == -1);
	CHECK(memory_discard(&mem, mem.base + MIB(16), 4096) == -1);
	CHECK(memory_discard(&mem, p, UINT64_MAX) == -1);
	CHECK(memory_discard(&mem, mem.base + MIB(16) - 4096, 4097) == -1);
	memset(p, 0x5a, PAGES * 4096);
	CHECK(memory_clear(&mem) == 0 && p[0] == 0 && p[PAGES * 4096 - 1] == 0);
	memory_destroy(&mem);
	CHECK(!mem.base && mem.fd == -1);
}

static void memory_is_given_back(void)
{
	discard_from_any_memory(false);
}

static void shared_memory_is_given_back(void)
{
	discard_from_any_memory(true);
}

static void shared_memory_is_seen_by_others_and_never_shrinks(void)
{
	uint8_t *other;

	CHECK(memory_create(&mem, &(struct memory_config){.size = MIB(16), .shared = true}, &err) ==
	      0);
	other = mmap(NULL, MIB(16), PROT_READ | PROT_WRITE, MAP_SHARED, mem.fd, 0);
	CHECK(other != MAP_FAILED);
	other[0x12345] = 7;
	CHECK(*(uint8_t *)memory_at(&mem, 0x12345, 1) == 7);
	CHECK(ftruncate(mem.fd, 0) && ftruncate(mem.fd, MIB(32)));
}

static const struct unit_test tests[] = {
	TEST(memory_is_given_back),
	TEST(shared_memory_is_given_back),
	TEST(shared_memory_is_seen_by_others_and_never_shrinks),
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return run_units(argc, argv, tests);
}
