// SPDX-License-Identifier: Apache-2.0
/*
 * Fuzzes packed virtqueues and a disk with an overlay behind them: the input is a script of
 * descriptors, some as a driver would write them and some not, kicks and register writes.
 */
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <stdint.h>
#include <unistd.h>

#include "fuzz.h"
#include "log.h"
#include "packed_driver.h"
#include "virtio/blk.h"

#define RAM	   (16ull << 20)
#define QUEUE_SIZE 13 /* no power of two */
#define NDISKS	   2

static struct guest_memory mem;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct loop loop;
static struct virtio_dev *disks[NDISKS];
static struct packed_driver driver;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	char image[NDISKS][32];
	const struct memory_config ram = {.size = RAM};
	struct disk_config cfg = {0};
	unsigned int i;
	struct error e;
	int fd;

	(void)argc, (void)argv;
	log_open("/dev/null");
	CHECK(memory_create(&mem, &ram, &e) == 0);
	CHECK(loop_create(&loop, &lock) == 0);
	for (i = 0; i < NDISKS; i++) {
		strcpy(image[i], "/tmp/fuzz-disk-XXXXXX");
		fd = mkstemp(image[i]);
		CHECK(fd >= 0 && ftruncate(fd, 1 << 20) == 0);
		close(fd);
		cfg = (struct disk_config){.path = image[i], .snapshot = i};
		disks[i] = blk_create(&mem, &loop, &cfg, i, &e);
		CHECK(disks[i]);
		disks[i]->features |= PACKED_FEATURE;
		unlink(image[i]);
	}
	return 0;
}

static uint64_t some_address(struct script *s)
{
	uint64_t kind = take(s, 1), v = take(s, 3);

	if (kind < 220)
		return v % RAM;
	return kind < 240 ? RAM - v % 64 : v << (kind & 63);
}

/* A request that would be right but for what the script changes afterwards. */
static void offer_request(struct script *s)
{
	struct virtio_blk_outhdr header = {.type = take(s, 1) % 15, .sector = take(s, 2) % 2100};
	struct vring_desc buf[3] = {{.addr = 0x200000, .len = sizeof(header)},
				    {.addr = 0x210000 + take(s, 1), .len = take(s, 2) & 0x3fff},
				    {.addr = 0x220000, .len = 1, .flags = VRING_DESC_F_WRITE}};

	if (take(s, 1) & 1)
		buf[1].len &= ~511u;
	if (header.type == VIRTIO_BLK_T_DISCARD || header.type == VIRTIO_BLK_T_WRITE_ZEROES)
		buf[1].len = 16 * (1 + take(s, 1) % 3);
	if (header.type == VIRTIO_BLK_T_IN || header.type == VIRTIO_BLK_T_GET_ID)
		buf[1].flags = VRING_DESC_F_WRITE;
	memory_write(&mem, 0x200000, &header, sizeof(header));
	packed_offer(&driver, take(s, 2), buf, 3);
}

static void offer_anything(struct script *s)
{
	struct vring_desc buf[4];
	unsigned int i, n = 1 + take(s, 1) % 4;

	for (i = 0; i < n; i++) {
		buf[i].addr = some_address(s);
		buf[i].len = take(s, 2);
		buf[i].flags = take(s, 1) & 7;
		if (buf[i].flags & VRING_DESC_F_INDIRECT)
			buf[i].len = take(s, 1) % 20 * 16;
	}
	packed_offer(&driver, take(s, 2), buf, n);
}

static void step(struct script *s, struct virtio_dev *dev)
{
	uint32_t word;

	switch (take(s, 1) % 10) {
	case 0:
	case 1:
	case 2:
		offer_request(s);
		break;
	case 3:
		offer_anything(s);
		break;
	case 4: /* a word of the ring or of the event areas, whatever it means */
		word = take(s, 4);
		memory_write(&mem, RING_GPA(0) + (take(s, 2) & 0xfffc), &word, 4);
		break;
	case 5:
	case 6:
	case 7:
		reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
		break;
	case 8:
		loop_once(&loop, 0);
		break;
	case 9:
		if (take(s, 1) & 1)
			reg_write(dev, VIRTIO_MMIO_QUEUE_READY, 0);
		driver_start(dev, take(s, 1) & 1 ? dev->features : PACKED_FEATURE, QUEUE_SIZE);
		packed_start(&driver, &mem, 0, QUEUE_SIZE);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct script s = {.data = data, .len = size};
	struct virtio_dev *dev = disks[take(&s, 1) % NDISKS];

	memset(memory_at(&mem, RING_GPA(0), 0x10000), 0, 0x10000);
	CHECK(driver_start(dev, dev->features, QUEUE_SIZE));
	packed_start(&driver, &mem, 0, QUEUE_SIZE);
	while (s.at < s.len)
		step(&s, dev);
	loop_once(&loop, 0);
	reg_write(dev, VIRTIO_MMIO_STATUS, 0);
	return 0;
}
