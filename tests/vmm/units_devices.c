// SPDX-License-Identifier: Apache-2.0
/* Unit tests of guest memory, virtqueues and the transport. */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "layout.h"
#include "log.h"
#include "units.h"
#include "virtio/rng.h"

static int memory_file(const char *text)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	return fd;
}

/* --- memory --- */

static void memory_refuses_what_is_not_ram(void)
{
	setup(MIB(16));
	CHECK(memory_at(&mem, 0, 1) == mem.base);
	CHECK(memory_at(&mem, 0, MIB(16)) && !memory_at(&mem, 0, MIB(16) + 1));
	CHECK(memory_at(&mem, MIB(16) - 1, 1) && !memory_at(&mem, MIB(16) - 1, 2));
	CHECK(!memory_at(&mem, MIB(16), 1) && !memory_at(&mem, 5, 0));
	CHECK(!memory_at(&mem, UINT64_MAX, 1) && !memory_at(&mem, 4096, UINT64_MAX));
	CHECK(!memory_at(&mem, UINT64_MAX - 4095, 8192) && !memory_at(&mem, HOLE_END, 1));
}

static void memory_splits_around_the_hole(void)
{
	setup(MIB(5 * 1024)); /* address space only: nothing is touched */
	CHECK(memory_low_end(&mem) == HOLE_START);
	CHECK(memory_at(&mem, HOLE_START - 1, 1) && !memory_at(&mem, HOLE_START - 1, 2));
	CHECK(!memory_at(&mem, HOLE_START, 1) && !memory_at(&mem, HOLE_END - 1, 1));
	CHECK(memory_at(&mem, HOLE_END, 1) == mem.base + HOLE_START);
	CHECK(memory_at(&mem, HOLE_END + MIB(2048) - 1, 1));
	CHECK(!memory_at(&mem, HOLE_END + MIB(2048) - 1, 2));
	CHECK(!memory_at(&mem, HOLE_END + MIB(2048), 1));
}

static void memory_loads_only_whole_ranges(void)
{
	int fd = memory_file("0123456789");

	setup(MIB(16));
	CHECK(memory_load(&mem, 100, fd, 2, 5) == 0 && !memcmp(mem.base + 100, "23456", 5));
	CHECK(memory_load(&mem, 0, fd, 8, 5) == -1 && errno == ENODATA);
	CHECK(memory_load(&mem, MIB(16) - 2, fd, 0, 5) == -1 && errno == EFAULT);
}

/* --- queues, through the entropy device --- */

static struct virtio_dev *start_rng(uint64_t features)
{
	struct virtio_dev *dev;

	setup(MIB(16));
	log_open("/dev/null");
	dev = rng_create(&mem, &loop, &err);
	CHECK(dev && driver_start(dev, features, 8));
	return dev;
}

