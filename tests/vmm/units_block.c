// SPDX-License-Identifier: Apache-2.0
/* Unit tests of the block device and what stands behind it; overlays: units_overlay.c. */
#include <sched.h>
#include <sys/mman.h>

#include "block_fixture.h"
#include "ratelimit.h"

#define MS 1000000ull

static void a_disk_is_what_was_written(void)
{
	struct disk_config cfg = {.path = base};

	prepare(DISK_SIZE);
	storm(&cfg, DISK_SIZE, true);
	cfg.direct = true;
	storm(&cfg, DISK_SIZE, true);
	remove_files();
}

static void disks_do_without_io_uring(void)
{
	struct disk_config cfg = {.path = base};

	deny_io_uring();
	prepare(DISK_SIZE);
	storm(&cfg, DISK_SIZE, true);
	remove_files();
}

static void discards_give_storage_back(void)
{
	struct disk_config cfg = {.path = base};
	struct virtio_dev *dev;
	struct stat before, after;

	prepare(DISK_SIZE);
	dev = open_disk(&cfg);
	CHECK(stat(base, &before) == 0);
	CHECK(one_range(dev, VIRTIO_BLK_T_DISCARD, 0, 2048, 0) == VIRTIO_BLK_S_OK);
	CHECK(stat(base, &after) == 0 && after.st_blocks <= before.st_blocks - 2048);
	CHECK(after.st_size == before.st_size);
	memset(model, 0, 2048 * 512);
	CHECK(same_as_model(dev, DISK_SIZE));
	/* 5.2.6.2: what a driver must not ask for. */
	CHECK(one_range(dev, VIRTIO_BLK_T_DISCARD, 0, 8, 1) == VIRTIO_BLK_S_UNSUPP);
	CHECK(one_range(dev, VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 2) == VIRTIO_BLK_S_UNSUPP);
	CHECK(one_range(dev, VIRTIO_BLK_T_DISCARD, DISK_SIZE / 512 - 7, 8, 0) ==
	      VIRTIO_BLK_S_IOERR);
	CHECK(one_range(dev, VIRTIO_BLK_T_DISCARD, UINT64_MAX, 8, 0) == VIRTIO_BLK_S_IOERR);
	CHECK(one_range(dev, VIRTIO_BLK_T_DISCARD, 0, UINT32_MAX, 0) == VIRTIO_BLK_S_IOERR);
	CHECK(one_range(dev, VIRTIO_BLK_T_DISCARD, 0, 0, 0) == VIRTIO_BLK_S_IOERR);
	CHECK(one_request(dev, VIRTIO_BLK_T_DISCARD, 0, 15) == VIRTIO_BLK_S_IOERR);
	CHECK(one_request(dev, VIRTIO_BLK_T_DISCARD, 0, 16 * 33) == VIRTIO_BLK_S_IOERR);
	CHECK(blk_get_stats(dev)->invalid_operations == 8);
	CHECK(blk_get_stats(dev)->unmap_bytes == 2048 * 512);
	remove_files();
}

/* Takes turns until a kick is left to the loop; how many were served in it. */
static unsigned int kicks_at_once(struct virtio_dev *dev)
{
	unsigned int n;

	for (n = 0;; n++) {
		uint16_t start = used_index(&mem, 0);

		put_request(0, VIRTIO_BLK_T_IN, 0, 512);
		reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
		if (used_index(&mem, 0) == start)
			return n;
	}
}

/* An image in memory: one request at a time is served in the kick, several by the loop. */
static void many_requests_at_once_are_left_to_the_loop(void)
{
	int fd = memfd_create("disk", MFD_CLOEXEC), before = sched_getscheduler(0);
	int deep = before == SCHED_OTHER ? SCHED_BATCH : before;
	char path[32];
	struct disk_config cfg = {.path = path};
	uint16_t *kick_event, start;
	struct virtio_dev *dev;
	uint64_t interrupts;
	unsigned int i, round;

	setup(MIB(16));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	CHECK(ftruncate(fd, MIB(1)) == 0);
	dev = open_disk(&cfg);
	start_disk(dev, DISK_FEATURES | 1ull << VIRTIO_RING_F_EVENT_IDX);
	kick_event = memory_at(&mem, USED_GPA(0) + 4 + 8 * DISK_QUEUE, 2);
	/* Now and then the loop has a look; a single request there, and it is the kick's again. */
	for (round = 0; round < 3; round++) {
		CHECK(kicks_at_once(dev) == (round ? 64 : 63)); /* DRIVER_OK is one, too */
		CHECK(sched_getscheduler(0) == deep);
		start = used_index(&mem, 0);
		loop_once(&loop, 1000);
		CHECK(used_index(&mem, 0) == (uint16_t)(start + 1));
		CHECK(sched_getscheduler(0) == before);
	}
	CHECK(kicks_at_once(dev) == 64);
	for (round = 0; round < 3; round++) {
		/* What comes before the loop needs no kick, and one that is made has no effect. */
		start = used_index(&mem, 0);
		interrupts = dev->interrupts;
		for (i = 1; i < 8; i++)
			put_request(i, VIRTIO_BLK_T_IN, i, 512);
		CHECK(*kick_event == start);
		reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
		CHECK(used_index(&mem, 0) == start && sched_getscheduler(0) == deep);
		*(uint16_t *)memory_at(&mem, AVAIL_GPA(0) + 4 + 2 * DISK_QUEUE, 2) = start;
		loop_once(&loop, 1000);
		CHECK(used_index(&mem, 0) == (uint16_t)(start + 8));
		CHECK(*kick_event == (uint16_t)(start + 8) && dev->interrupts == interrupts + 1);
		CHECK(kicks_at_once(dev) == 0); /* the loop's as long as there are several */
	}
	/* A reset in between: nothing of before is served, and all is as at the beginning. */
	start_disk(dev, DISK_FEATURES);
	CHECK(sched_getscheduler(0) == before);
	loop_once(&loop, 0); /* the turn it was told of before */
	CHECK(used_index(&mem, 0) == 0 && kicks_at_once(dev) == 64);
	dev->ops->destroy(dev);
	close(fd);
}

