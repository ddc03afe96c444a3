// SPDX-License-Identifier: Apache-2.0
/* Unit tests of packed virtqueues, against a driver of our own. */
#include <linux/virtio_blk.h>
#include <unistd.h>

#include "log.h"
#include "packed_driver.h"
#include "units.h"
#include "virtio/blk.h"

#define SIZE 8

static struct vq vq;
static struct vq_chain chain;
static struct packed_driver driver;

static void start_queue(uint16_t size, bool event_idx)
{
	setup(MIB(16));
	vq_init(&vq, &mem, 256);
	vq.size = size;
	vq.desc_gpa = RING_GPA(0);
	vq.avail_gpa = DRIVER_EVENTS(0);
	vq.used_gpa = DEVICE_EVENTS(0);
	vq.packed = vq.indirect = true;
	vq.event_idx = event_idx;
	CHECK(vq_enable(&vq) == 0);
	packed_start(&driver, &mem, 0, size);
}

static struct vring_desc in(uint64_t gpa, uint32_t len)
{
	return (struct vring_desc){.addr = gpa, .len = len};
}

static struct vring_desc out(uint64_t gpa, uint32_t len)
{
	return (struct vring_desc){.addr = gpa, .len = len, .flags = VRING_DESC_F_WRITE};
}

static void packed_chains_go_round(void)
{
	struct vring_desc three[3] = {in(0x200000, 16), in(0x201000, 512), out(0x202000, 1)};
	struct vring_desc one = out(0x210000, 64);
	uint32_t len;
	uint16_t id;
	unsigned int i;

	start_queue(7, false); /* no power of two: 2.8.10.1 */
	CHECK(vq_pop(&vq, &chain) == 0);
	for (i = 0; i < 100; i++) {
		packed_offer(&driver, i, three, 3);
		packed_offer(&driver, i + 1000, &one, 1);
		CHECK(vq_pop(&vq, &chain) == 1 && chain.nread == 2 && chain.nwrite == 1);
		CHECK(chain.read_len == 528 && chain.write_len == 1);
		vq_push(&vq, chain.head, 1);
		CHECK(packed_take(&driver, 3, &id, &len) && id == (uint16_t)i && len == 1);
		CHECK(vq_pop(&vq, &chain) == 1 && chain.nread == 0 && chain.write_len == 64);
		vq_push(&vq, chain.head, 33);
		CHECK(packed_take(&driver, 1, &id, &len) && id == i + 1000 && len == 33);
		CHECK(vq_pop(&vq, &chain) == 0 && !vq.broken);
	}
}

static void packed_chains_end_in_any_order(void)
{
	struct vring_desc two[2] = {in(0x200000, 16), out(0x202000, 1)};
	uint32_t heads[4], len;
	uint16_t id;
	unsigned int i, round;

	start_queue(SIZE, false);
	for (round = 0; round < 5; round++) {
		for (i = 0; i < 4; i++)
			packed_offer(&driver, i, two, 2);
		for (i = 0; i < 4; i++) {
			CHECK(vq_pop(&vq, &chain) == 1);
			heads[i] = chain.head;
		}
		CHECK(vq_pop(&vq, &chain) == 0); /* the ring is full of what we hold */
		for (i = 4; i-- > 0;)
			vq_push(&vq, heads[i], 1);
		for (i = 4; i-- > 0;)
			CHECK(packed_take(&driver, 2, &id, &len) && id == i);
		CHECK(!packed_take(&driver, 2, &id, &len));
	}
}

static void packed_batches_appear_at_once(void)
{
	struct vring_desc one = out(0x210000, 64);
	uint32_t heads[3], len;
	unsigned int i, round;
	uint16_t id;

	start_queue(SIZE, false);
	for (round = 0; round < 10; round++) {
		for (i = 0; i < 3; i++) {
			packed_offer(&driver, i, &one, 1);
			CHECK(vq_pop(&vq, &chain) == 1);
			heads[i] = chain.head;
		}
		for (i = 0; i < 3; i++)
			vq_fill(&vq, heads[i], i);
		CHECK(!packed_take(&driver, 1, &id, &len));
		vq_flush(&vq);
		for (i = 0; i < 3; i++)
			CHECK(packed_take(&driver, 1, &id, &len) && id == i && len == i);
	}
}

static void packed_unpop_gives_the_same_again(void)
{
	struct vring_desc three[3] = {in(0x200000, 16), in(0x201000, 512), out(0x202000, 1)};
	uint32_t head, len;
	unsigned int i;
	uint16_t id;

	start_queue(7, false);
	for (i = 0; i < 20; i++) {
		packed_offer(&driver, i, three, 3);
		CHECK(vq_pop(&vq, &chain) == 1);
		head = chain.head;
		vq_unpop(&vq, &chain);
		CHECK(vq_pop(&vq, &chain) == 1 && chain.head == head);
		vq_push(&vq, chain.head, 0);
		CHECK(packed_take(&driver, 3, &id, &len) && id == i);
	}
}

