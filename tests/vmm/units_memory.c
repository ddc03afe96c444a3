// SPDX-License-Identifier: Apache-2.0
/* Unit tests of guest RAM: what is behind it, what is given back, and what --memory means. */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "layout.h"
#include "options.h"
#include "units.h"

#define GIB(n) ((uint64_t)(n) << 30)

/* Pages of [gpa, gpa + len) that the host holds. */
static unsigned int resident(uint64_t gpa, uint64_t len)
{
	static unsigned char there[16384];
	unsigned int i, n = 0;

	CHECK(len / 4096 <= sizeof(there) && !mincore(memory_at(&mem, gpa, len), len, there));
	for (i = 0; i < len / 4096; i++)
		n += there[i] & 1;
	return n;
}

static void create(const struct memory_config *c)
{
	if (memory_create(&mem, c, &err)) {
		fprintf(stderr, "%s\n", err.text);
		abort();
	}
}

static void ram_ends_at_the_hole_and_goes_on_above(void)
{
	create(&(struct memory_config){.size = GIB(5), .small_pages = true});
	CHECK(memory_at(&mem, HOLE_START - 1, 1) && !memory_at(&mem, HOLE_START - 1, 2));
	CHECK(!memory_at(&mem, HOLE_START, 1) && !memory_at(&mem, HOLE_END - 1, 2));
	CHECK(memory_at(&mem, HOLE_END, GIB(2)) && !memory_at(&mem, HOLE_END, GIB(2) + 1));
	CHECK(!memory_at(&mem, HOLE_END + GIB(2), 1) && !memory_at(&mem, UINT64_MAX, 1));
	CHECK(!memory_at(&mem, 4096, UINT64_MAX) && !memory_at(&mem, 0, 0));
}

static void ram_may_be_larger_than_the_host(void)
{
	create(&(struct memory_config){.size = GIB(1024), .small_pages = true});
	*(uint8_t *)memory_at(&mem, HOLE_END + GIB(1020), 1) = 1;
	CHECK(!((uintptr_t)mem.base & (MIB(2) - 1)));
}

static void clearing_gives_pages_back(const struct memory_config *c)
{
	create(c);
	memset(memory_at(&mem, 0, MIB(16)), 7, MIB(16));
	CHECK(resident(0, MIB(16)) == 4096);
	CHECK(memory_clear(&mem) == 0);
	CHECK(!resident(0, MIB(8)) && !*(uint8_t *)memory_at(&mem, MIB(15), 1));
	memory_destroy(&mem);
}

static void pages_can_be_given_back(void)
{
	clearing_gives_pages_back(&(struct memory_config){.size = MIB(16), .small_pages = true});
	clearing_gives_pages_back(
		&(struct memory_config){.size = MIB(16), .small_pages = true, .shared = true});
}

static void shared_ram_is_seen_through_its_descriptor(void)
{
	struct stat st;
	uint8_t *other;

	create(&(struct memory_config){.size = MIB(16), .shared = true});
	CHECK(mem.fd >= 0 && !fstat(mem.fd, &st) && st.st_size == (off_t)MIB(16));
	other = mmap(NULL, MIB(16), PROT_READ | PROT_WRITE, MAP_SHARED, mem.fd, 0);
	CHECK(other != MAP_FAILED);
	other[MIB(3)] = 9;
	CHECK(*(uint8_t *)memory_at(&mem, MIB(3), 1) == 9);
	/* Who has the descriptor cannot take the pages from under the VMM. */
	CHECK(ftruncate(mem.fd, 4096) == -1 && ftruncate(mem.fd, MIB(32)) == -1);
	CHECK(fcntl(mem.fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) == -1);
	memory_destroy(&mem);
	create(&(struct memory_config){.size = MIB(16)});
	CHECK(mem.fd == -1);
}

static void prefault_takes_all_at_once(void)
{
	create(&(struct memory_config){.size = MIB(32), .small_pages = true, .prefault = true});
	CHECK(resident(0, MIB(32)) == 8192);
	CHECK(memory_clear(&mem) == 0 && resident(0, MIB(32)) == 8192);
}

static void what_the_host_lacks_is_named(void)
{
	struct memory_config c = {.size = GIB(1 << 10), .huge_page = GIB(1)};

	/* No host of a test has that many reserved, and some have no such pages at all. */
	CHECK(memory_create(&mem, &c, &err) == -1 && err.code == ERROR_MACHINE);
	CHECK(strstr(err.text, "1024 huge pages of 1G are needed") ||
	      strstr(err.text, "no huge pages of 1G"));
	c = (struct memory_config){.size = MIB(16), .bound = true, .node = 1023};
	CHECK(memory_create(&mem, &c, &err) == -1);
	CHECK(strstr(err.text, "no NUMA node 1023") || strstr(err.text, "has no NUMA"));
}

static int parse(char *text, struct vm_config *cfg)
{
	char *argv[] = {"hg-vmm", "--kernel", "k", "--memory", text, NULL};

	return options_parse(5, argv, cfg, &err) == OPTIONS_RUN ? 0 : -1;
}

static void options_say_what_is_behind_ram(void)
{
	char all[] = "3G,hugepages=1G,prefault,shared,node=3", thp[] = "64,hugepages=thp";
	char off[] = "64,hugepages=off,mergeable";
	char *argv[] = {"hg-vmm", "--kernel", "k", "--no-hugepages", NULL};
	struct vm_config cfg;

	CHECK(!parse(all, &cfg) && cfg.memory.huge_page == GIB(1) && cfg.memory.prefault);
	CHECK(cfg.memory.shared && cfg.memory.bound && cfg.memory.node == 3);
	CHECK(!parse(thp, &cfg) && !cfg.memory.huge_page && !cfg.memory.small_pages);
	CHECK(!cfg.memory.bound && !cfg.memory.shared && !cfg.memory.mergeable);
	CHECK(!parse(off, &cfg) && cfg.memory.small_pages && cfg.memory.mergeable);
	CHECK(options_parse(4, argv, &cfg, &err) == OPTIONS_RUN && cfg.memory.small_pages);
}

static const struct unit_test tests[] = {
	TEST(ram_ends_at_the_hole_and_goes_on_above),
	TEST(ram_may_be_larger_than_the_host),
	TEST(pages_can_be_given_back),
	TEST(shared_ram_is_seen_through_its_descriptor),
	TEST(prefault_takes_all_at_once),
	TEST(what_the_host_lacks_is_named),
	TEST(options_say_what_is_behind_ram),
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return run_units(argc, argv, tests);
}
