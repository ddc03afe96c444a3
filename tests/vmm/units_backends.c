// SPDX-License-Identifier: Apache-2.0
/* Unit tests of the block device, against files. */
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <sys/socket.h>
#include <unistd.h>

#include "log.h"
#include "units.h"
#include "virtio/blk.h"

/* --- block device --- */

static struct virtio_dev *start_blk(bool read_only, char *path)
{
	struct disk_config cfg = {.path = path, .read_only = read_only};
	struct virtio_dev *dev;
	int fd = mkstemp(path);

	setup(MIB(16));
	log_open("/dev/null");
	CHECK(fd >= 0 && ftruncate(fd, 64 * 512) == 0);
	close(fd);
	dev = blk_create(&mem, &loop, &cfg, 0, &err);
	CHECK(dev && driver_start(dev, 1ull << VIRTIO_BLK_F_FLUSH, 8));
	return dev;
}

/* One request over `len` bytes at 0x210000; returns its status byte. */
static uint8_t request(struct virtio_dev *dev, uint32_t type, uint64_t sector, uint32_t len)
{
	struct virtio_blk_outhdr header = {.type = type, .sector = sector};
	uint16_t dir = type == VIRTIO_BLK_T_OUT ? 0 : VRING_DESC_F_WRITE;
	uint16_t before = used_index(&mem, 0);
	uint8_t *status = memory_at(&mem, 0x220000, 1);

	*status = 0xee;
	memory_write(&mem, 0x200000, &header, sizeof(header));
	set_desc(&mem, 0, 0, 0x200000, sizeof(header), VRING_DESC_F_NEXT, len ? 1 : 2);
	set_desc(&mem, 0, 1, 0x210000, len, VRING_DESC_F_NEXT | dir, 2);
	set_desc(&mem, 0, 2, 0x220000, 1, VRING_DESC_F_WRITE, 0);
	offer(&mem, 0, 8, 0);
	reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	while (used_index(&mem, 0) == before)
		loop_once(&loop, 1000);
	return *status;
}

static void blk_keeps_what_is_written(void)
{
	char path[] = "/tmp/blk-test-XXXXXX";
	struct virtio_dev *dev = start_blk(false, path);
	uint8_t *data = memory_at(&mem, 0x210000, 1024), check[1024];
	int fd = open(path, O_RDONLY);

	memset(data, 0x5a, 1024);
	CHECK(request(dev, VIRTIO_BLK_T_OUT, 5, 1024) == VIRTIO_BLK_S_OK);
	CHECK(request(dev, VIRTIO_BLK_T_FLUSH, 0, 0) == VIRTIO_BLK_S_OK);
	CHECK(pread(fd, check, 1024, 5 * 512) == 1024 && check[0] == 0x5a && check[1023] == 0x5a);
	memset(data, 0, 1024);
	CHECK(request(dev, VIRTIO_BLK_T_IN, 5, 1024) == VIRTIO_BLK_S_OK && data[1000] == 0x5a);
	CHECK(used_length(&mem, 0, 8) == 1025);
	CHECK(request(dev, VIRTIO_BLK_T_GET_ID, 0, 20) == VIRTIO_BLK_S_OK);
	CHECK(!strcmp((char *)data, "hg-disk0"));
	unlink(path);
}

static void blk_refuses_what_is_out_of_range(void)
{
	char path[] = "/tmp/blk-test-XXXXXX";
	struct virtio_dev *dev = start_blk(false, path);

	CHECK(request(dev, VIRTIO_BLK_T_IN, 63, 512) == VIRTIO_BLK_S_OK);
	CHECK(request(dev, VIRTIO_BLK_T_IN, 63, 1024) == VIRTIO_BLK_S_IOERR);
	CHECK(request(dev, VIRTIO_BLK_T_IN, UINT64_MAX, 512) == VIRTIO_BLK_S_IOERR);
	CHECK(request(dev, VIRTIO_BLK_T_IN, UINT64_MAX / 512 + 1, 512) == VIRTIO_BLK_S_IOERR);
	CHECK(request(dev, VIRTIO_BLK_T_OUT, 0, 100) == VIRTIO_BLK_S_IOERR);
	CHECK(request(dev, VIRTIO_BLK_T_OUT, 0, 0) == VIRTIO_BLK_S_IOERR);
	CHECK(request(dev, 77, 0, 512) == VIRTIO_BLK_S_UNSUPP);
	unlink(path);
}

static void blk_read_only_refuses_writes(void)
{
	char path[] = "/tmp/blk-test-XXXXXX";
	struct virtio_dev *dev = start_blk(true, path);

	CHECK(dev->features & 1ull << VIRTIO_BLK_F_RO);
	CHECK(request(dev, VIRTIO_BLK_T_OUT, 0, 512) == VIRTIO_BLK_S_IOERR);
	CHECK(request(dev, VIRTIO_BLK_T_IN, 0, 512) == VIRTIO_BLK_S_OK);
	unlink(path);
}