static bool broken(struct virtio_dev *dev)
{
	return reg_read(dev, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

static void queue_serves_a_request(void)
{
	struct virtio_dev *dev = start_rng(0);

	set_desc(&mem, 0, 3, 0x200000, 64, VRING_DESC_F_WRITE, 0);
	offer(&mem, 0, 8, 3);
	reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	CHECK(used_index(&mem, 0) == 1 && used_length(&mem, 0, 8) == 64 && !broken(dev));
	CHECK(reg_read(dev, VIRTIO_MMIO_INTERRUPT_STATUS) == 1);
	reg_write(dev, VIRTIO_MMIO_INTERRUPT_ACK, 1);
	CHECK(reg_read(dev, VIRTIO_MMIO_INTERRUPT_STATUS) == 0);
}

static void queue_serves_indirect_and_wraps_its_indices(void)
{
	struct virtio_dev *dev = start_rng(1ull << VIRTIO_RING_F_INDIRECT_DESC);
	struct vring_desc table[2] = {{0x200000, 16, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 1},
				      {0x210000, 16, VRING_DESC_F_WRITE, 0}};
	unsigned int i;

	memory_write(&mem, 0x220001, table, sizeof(table)); /* unaligned on purpose */
	set_desc(&mem, 0, 0, 0x220001, sizeof(table), VRING_DESC_F_INDIRECT, 0);
	for (i = 1; i <= 70000; i++) {
		offer(&mem, 0, 8, 0);
		reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
		CHECK(used_index(&mem, 0) == (uint16_t)i && used_length(&mem, 0, 8) == 32);
	}
	CHECK(!broken(dev));
}

static void queue_interrupts_only_at_the_event_index(void)
{
	struct virtio_dev *dev = start_rng(1ull << VIRTIO_RING_F_EVENT_IDX);
	uint16_t *avail = memory_at(&mem, AVAIL_GPA(0), 64);
	unsigned int i;

	avail[2 + 8] = 2; /* used_event: tell me when entry 2 is used */
	set_desc(&mem, 0, 0, 0x200000, 8, VRING_DESC_F_WRITE, 0);
	for (i = 0; i < 4; i++) {
		offer(&mem, 0, 8, 0);
		reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
		CHECK(reg_read(dev, VIRTIO_MMIO_INTERRUPT_STATUS) == (i >= 2));
	}
	/* avail_event follows: the device asks to be kicked for the next entry. */
	CHECK(((uint16_t *)memory_at(&mem, USED_GPA(0), 128))[2 + 4 * 8] == 4);
}

/* Each of these must leave the device asking for a reset, and usable after one. */
static void expect_broken(struct virtio_dev *dev, uint16_t head)
{
	offer(&mem, 0, 8, head);
	reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	CHECK(broken(dev) && used_index(&mem, 0) == 0);
	memset(memory_at(&mem, RING_GPA(0), 0x10000), 0, 0x10000);
	CHECK(driver_start(dev, 1ull << VIRTIO_RING_F_INDIRECT_DESC, 8) && !broken(dev));
}

static void queue_survives_hostile_rings(void)
{
	struct virtio_dev *dev = start_rng(0);

	set_desc(&mem, 0, 0, 0x200000, 8, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 1);
	set_desc(&mem, 0, 1, 0x200000, 8, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 0);
	expect_broken(dev, 0); /* a loop */
	set_desc(&mem, 0, 0, 0x200000, 8, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 8);
	expect_broken(dev, 0); /* next outside the ring */
	expect_broken(dev, 8); /* head outside the ring */
	set_desc(&mem, 0, 0, MIB(16) - 4, 8, VRING_DESC_F_WRITE, 0);
	expect_broken(dev, 0); /* past RAM */
	set_desc(&mem, 0, 0, UINT64_MAX - 3, 8, VRING_DESC_F_WRITE, 0);
	expect_broken(dev, 0); /* wraps */
	set_desc(&mem, 0, 0, 0x200000, 0, VRING_DESC_F_WRITE, 0);
	expect_broken(dev, 0); /* empty */
	set_desc(&mem, 0, 0, 0x200000, 8, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 1);
	set_desc(&mem, 0, 1, 0x200000, 8, 0, 0);
	expect_broken(dev, 0); /* readable behind writable */
	set_desc(&mem, 0, 0, 0x200000, 24, VRING_DESC_F_INDIRECT, 0);
	expect_broken(dev, 0); /* odd table length */
	set_desc(&mem, 0, 0, RING_GPA(0), 16, VRING_DESC_F_INDIRECT, 0);
	expect_broken(dev, 0); /* nested: the table is the ring itself */
	((uint16_t *)memory_at(&mem, AVAIL_GPA(0), 4))[1] = 100;
	expect_broken(dev, 0); /* the index ran away */
}

static void transport_refuses_bad_negotiation(void)
{
	struct virtio_dev *dev = start_rng(0);

	CHECK(!driver_start(dev, 1ull << 20, 8)); /* a feature that was not offered */
	reg_write(dev, VIRTIO_MMIO_STATUS, 0);
	reg_write(dev, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_FEATURES_OK); /* without VERSION_1 */
	CHECK(!(reg_read(dev, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_FEATURES_OK));
	driver_start(dev, 0, 7); /* not a power of two */
	CHECK(broken(dev));
	CHECK(reg_read(dev, VIRTIO_MMIO_MAGIC_VALUE) == 0x74726976);
	CHECK(reg_read(dev, VIRTIO_MMIO_VERSION) == 2 && reg_read(dev, VIRTIO_MMIO_DEVICE_ID) == 4);
}

static void queue_takes_no_indirect_table_that_was_not_negotiated(void)
{
	struct virtio_dev *dev = start_rng(0);
	struct vring_desc table = {0x200000, 16, VRING_DESC_F_WRITE, 0};

	memory_write(&mem, 0x220000, &table, sizeof(table));
	set_desc(&mem, 0, 0, 0x220000, sizeof(table), VRING_DESC_F_INDIRECT, 0);
	expect_broken(dev, 0);
}

/* 65535 descriptors that all go on to the next: the walk ends after VQ_MAX_SEGS. */
static void queue_bounds_the_longest_table(void)
{
	struct virtio_dev *dev = start_rng(1ull << VIRTIO_RING_F_INDIRECT_DESC);
	struct vring_desc d = {0x200000, 16, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 0};
	uint32_t i;

	for (i = 0; i < 65535; i++) {
		d.next = i + 1;
		memory_write(&mem, 0x400000 + 16 * i, &d, sizeof(d));
	}
	set_desc(&mem, 0, 0, 0x400000, 65535 * 16, VRING_DESC_F_INDIRECT, 0);
	expect_broken(dev, 0);
}

static void queue_that_is_not_ready_is_left_alone(void)
{
	struct virtio_dev *dev = start_rng(0);

	set_desc(&mem, 0, 0, 0x200000, 64, VRING_DESC_F_WRITE, 0);
	reg_write(dev, VIRTIO_MMIO_QUEUE_READY, 0);
	offer(&mem, 0, 8, 0);
	reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 1); /* there is none */
	reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, UINT32_MAX);
	CHECK(used_index(&mem, 0) == 0 && reg_read(dev, VIRTIO_MMIO_INTERRUPT_STATUS) == 0);
	reg_write(dev, VIRTIO_MMIO_QUEUE_READY, 1);
	reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	CHECK(used_index(&mem, 0) == 1 && !broken(dev));
}

static const struct unit_test tests[] = {
	TEST(memory_refuses_what_is_not_ram),
	TEST(memory_splits_around_the_hole),
	TEST(memory_loads_only_whole_ranges),
	TEST(queue_serves_a_request),
	TEST(queue_serves_indirect_and_wraps_its_indices),
	TEST(queue_interrupts_only_at_the_event_index),
	TEST(queue_survives_hostile_rings),
	TEST(queue_takes_no_indirect_table_that_was_not_negotiated),
	TEST(queue_bounds_the_longest_table),
	TEST(queue_that_is_not_ready_is_left_alone),
	TEST(transport_refuses_bad_negotiation),
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return run_units(argc, argv, tests);
}
