// SPDX-License-Identifier: Apache-2.0
/* Unit tests of giving guest RAM back to the host: the door, and the balloon that uses it. */
#include <linux/virtio_balloon.h>
#include <sys/mman.h>
#include <unistd.h>

#include "log.h"
#include "units.h"
#include "virtio/balloon.h"

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

/* --- the device --- */

#define AREA	   0x400000ull /* pages that tests give away */
#define LIST	   0x200000ull /* where the driver's lists lie */
#define SIZE	   8
#define FEATURE(n) (1ull << VIRTIO_BALLOON_F_##n)

static struct virtio_dev *start_balloon(uint64_t features)
{
	struct balloon_config cfg = {.wanted = true, .deflate_on_oom = true, .reporting = true};
	struct virtio_dev *dev;

	setup(MIB(16));
	log_open("/dev/null");
	memset(memory_at(&mem, AREA, PAGES * 4096), 0x5a, PAGES * 4096);
	dev = balloon_create(&mem, &loop, &cfg, &err);
	CHECK(dev && driver_start(dev, features, SIZE));
	return dev;
}

static void give(struct virtio_dev *dev, unsigned int queue, uint64_t gpa, uint32_t len,
		 uint16_t flags)
{
	uint16_t before = used_index(&mem, queue);

	set_desc(&mem, queue, 0, gpa, len, flags, 0);
	offer(&mem, queue, SIZE, 0);
	reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, queue);
	CHECK(used_index(&mem, queue) == (uint16_t)(before + 1) || !virtio_is_running(dev) ||
	      queue == 2);
}

static void balloon_gives_inflated_pages_back(void)
{
	uint32_t up[] = {0x400, 0x401, 0x402, 0x405}, down[] = {0x40b, 0x40a, 0x409, 0x409};
	uint32_t bad[] = {0xffffffff, 0x1000, 0, 0xc0000, 0xfffff, 0x40f, 0x100000, 0x40e};
	struct virtio_dev *dev = start_balloon(0);

	memory_write(&mem, LIST, up, sizeof(up));
	give(dev, 0, LIST, sizeof(up), 0);
	CHECK(resident(AREA) == PAGES - 4 && balloon_get_stats(dev)->inflated == 4 * 4096);
	memory_write(&mem, LIST, down, sizeof(down));
	give(dev, 0, LIST, sizeof(down), 0);
	CHECK(resident(AREA) == PAGES - 7);
	/* What is not RAM is passed over, alone and between good ones. */
	memory_write(&mem, LIST, bad, sizeof(bad));
	give(dev, 0, LIST, sizeof(bad), 0);
	CHECK(resident(AREA) == PAGES - 9 && virtio_is_running(dev));
	/* Half a page number is none; neither is a list that the device could only write. */
	give(dev, 0, LIST, 3, 0);
	give(dev, 0, LIST, sizeof(up), VRING_DESC_F_WRITE);
	CHECK(resident(AREA) == PAGES - 9);
	give(dev, 1, LIST, sizeof(up), 0);
	CHECK(balloon_get_stats(dev)->deflated == 4 * 4096 && virtio_is_running(dev));
}

static void balloon_bounds_what_one_request_costs(void)
{
	struct virtio_dev *dev = start_balloon(0);
	unsigned int i;

	/* A list of 64 MiB: 4096 page numbers of it are taken, all of them page 0. */
	for (i = 0; i < SIZE; i++)
		set_desc(&mem, 0, i, MIB(8), MIB(8), i < SIZE - 1 ? VRING_DESC_F_NEXT : 0, i + 1);
	memset(memory_at(&mem, MIB(8), 4096), 0, 4096);
	for (i = 0; i < SIZE; i++)
		offer(&mem, 0, SIZE, 0);
	reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	CHECK(balloon_get_stats(dev)->inflated <= 8192 * 4096);
	/* The rest of the ring is not forgotten, only served later. */
	CHECK(used_index(&mem, 0) == 2);
	for (i = 0; i < SIZE && used_index(&mem, 0) < SIZE; i++)
		loop_once(&loop, 1000);
	CHECK(used_index(&mem, 0) == SIZE);
}

/* 5.5.2's number is 4; drivers that leave no gaps say 2 or 3. */
static void balloon_takes_free_page_reports(void)
{
	static const struct {
		uint64_t features;
		unsigned int queue, gone;
	} cases[] = {
		{FEATURE(REPORTING), 2, PAGES},
		{FEATURE(REPORTING), 4, PAGES},
		{FEATURE(REPORTING) | FEATURE(STATS_VQ), 3, PAGES},
		{FEATURE(STATS_VQ), 3, 0},
		{0, 4, 0},
	};
	struct virtio_dev *dev = start_balloon(0);
	unsigned int i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		memset(memory_at(&mem, RING_GPA(0), 0x50000), 0, 0x50000);
		memset(memory_at(&mem, AREA, PAGES * 4096), 0x5a, PAGES * 4096);
		CHECK(driver_start(dev, cases[i].features, SIZE));
		set_desc(&mem, cases[i].queue, 0, AREA, PAGES * 4096, VRING_DESC_F_WRITE, 0);
		offer(&mem, cases[i].queue, SIZE, 0);
		reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, cases[i].queue);
		CHECK(resident(AREA) == PAGES - cases[i].gone);
		CHECK(used_index(&mem, cases[i].queue) == (cases[i].gone ? 1 : 0));
	}
}

