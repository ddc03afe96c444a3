// SPDX-License-Identifier: Apache-2.0
/* Unit tests of guest memory, virtqueues, the transport and the device back ends. */
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "layout.h"
#include "log.h"
#include "units.h"
#include "virtio/blk.h"
#include "virtio/net.h"
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

/* --- network --- */

static void net_moves_packets_both_ways(void)
{
	static const uint8_t mac[6] = {2, 1, 2, 3, 4, 5};
	struct virtio_dev *dev;
	uint8_t *buf, packet[60] = {0};
	int ends[2];

	setup(MIB(16));
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends) == 0);
	dev = net_create_fd(&mem, &loop, ends[0], mac, &err);
	CHECK(dev && driver_start(dev, 0, 8));
	set_desc(&mem, 1, 0, 0x200000, 60, 0, 0);
	memset(memory_at(&mem, 0x200000, 60), 7, 60);
	offer(&mem, 1, 8, 0);
	reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 1);
	CHECK(recv(ends[1], packet, sizeof(packet), 0) == 60 && packet[59] == 7);
	/* A packet that waits before there is a buffer must arrive once there is one. */
	packet[20] = 9;
	CHECK(send(ends[1], packet, 50, 0) == 50);
	loop_once(&loop, 0);
	set_desc(&mem, 0, 0, 0x210000, 1526, VRING_DESC_F_WRITE, 0);
	offer(&mem, 0, 8, 0);
	reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	loop_once(&loop, 1000);
	buf = memory_at(&mem, 0x210000, 64);
	CHECK(used_index(&mem, 0) == 1 && used_length(&mem, 0, 8) == 50);
	CHECK(buf[20] == 9 && buf[10] == 1 && buf[11] == 0); /* num_buffers */
}

static const struct unit_test tests[] = {
	TEST(memory_refuses_what_is_not_ram),
	TEST(memory_splits_around_the_hole),
	TEST(memory_loads_only_whole_ranges),
	TEST(queue_serves_a_request),
	TEST(queue_serves_indirect_and_wraps_its_indices),
	TEST(queue_interrupts_only_at_the_event_index),
	TEST(queue_survives_hostile_rings),
	TEST(transport_refuses_bad_negotiation),
	TEST(blk_keeps_what_is_written),
	TEST(blk_refuses_what_is_out_of_range),
	TEST(blk_read_only_refuses_writes),
	TEST(blk_locks_its_image),
	TEST(net_moves_packets_both_ways),
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return run_units(argc, argv, tests);
}
