// SPDX-License-Identifier: Apache-2.0
/* Unit tests of copy-on-write overlays. */
#include "block_fixture.h"

static void an_overlay_is_what_was_written(void)
{
	const uint64_t odd = DISK_SIZE - 2560; /* the last block is short */
	struct disk_config cfg = {.path = base, .overlay = over};
	struct virtio_dev *dev;

	prepare(odd);
	storm(&cfg, odd, true);
	dev = open_disk(&cfg);
	CHECK(same_as_model(dev, odd));
	dev->ops->destroy(dev);
	cfg.direct = true;
	storm(&cfg, odd, true);
	CHECK(base_is_untouched(odd));
	remove_files();
}

static void overlays_do_without_io_uring(void)
{
	struct disk_config cfg = {.path = base, .overlay = over};

	deny_io_uring();
	prepare(DISK_SIZE);
	storm(&cfg, DISK_SIZE, true);
	CHECK(base_is_untouched(DISK_SIZE));
	remove_files();
}

static void a_snapshot_is_forgotten(void)
{
	struct disk_config cfg = {.path = base, .snapshot = true}, plain = {.path = base};
	struct virtio_dev *dev;

	prepare(DISK_SIZE);
	storm(&cfg, DISK_SIZE, false);
	CHECK(base_is_untouched(DISK_SIZE));
	dev = open_disk(&cfg);
	CHECK(dev->ops->cannot_save(dev)); /* a VM's snapshot would need what is forgotten */
	dev->ops->destroy(dev);
	dev = open_disk(&plain);
	CHECK(!dev->ops->cannot_save(dev));
	CHECK(!same_as_model(dev, DISK_SIZE));
	remove_files();
}

/* What a killed VMM leaves: nothing is closed, and what was flushed is there. */
static void an_overlay_keeps_what_was_flushed(void)
{
	struct disk_config cfg = {.path = base, .overlay = over};
	struct virtio_dev *dev;
	int status;

	prepare(DISK_SIZE);
	if (fork() == 0) {
		dev = open_disk(&cfg);
		memset(slot_bytes(0), 0xaa, 8192);
		CHECK(one_request(dev, VIRTIO_BLK_T_OUT, 5, 8192) == VIRTIO_BLK_S_OK);
		CHECK(one_request(dev, VIRTIO_BLK_T_FLUSH, 0, 0) == VIRTIO_BLK_S_OK);
		memset(slot_bytes(0), 0xbb, 4096);
		CHECK(one_request(dev, VIRTIO_BLK_T_OUT, 800, 4096) == VIRTIO_BLK_S_OK);
		_exit(0);
	}
	CHECK(wait(&status) > 0 && status == 0);
	dev = open_disk(&cfg);
	memset(model + 5 * 512, 0xaa, 8192);
	CHECK(same_as_model(dev, 800 * 512));
	CHECK(one_request(dev, VIRTIO_BLK_T_IN, 800, 512) == VIRTIO_BLK_S_OK);
	CHECK(slot_bytes(0)[0] == 0xbb || slot_bytes(0)[0] == model[800 * 512]);
	remove_files();
}

static const char *refused(const struct disk_config *cfg)
{
	CHECK(!blk_create(&mem, &loop, cfg, 0, &err));
	CHECK(err.code == ERROR_USER);
	return err.text;
}

static void damage(const char *path, uint64_t at, uint8_t bits)
{
	int fd = open(path, O_RDWR);
	uint8_t byte;

	CHECK(pread(fd, &byte, 1, at) == 1);
	byte ^= bits;
	CHECK(pwrite(fd, &byte, 1, at) == 1);
	close(fd);
}