static uint64_t capacity(struct virtio_dev *dev)
{
	uint64_t sectors;

	virtio_mmio_access(dev, VIRTIO_MMIO_CONFIG, false, (uint8_t *)&sectors, 8);
	return sectors * 512;
}

static void a_disk_grows(void)
{
	struct disk_config cfg = {.path = base};
	struct virtio_dev *dev;
	uint32_t generation;
	char text[256];

	prepare(MIB(1));
	dev = open_disk(&cfg);
	generation = reg_read(dev, VIRTIO_MMIO_CONFIG_GENERATION);
	CHECK(blk_resize(dev, MIB(1) - 512, text, sizeof(text)) && strstr(text, "shrink"));
	CHECK(blk_resize(dev, MIB(2) + 1, text, sizeof(text)) && strstr(text, "multiple"));
	CHECK(!blk_resize(dev, MIB(2), text, sizeof(text)) && capacity(dev) == MIB(2));
	CHECK(reg_read(dev, VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_CONFIG);
	CHECK(reg_read(dev, VIRTIO_MMIO_CONFIG_GENERATION) != generation);
	CHECK(same_as_model(dev, MIB(2)));
	CHECK(one_request(dev, VIRTIO_BLK_T_OUT, MIB(2) / 512 - 8, 4096) == VIRTIO_BLK_S_OK);
	dev->ops->destroy(dev);
	remove_files();
}

static unsigned int errors, last_error;

static void on_error(void *arg, unsigned int index, bool write, int error)
{
	(void)arg, (void)index, (void)write;
	errors++;
	last_error = error;
}

static void a_cut_image_gives_errors(void)
{
	struct disk_config cfg = {.path = base};
	struct virtio_dev *dev;
	unsigned int i;

	prepare(MIB(1));
	dev = open_disk(&cfg);
	blk_on_error(dev, on_error, NULL);
	CHECK(truncate(base, 4096) == 0);
	for (i = 0; i < 50; i++)
		CHECK(one_request(dev, VIRTIO_BLK_T_IN, 1024 + i, 4096) == VIRTIO_BLK_S_IOERR);
	CHECK(one_request(dev, VIRTIO_BLK_T_IN, 0, 8192) == VIRTIO_BLK_S_IOERR);
	CHECK(one_request(dev, VIRTIO_BLK_T_IN, 0, 4096) == VIRTIO_BLK_S_OK);
	CHECK(errors >= 1 && errors <= 3 && last_error == EIO); /* one a second */
	CHECK(blk_get_stats(dev)->failed_rd_operations == 51);
	remove_files();
}

static void write_through_is_the_drivers_choice(void)
{
	struct disk_config cfg = {.path = base};
	struct virtio_dev *dev;
	uint8_t wce = 9, zero = 0;

	prepare(MIB(1));
	dev = open_disk(&cfg);
	virtio_mmio_access(dev, VIRTIO_MMIO_CONFIG + 32, false, &wce, 1);
	CHECK(wce == 1);
	virtio_mmio_access(dev, VIRTIO_MMIO_CONFIG + 32, true, &zero, 1);
	virtio_mmio_access(dev, VIRTIO_MMIO_CONFIG + 32, false, &wce, 1);
	CHECK(wce == 0);
	CHECK(one_request(dev, VIRTIO_BLK_T_OUT, 0, 512) == VIRTIO_BLK_S_OK);
	CHECK(one_range(dev, VIRTIO_BLK_T_WRITE_ZEROES, 8, 8, 0) == VIRTIO_BLK_S_OK);
	start_disk(dev, F(FLUSH)); /* a reset, and CONFIG_WCE is not negotiated */
	virtio_mmio_access(dev, VIRTIO_MMIO_CONFIG + 32, true, &zero, 1);
	virtio_mmio_access(dev, VIRTIO_MMIO_CONFIG + 32, false, &wce, 1);
	CHECK(wce == 1);
	remove_files();
}

static void a_disk_has_its_serial_and_queues(void)
{
	struct disk_config cfg = {.path = base, .serial = "0123456789abcdefghij", .queues = 4};
	struct virtio_dev *dev;
	uint8_t *got;

	prepare(MIB(1));
	dev = blk_create(&mem, &loop, &cfg, 3, &err);
	CHECK(dev && dev->nqueues == 4 && (dev->features & F(MQ)));
	start_disk(dev, DISK_FEATURES | F(MQ));
	got = slot_bytes(0);
	memset(got, 0xee, 64);
	CHECK(one_request(dev, VIRTIO_BLK_T_GET_ID, 0, 20) == VIRTIO_BLK_S_OK);
	CHECK(!memcmp(got, "0123456789abcdefghij", 20) && got[20] == 0xee);
	dev->ops->destroy(dev);
	remove_files();
}

/* A request of queue 1 is found ended while queue 0 is served: both are told. */
static void every_queue_is_told(void)
{
	struct disk_config cfg = {.path = base, .queues = 2};
	struct virtio_dev *dev;
	unsigned int i;

	prepare(MIB(1));
	dev = blk_create(&mem, &loop, &cfg, 0, &err);
	CHECK(dev);
	start_disk(dev, DISK_FEATURES | F(MQ));
	for (i = 0; i < 20; i++) {
		put_request_on(1, 1, VIRTIO_BLK_T_FLUSH, 0, 0); /* ends in a thread of the kernel */
		reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 1);
		while (used_index(&mem, 1) <= i) { /* without the loop, which would tell all */
			put_request(0, VIRTIO_BLK_T_GET_ID, 0, 20);
			reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
			put_request(0, VIRTIO_BLK_T_IN, 0, 512);
			reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
		}
		CHECK(dev->queues[1].last_signal == dev->queues[1].given);
	}
	dev->ops->destroy(dev);
	remove_files();
}