static void packed_indirect_tables(void)
{
	struct vring_packed_desc table[3] = {{.addr = 0x200000, .len = 16},
					     {.addr = 0x201000, .len = 100},
					     {.addr = 0x202000, .len = 1, .flags = 2}};
	struct vring_desc ref = {.addr = 0x300001, .len = 48, .flags = VRING_DESC_F_INDIRECT};

	start_queue(SIZE, false);
	memory_write(&mem, ref.addr, table, sizeof(table)); /* at an odd address, too */
	packed_offer(&driver, 5, &ref, 1);
	CHECK(vq_pop(&vq, &chain) == 1 && chain.nread == 2 && chain.nwrite == 1);
	CHECK(chain.read_len == 116);
	ref.len = 40; /* no whole number of descriptors */
	packed_offer(&driver, 6, &ref, 1);
	CHECK(vq_pop(&vq, &chain) == -1 && strstr(vq.complaint, "bad length"));
}

static const char *refused(const struct vring_desc *buf, unsigned int n)
{
	start_queue(SIZE, false);
	packed_offer(&driver, 0, buf, n);
	CHECK(vq_pop(&vq, &chain) == -1 && vq.broken);
	CHECK(vq_pop(&vq, &chain) == -1); /* and stays so */
	return vq.complaint;
}

static void packed_hostile_chains_break_the_queue(void)
{
	struct vring_desc buf[SIZE + 1] = {out(0x200000, 1), in(0x200000, 1)};
	unsigned int i;

	CHECK(strstr(refused(buf, 2), "readable buffer follows"));
	buf[0] = in(MIB(16) - 8, 16);
	CHECK(strstr(refused(buf, 1), "not in RAM"));
	buf[0] = in(UINT64_MAX - 3, 16);
	CHECK(strstr(refused(buf, 1), "not in RAM"));
	buf[0] = in(0x200000, 16);
	buf[1] = (struct vring_desc){.addr = 0x200000, .len = 16, .flags = VRING_DESC_F_INDIRECT};
	CHECK(strstr(refused(buf, 2), "inside a chain"));
	buf[0] = (struct vring_desc){
		.addr = 0x200000, .len = 16 * 257, .flags = VRING_DESC_F_INDIRECT};
	start_queue(SIZE, false);
	for (i = 0; i < 257; i++)
		memory_write(&mem, 0x200000 + 16 * i, &(struct vring_desc){.addr = 4096, .len = 1},
			     16);
	packed_offer(&driver, 0, buf, 1);
	CHECK(vq_pop(&vq, &chain) == -1 && strstr(vq.complaint, "too many"));
	/* NEXT everywhere: the ring has no end. */
	for (i = 0; i <= SIZE; i++)
		buf[i] = in(0x200000, 1);
	CHECK(strstr(refused(buf, SIZE + 1), "longer than the ring"));
}

static void packed_bad_addresses_are_refused(void)
{
	start_queue(SIZE, false);
	vq.ready = false;
	vq.desc_gpa = RING_GPA(0) + 8;
	CHECK(vq_enable(&vq) == -1);
	vq.desc_gpa = MIB(16) - 16 * (SIZE - 1);
	CHECK(vq_enable(&vq) == -1);
	vq.desc_gpa = RING_GPA(0);
	vq.avail_gpa = MIB(16);
	CHECK(vq_enable(&vq) == -1);
	vq.avail_gpa = DRIVER_EVENTS(0);
	vq.used_gpa = DEVICE_EVENTS(0) + 2;
	CHECK(vq_enable(&vq) == -1);
	vq.used_gpa = DEVICE_EVENTS(0);
	vq.size = 0;
	CHECK(vq_enable(&vq) == -1);
	vq.size = SIZE;
	CHECK(vq_enable(&vq) == 0);
}

/* Serves `n` chains of one place each; says whether the driver is to be interrupted. */
static bool serve(unsigned int n)
{
	struct vring_desc one = out(0x210000, 64);
	uint32_t len;
	uint16_t id;

	while (n--) {
		packed_offer(&driver, n, &one, 1);
		CHECK(vq_pop(&vq, &chain) == 1);
		vq_push(&vq, chain.head, 1);
		CHECK(packed_take(&driver, 1, &id, &len));
	}
	return vq_wants_irq(&vq);
}