static void a_bad_overlay_is_refused_with_the_reason(void)
{
	struct disk_config cfg = {.path = base, .overlay = over};
	struct virtio_dev *dev;
	struct stat st;
	unsigned int i;

	prepare(DISK_SIZE);
	dev = open_disk(&cfg);
	CHECK(strstr(refused(&cfg), "in use by another VM"));
	CHECK(one_request(dev, VIRTIO_BLK_T_OUT, 16, 4096) == VIRTIO_BLK_S_OK);
	dev->ops->destroy(dev);
	for (i = 8; i < 512; i += 7) { /* any bit of the header but the magic's */
		damage(over, i, 1u << i % 8);
		CHECK(strstr(refused(&cfg), i < 12 ? "version" : "checksum"));
		damage(over, i, 1u << i % 8);
	}
	damage(over, 0, 1);
	CHECK(strstr(refused(&cfg), "not an overlay"));
	damage(over, 0, 1);
	for (i = 0; i < 512; i += 37) { /* of the map sector that is in use */
		damage(over, 4096 + i, 0x10);
		CHECK(strstr(refused(&cfg), "map sector 0"));
		damage(over, 4096 + i, 0x10);
	}
	damage(base, 2000, 1);
	CHECK(strstr(refused(&cfg), "another image"));
	damage(base, 2000, 1);
	CHECK(truncate(base, DISK_SIZE - 512) == 0);
	CHECK(strstr(refused(&cfg), "another image"));
	CHECK(truncate(base, DISK_SIZE) == 0);
	damage(base, DISK_SIZE - 1, 1); /* the last sector counts as well */
	CHECK(strstr(refused(&cfg), "another image"));
	CHECK(stat(over, &st) == 0 && truncate(over, st.st_size - 1) == 0);
	CHECK(strstr(refused(&cfg), "it was cut"));
	cfg.overlay = base;
	CHECK(strstr(refused(&cfg), "in use")); /* by this very disk */
	cfg.overlay = "/tmp";
	CHECK(strstr(refused(&cfg), "Is a directory"));
	remove_files();
}

static uint64_t capacity(struct virtio_dev *dev)
{
	uint64_t sectors;

	virtio_mmio_access(dev, VIRTIO_MMIO_CONFIG, false, (uint8_t *)&sectors, 8);
	return sectors * 512;
}

static void an_overlay_grows(void)
{
	const uint64_t odd = MIB(1) - 1536;
	struct disk_config cfg = {.path = base, .overlay = over};
	struct virtio_dev *dev;
	char text[256];

	prepare(odd);
	dev = open_disk(&cfg);
	CHECK(!blk_resize(dev, DISK_SIZE, text, sizeof(text)));
	CHECK(same_as_model(dev, DISK_SIZE));
	memset(slot_bytes(0), 0x11, 512);
	memset(model + odd, 0x11, 512); /* in the base's last block, which is short */
	CHECK(one_request(dev, VIRTIO_BLK_T_OUT, odd / 512, 512) == VIRTIO_BLK_S_OK);
	CHECK(same_as_model(dev, DISK_SIZE));
	dev->ops->destroy(dev);
	dev = open_disk(&cfg);
	CHECK(capacity(dev) == DISK_SIZE && same_as_model(dev, DISK_SIZE));
	CHECK(blk_resize(dev, 1ull << 49, text, sizeof(text)) && strstr(text, "grow"));
	dev->ops->destroy(dev);
	CHECK(base_is_untouched(odd));
	remove_files();
}

static void an_overlay_ends_in_flight_before_a_reset(void)
{
	struct disk_config cfg = {.path = base, .overlay = over};
	struct virtio_dev *dev;
	unsigned int i, round;

	prepare(DISK_SIZE);
	dev = open_disk(&cfg);
	for (round = 0; round < 30; round++) {
		for (i = 0; i < SLOTS; i++) /* partial blocks, flushes and reads between */
			put_request(i,
				    i % 4 == 3	 ? VIRTIO_BLK_T_FLUSH
				    : i % 4 == 2 ? VIRTIO_BLK_T_IN
						 : VIRTIO_BLK_T_OUT,
				    (round * SLOTS + i) * 3, i % 4 == 3 ? 0 : 1536);
		reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
		reg_write(dev, VIRTIO_MMIO_STATUS, 0);
		/* From here on the memory is the driver's own. */
		for (i = 0; i < SLOTS; i++) {
			memset(slot_bytes(i), 0x3c, 1536);
			slot_status(i) = 0x3c;
		}
		for (i = 0; i < 3; i++)
			loop_once(&loop, 1);
		for (i = 0; i < SLOTS * 1536; i++)
			CHECK(slot_bytes(i / 1536)[i % 1536] == 0x3c);
		for (i = 0; i < SLOTS; i++)
			CHECK(slot_status(i) == 0x3c);
		start_disk(dev, DISK_FEATURES);
	}
	dev->ops->destroy(dev);
	remove_files();
}

static const struct unit_test tests[] = {
	TEST(an_overlay_is_what_was_written),
	TEST(overlays_do_without_io_uring),
	TEST(a_snapshot_is_forgotten),
	TEST(an_overlay_keeps_what_was_flushed),
	TEST(a_bad_overlay_is_refused_with_the_reason),
	TEST(an_overlay_grows),
	TEST(an_overlay_ends_in_flight_before_a_reset),
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return run_units(argc, argv, tests);
}