static void limits_are_kept(void)
{
	struct disk_config cfg = {.path = base, .rate = {.ops = 200, .ops_burst = 10}};
	uint64_t start, took;
	struct virtio_dev *dev;
	unsigned int i;

	prepare(MIB(1));
	dev = open_disk(&cfg);
	start = ratelimit_now();
	for (i = 0; i < SLOTS; i++)
		put_request(i, VIRTIO_BLK_T_IN, i * 8, 4096);
	kick_and_wait(dev, SLOTS);
	took = ratelimit_now() - start;
	for (i = 0; i < SLOTS; i++)
		CHECK(slot_status(i) == VIRTIO_BLK_S_OK);
	CHECK(took >= (SLOTS - 11) * 5 * MS && blk_throttled(dev) >= 10);
	/* A reset while requests wait: they are the driver's again. */
	for (i = 0; i < SLOTS; i++)
		put_request(i, VIRTIO_BLK_T_IN, i * 8, 4096);
	reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	start_disk(dev, DISK_FEATURES);
	for (i = 0; i < 5; i++)
		loop_once(&loop, 20);
	CHECK(used_index(&mem, 0) == 0 && one_request(dev, VIRTIO_BLK_T_IN, 0, 512) == 0);
	dev->ops->destroy(dev);
	remove_files();
}

static void a_limit_is_changed_while_requests_wait(void)
{
	struct disk_config cfg = {.path = base};
	struct virtio_dev *dev;
	uint64_t start;
	unsigned int i;

	prepare(MIB(1));
	dev = open_disk(&cfg);
	CHECK(blk_set_rate(dev, -1, -1) == 0 && blk_set_rate(dev, 0, 0) == 0);
	CHECK(blk_set_rate(dev, 1, -1) == 0);
	for (i = 0; i < SLOTS; i++)
		put_request(i, VIRTIO_BLK_T_IN, i * 8, 4096);
	reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	for (i = 0; i < 5; i++)
		loop_once(&loop, 20);
	CHECK(blk_throttled(dev) && used_index(&mem, 0) < SLOTS);
	/* Without the change, this would take as many seconds as there are requests. */
	start = ratelimit_now();
	CHECK(blk_set_rate(dev, 0, -1) == 0);
	while (used_index(&mem, 0) < SLOTS)
		loop_once(&loop, 1000);
	CHECK(ratelimit_now() - start < 10000 * MS);
	CHECK(blk_set_rate(dev, -1, 1 << 20) == 0 && blk_set_rate(dev, 5, 0) == 0);
	dev->ops->destroy(dev);
	remove_files();
}

static const struct unit_test tests[] = {
	TEST(a_disk_is_what_was_written),
	TEST(disks_do_without_io_uring),
	TEST(many_requests_at_once_are_left_to_the_loop),
	TEST(discards_give_storage_back),
	TEST(a_disk_grows),
	TEST(a_cut_image_gives_errors),
	TEST(write_through_is_the_drivers_choice),
	TEST(a_disk_has_its_serial_and_queues),
	TEST(every_queue_is_told),
	TEST(limits_are_kept),
	TEST(a_limit_is_changed_while_requests_wait),
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return run_units(argc, argv, tests);
}