static void wish(uint16_t position, bool wrap, uint16_t flags)
{
	uint16_t event[2] = {position | (wrap ? 0x8000 : 0), flags};

	memory_write(&mem, DRIVER_EVENTS(0), event, sizeof(event));
}

static void packed_interrupts_follow_the_wish(void)
{
	start_queue(SIZE, true);
	CHECK(!vq_wants_irq(&vq)); /* nothing was given back */
	wish(0, false, VRING_PACKED_EVENT_FLAG_ENABLE);
	CHECK(serve(1));
	wish(0, false, VRING_PACKED_EVENT_FLAG_DISABLE);
	CHECK(!serve(1));
	wish(4, true, VRING_PACKED_EVENT_FLAG_DESC); /* we are at 2 */
	CHECK(!serve(2));
	CHECK(serve(1)); /* place 4 was used */
	CHECK(!serve(2));
	wish(1, false, VRING_PACKED_EVENT_FLAG_DESC); /* we are at 7 of the first round */
	CHECK(!serve(2));			      /* up to 0 of the second */
	CHECK(serve(1));
	wish(7, false, VRING_PACKED_EVENT_FLAG_DESC); /* the last place of this round */
	CHECK(!serve(5));
	CHECK(serve(2)); /* places 7 and 0: the wish lies before the wrap */
}

static void packed_notifications_are_asked_for(void)
{
	struct vring_desc one = out(0x210000, 64);
	uint16_t event[2];

	start_queue(SIZE, true);
	CHECK(!vq_arm(&vq));
	memory_read(&mem, DEVICE_EVENTS(0), event, sizeof(event));
	CHECK(event[0] == 0x8000 && event[1] == VRING_PACKED_EVENT_FLAG_DESC);
	CHECK(!serve(7) || true);
	packed_offer(&driver, 1, &one, 1);
	CHECK(vq_arm(&vq)); /* it came before the wish: look again */
	CHECK(vq_pop(&vq, &chain) == 1 && !vq_arm(&vq));
	memory_read(&mem, DEVICE_EVENTS(0), event, sizeof(event));
	CHECK(event[0] == 0); /* the second round, from its start */
}

static void packed_disk_reads_and_writes(void)
{
	struct virtio_blk_outhdr header = {.type = VIRTIO_BLK_T_OUT, .sector = 3};
	char path[] = "/tmp/blk-test-XXXXXX";
	struct disk_config cfg = {.path = path};
	struct vring_desc buf[3] = {in(0x200000, sizeof(header)), in(0x210000, 512),
				    out(0x220000, 1)};
	uint8_t *data = NULL, *status;
	struct virtio_dev *dev;
	int fd = mkstemp(path);
	uint32_t len = 0;
	uint16_t id;

	setup(MIB(16));
	log_open("/dev/null");
	CHECK(fd >= 0 && ftruncate(fd, 64 * 512) == 0);
	dev = blk_create(&mem, &loop, &cfg, 0, &err);
	CHECK(dev);
	dev->features |= PACKED_FEATURE;
	CHECK(driver_start(dev, PACKED_FEATURE | 1ull << VIRTIO_RING_F_EVENT_IDX, SIZE));
	packed_start(&driver, &mem, 0, SIZE);
	data = memory_at(&mem, 0x210000, 512);
	status = memory_at(&mem, 0x220000, 1);
	memset(data, 0x77, 512);
	for (unsigned int i = 0; i < 20; i++) {
		*status = 0xee;
		header.type = i & 1 ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT;
		memory_write(&mem, 0x200000, &header, sizeof(header));
		buf[1].flags = i & 1 ? VRING_DESC_F_WRITE : 0;
		packed_offer(&driver, i, buf, 3);
		reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
		while (!packed_take(&driver, 3, &id, &len))
			loop_once(&loop, 1000);
		CHECK(id == i && *status == VIRTIO_BLK_S_OK && len == (i & 1 ? 513 : 1));
		CHECK(data[0] == 0x77 && data[511] == 0x77);
		memset(data, i & 1 ? 0x77 : 0, 512);
	}
	unlink(path);
}

static const struct unit_test tests[] = {
	TEST(packed_chains_go_round),
	TEST(packed_chains_end_in_any_order),
	TEST(packed_batches_appear_at_once),
	TEST(packed_unpop_gives_the_same_again),
	TEST(packed_indirect_tables),
	TEST(packed_hostile_chains_break_the_queue),
	TEST(packed_bad_addresses_are_refused),
	TEST(packed_interrupts_follow_the_wish),
	TEST(packed_notifications_are_asked_for),
	TEST(packed_disk_reads_and_writes),
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return run_units(argc, argv, tests);
}