static bool ends_in_flight(struct virtio_dev *dev, uint32_t reg, uint8_t fill)
{
	struct virtio_blk_outhdr header = {.type = VIRTIO_BLK_T_IN};
	uint8_t *data = memory_at(&mem, 0x210000, 32768);
	unsigned int i;

	CHECK(driver_start(dev, 0, 8));
	memset(memory_at(&mem, RING_GPA(0), 0x10000), 0, 0x10000);
	memory_write(&mem, 0x200000, &header, sizeof(header));
	set_desc(&mem, 0, 0, 0x200000, sizeof(header), VRING_DESC_F_NEXT, 1);
	set_desc(&mem, 0, 1, 0x210000, 32768, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 2);
	set_desc(&mem, 0, 2, 0x220000, 1, VRING_DESC_F_WRITE, 0);
	for (i = 0; i < 8; i++)
		offer(&mem, 0, 8, 0);
	reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	reg_write(dev, reg, 0);
	/* From here on the memory is the driver's own. */
	memset(data, fill, 32768);
	*(uint8_t *)memory_at(&mem, 0x220000, 1) = fill;
	for (i = 0; i < 20; i++)
		loop_once(&loop, 1);
	for (i = 0; i < 32768; i++)
		if (data[i] != fill)
			return false;
	return *(uint8_t *)memory_at(&mem, 0x220000, 1) == fill;
}

static void blk_touches_nothing_after_a_reset(void)
{
	char path[] = "/tmp/blk-test-XXXXXX";
	struct virtio_dev *dev = start_blk(false, path);
	unsigned int i;

	for (i = 0; i < 50; i++) {
		CHECK(ends_in_flight(dev, VIRTIO_MMIO_STATUS, 0xa5));
		CHECK(ends_in_flight(dev, VIRTIO_MMIO_QUEUE_READY, 0x5a));
	}
	memset(memory_at(&mem, RING_GPA(0), 0x10000), 0, 0x10000);
	CHECK(driver_start(dev, 0, 8) && request(dev, VIRTIO_BLK_T_IN, 0, 512) == 0);
	unlink(path);
}

static void blk_config_is_read_in_any_width(void)
{
	char path[] = "/tmp/blk-test-XXXXXX";
	struct virtio_dev *dev = start_blk(false, path);
	uint8_t whole[8] = {0}, part[8];
	uint64_t capacity;
	unsigned int at, len;

	virtio_mmio_access(dev, VIRTIO_MMIO_CONFIG, false, whole, 8);
	memcpy(&capacity, whole, 8);
	CHECK(capacity == 64);
	for (len = 1; len <= 8; len *= 2)
		for (at = 0; at + len <= 8; at++) {
			memset(part, 0xee, sizeof(part));
			virtio_mmio_access(dev, VIRTIO_MMIO_CONFIG + at, false, part, len);
			CHECK(!memcmp(part, whole + at, len) && (len == 8 || part[len] == 0xee));
		}
	for (at = 0xff8 - VIRTIO_MMIO_CONFIG; at > 0; at--) { /* its end, and all beyond it */
		virtio_mmio_access(dev, VIRTIO_MMIO_CONFIG + at, false, part, 8);
		virtio_mmio_access(dev, VIRTIO_MMIO_CONFIG + at, true, part, 8);
	}
	virtio_mmio_access(dev, VIRTIO_MMIO_CONFIG, false, part, 8);
	CHECK(!memcmp(part, whole, 8)); /* and it is never written */
	unlink(path);
}

static void blk_locks_its_image(void)
{
	char path[] = "/tmp/blk-test-XXXXXX";
	struct virtio_dev *writer = start_blk(false, path), *a, *b;
	struct disk_config cfg = {.path = path, .read_only = true};

	CHECK(!blk_create(&mem, &loop, &cfg, 1, &err) && err.code == ERROR_USER);
	CHECK(strstr(err.text, "in use by another VM"));
	writer->ops->destroy(writer);
	a = blk_create(&mem, &loop, &cfg, 1, &err);
	b = blk_create(&mem, &loop, &cfg, 2, &err);
	CHECK(a && b);
	cfg.read_only = false;
	CHECK(!blk_create(&mem, &loop, &cfg, 3, &err) && strstr(err.text, "in use"));
	CHECK(truncate(path, 0) == 0);
	a->ops->destroy(a);
	b->ops->destroy(b);
	CHECK(!blk_create(&mem, &loop, &cfg, 3, &err) && strstr(err.text, "empty"));
	unlink(path);
}

static const struct unit_test tests[] = {
	TEST(blk_keeps_what_is_written),
	TEST(blk_refuses_what_is_out_of_range),
	TEST(blk_read_only_refuses_writes),
	TEST(blk_touches_nothing_after_a_reset),
	TEST(blk_config_is_read_in_any_width),
	TEST(blk_locks_its_image),
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return run_units(argc, argv, tests);
}