static void balloon_breaks_on_reports_of_more_than_ram(void)
{
	struct virtio_dev *dev = start_balloon(FEATURE(REPORTING));
	unsigned int i;

	for (i = 0; i < 3; i++)
		set_desc(&mem, 2, i, MIB(8), MIB(8),
			 VRING_DESC_F_WRITE | (i < 2 ? VRING_DESC_F_NEXT : 0), i + 1);
	offer(&mem, 2, SIZE, 0);
	reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 2);
	CHECK(!virtio_is_running(dev) && used_index(&mem, 2) == 0);
}

static void balloon_statistics_come_when_asked_for(void)
{
	struct virtio_balloon_stat stats[] = {{.tag = VIRTIO_BALLOON_S_MEMFREE, .val = MIB(3)},
					      {.tag = 999, .val = 1},
					      {.tag = VIRTIO_BALLOON_S_NR, .val = 7},
					      {.tag = VIRTIO_BALLOON_S_MEMTOT, .val = MIB(9)}};
	struct virtio_dev *dev = start_balloon(FEATURE(STATS_VQ));
	const struct balloon_stats *s;

	CHECK(balloon_get_stats(dev)->updated == 0);
	memory_write(&mem, LIST, stats, sizeof(stats));
	give(dev, 2, LIST, sizeof(stats), 0);
	CHECK(used_index(&mem, 2) == 0); /* the buffer stays here until figures are wanted */
	s = balloon_get_stats(dev);
	CHECK(used_index(&mem, 2) == 1 && s->updated);
	CHECK(s->value[VIRTIO_BALLOON_S_MEMFREE] == MIB(3));
	CHECK(s->known == (1u << VIRTIO_BALLOON_S_MEMFREE | 1u << VIRTIO_BALLOON_S_MEMTOT |
			   1u << VIRTIO_BALLOON_S_NR));
	balloon_get_stats(dev);
	CHECK(used_index(&mem, 2) == 1); /* there is no buffer to give back twice */
	stats[0].val = MIB(2);
	memory_write(&mem, LIST, stats, sizeof(stats));
	give(dev, 2, LIST, sizeof(stats) - 1, 0); /* the last entry is cut off */
	CHECK(s->value[VIRTIO_BALLOON_S_MEMFREE] == MIB(2));
	/* Two buffers are one too many, and 8 MiB of entries are read in part only. */
	give(dev, 2, MIB(8), MIB(8), 0);
	CHECK(used_index(&mem, 2) == 2 && virtio_is_running(dev));
	reg_write(dev, VIRTIO_MMIO_STATUS, 0);
	CHECK(balloon_get_stats(dev)->known == 0);
}

static unsigned int changes;
static uint64_t last_actual;

static void count_change(void *arg, uint64_t actual)
{
	(void)arg;
	changes++;
	last_actual = actual;
}

static void balloon_tells_of_changes_once_a_second(void)
{
	struct virtio_dev *dev = start_balloon(0);
	uint32_t pages, seen = 0;

	balloon_on_change(dev, count_change, NULL);
	balloon_set_target(dev, MIB(12));
	CHECK(reg_read(dev, VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_CONFIG);
	virtio_mmio_access(dev, VIRTIO_MMIO_CONFIG, false, (uint8_t *)&seen, 4);
	CHECK(seen == MIB(4) / 4096);
	for (pages = 1; pages <= 1024; pages++)
		reg_write(dev, VIRTIO_MMIO_CONFIG + 4, pages);
	CHECK(changes == 1 && balloon_actual(dev) == MIB(12));
	loop_once(&loop, 0); /* the kick of DRIVER_OK */
	loop_once(&loop, 3000);
	CHECK(changes == 2 && last_actual == MIB(12));
	/* num_pages is not the driver's, nor are halves of `actual`; too much is all. */
	reg_write(dev, VIRTIO_MMIO_CONFIG, 1);
	virtio_mmio_access(dev, VIRTIO_MMIO_CONFIG + 4, true, (uint8_t *)&pages, 2);
	virtio_mmio_access(dev, VIRTIO_MMIO_CONFIG + 2, true, (uint8_t *)&pages, 4);
	CHECK(reg_read(dev, VIRTIO_MMIO_CONFIG) == 1024 && balloon_actual(dev) == MIB(12));
	reg_write(dev, VIRTIO_MMIO_CONFIG + 4, UINT32_MAX);
	CHECK(balloon_actual(dev) == 0);
	balloon_set_target(dev, MIB(64));
	CHECK(reg_read(dev, VIRTIO_MMIO_CONFIG) == 0);
	reg_write(dev, VIRTIO_MMIO_STATUS, 0);
	CHECK(balloon_actual(dev) == MIB(16));
	dev->ops->destroy(dev);
}

static const struct unit_test tests[] = {
	TEST(memory_is_given_back),
	TEST(shared_memory_is_given_back),
	TEST(shared_memory_is_seen_by_others_and_never_shrinks),
	TEST(balloon_gives_inflated_pages_back),
	TEST(balloon_bounds_what_one_request_costs),
	TEST(balloon_takes_free_page_reports),
	TEST(balloon_breaks_on_reports_of_more_than_ram),
	TEST(balloon_statistics_come_when_asked_for),
	TEST(balloon_tells_of_changes_once_a_second),
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return run_units(argc, argv, tests);
}
