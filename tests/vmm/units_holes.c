// SPDX-License-Identifier: Apache-2.0
/*
 * Holes that other VMMs had, in one way or another: each as a guest would use it.  More of
 * them are where the device is: config space beyond its end and use after a reset in
 * units_backends.c, lengths of vsock packets in units_vsock.c.
 */
#include <linux/serial_reg.h>
#include <linux/virtio_blk.h>
#include <stdatomic.h>
#include <unistd.h>

#include "log.h"
#include "serial8250.h"
#include "units.h"
#include "virtio/blk.h"
#include "virtio/rng.h"

#define SIZE 8 /* of the queues */

static struct virtio_dev *start_rng(uint64_t features)
{
	struct virtio_dev *dev;

	setup(MIB(16));
	log_open("/dev/null");
	dev = rng_create(&mem, &loop, &err);
	CHECK(dev && driver_start(dev, features, SIZE));
	return dev;
}

static bool broken(struct virtio_dev *dev)
{
	return reg_read(dev, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

/* --- a descriptor that changes between its check and its use --- */

static atomic_bool flipping;

/* Good, then bad, in each field, as fast as can be. */
static void *flip(void *unused)
{
	volatile struct vring_desc *d = memory_at(&mem, RING_GPA(0), 16);
	volatile uint16_t *avail = memory_at(&mem, AVAIL_GPA(0), 64);
	uint32_t n;

	(void)unused;
	for (n = 0; atomic_load(&flipping); n++) {
		d->addr = n & 1 ? 0x200000 : MIB(16) - 8;
		d->len = n & 2 ? 16 : 0x7fffffff;
		d->next = n & 4 ? 1 : 60000;
		d->flags = n & 8 ? VRING_DESC_F_WRITE : VRING_DESC_F_NEXT | VRING_DESC_F_WRITE;
		d->addr = n & 16 ? UINT64_MAX - 7 : 0x200000;
		d->flags = n & 32 ? VRING_DESC_F_INDIRECT : VRING_DESC_F_WRITE;
		avail[2 + n % SIZE] = n & 64 ? 0 : 0xffff;
	}
	return NULL;
}

static void a_descriptor_changes_while_it_is_read(void)
{
	struct virtio_dev *dev = start_rng(1ull << VIRTIO_RING_F_INDIRECT_DESC);
	unsigned int i, served = 0, refused = 0;
	pthread_t other;

	atomic_store(&flipping, true);
	CHECK(pthread_create(&other, NULL, flip, NULL) == 0);
	for (i = 0; i < 30000; i++) {
		offer(&mem, 0, SIZE, 0);
		reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
		if (broken(dev)) {
			refused++;
			memset(memory_at(&mem, AVAIL_GPA(0), 0x8000), 0, 0x8000);
			CHECK(driver_start(dev, 1ull << VIRTIO_RING_F_INDIRECT_DESC, SIZE));
		} else {
			served++;
		}
	}
	atomic_store(&flipping, false);
	pthread_join(other, NULL);
	CHECK(served + refused == 30000);
}

/* --- rings --- */

static void an_indirect_table_in_a_table_is_refused(void)
{
	struct virtio_dev *dev = start_rng(1ull << VIRTIO_RING_F_INDIRECT_DESC);
	struct vring_desc table[2] = {{0x230000, 32, VRING_DESC_F_INDIRECT, 0},
				      {0x240000, 16, VRING_DESC_F_WRITE, 0}};

	memory_write(&mem, 0x220000, table, sizeof(table));
	memory_write(&mem, 0x230000, table, sizeof(table));
	set_desc(&mem, 0, 0, 0x220000, sizeof(table), VRING_DESC_F_INDIRECT, 0);
	offer(&mem, 0, SIZE, 0);
	reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	CHECK(broken(dev) && used_index(&mem, 0) == 0);
}

static void a_successor_outside_its_indirect_table_is_refused(void)
{
	struct virtio_dev *dev = start_rng(1ull << VIRTIO_RING_F_INDIRECT_DESC);
	/* The third entry is there in RAM, but not in the table. */
	struct vring_desc table[3] = {{0x240000, 16, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 2},
				      {0x240000, 16, VRING_DESC_F_WRITE, 0},
				      {0x250000, 16, VRING_DESC_F_WRITE, 0}};

	memory_write(&mem, 0x220000, table, sizeof(table));
	set_desc(&mem, 0, 0, 0x220000, 2 * sizeof(table[0]), VRING_DESC_F_INDIRECT, 0);
	offer(&mem, 0, SIZE, 0);
	reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	CHECK(broken(dev) && used_index(&mem, 0) == 0);
}

/* The device counts for itself: what the guest writes into the used ring moves nothing. */
static void the_guest_cannot_move_the_used_index(void)
{
	struct virtio_dev *dev = start_rng(0);
	uint16_t *used = memory_at(&mem, USED_GPA(0), 4 + 8 * SIZE);
	unsigned int i;

	set_desc(&mem, 0, 0, 0x200000, 16, VRING_DESC_F_WRITE, 0);
	for (i = 1; i <= 100; i++) {
		used[1] = (uint16_t)(i * 31);
		offer(&mem, 0, SIZE, 0);
		reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
		CHECK(used[1] == i && !broken(dev));
	}
}

/* One head, lent over and over while it is in flight: served, or the device asks for a reset. */
static void the_same_head_many_times_is_no_leak(void)
{
	char path[] = "/tmp/holes-XXXXXX";
	struct virtio_blk_outhdr header = {.type = VIRTIO_BLK_T_IN};
	struct disk_config cfg = {.path = path};
	struct virtio_dev *dev;
	unsigned int round, i;
	int fd = mkstemp(path);

	setup(MIB(16));
	log_open("/dev/null");
	CHECK(fd >= 0 && ftruncate(fd, 1 << 20) == 0);
	close(fd);
	dev = blk_create(&mem, &loop, &cfg, 0, &err);
	CHECK(dev);
	for (round = 0; round < 50; round++) {
		memset(memory_at(&mem, RING_GPA(0), 0x10000), 0, 0x10000);
		CHECK(driver_start(dev, 0, SIZE));
		memory_write(&mem, 0x200000, &header, sizeof(header));
		set_desc(&mem, 0, 0, 0x200000, sizeof(header), VRING_DESC_F_NEXT, 1);
		set_desc(&mem, 0, 1, 0x210000, 4096, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 2);
		set_desc(&mem, 0, 2, 0x220000, 1, VRING_DESC_F_WRITE, 0);
		for (i = 0; i < 400 && !broken(dev); i++) {
			offer(&mem, 0, SIZE, 0);
			reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
			if (i % 50 == 0)
				loop_once(&loop, 0);
		}
		/* The ring says what it lent: more than it holds is beyond it. */
		reg_write(dev, VIRTIO_MMIO_STATUS, 0);
	}
	unlink(path);
}

/* --- registers --- */

static void reads_of_odd_widths_tell_nothing(void)
{
	static const unsigned int widths[] = {1, 2, 8};
	struct virtio_dev *dev = start_rng(0);
	uint8_t data[16];
	unsigned int w, i, len;
	uint64_t at;

	for (at = 0; at < VIRTIO_MMIO_CONFIG; at++) {
		for (w = 0; w < 3; w++) {
			len = widths[w];
			memset(data, 0xee, sizeof(data));
			virtio_mmio_access(dev, at, false, data, len);
			for (i = 0; i < sizeof(data); i++)
				CHECK(data[i] == (i < len ? 0 : 0xee));
		}
		if (at % 4 == 0)
			continue;
		memset(data, 0xee, sizeof(data)); /* four bytes of two registers */
		virtio_mmio_access(dev, at, false, data, 4);
		CHECK(!memcmp(data, "\0\0\0\0\xee", 5));
	}
}

static void writes_of_odd_widths_change_nothing(void)
{
	struct virtio_dev *dev = start_rng(0);
	uint32_t status = reg_read(dev, VIRTIO_MMIO_STATUS);
	uint8_t zero[8] = {0};
	uint64_t at;

	for (at = 0; at < VIRTIO_MMIO_CONFIG; at++) {
		virtio_mmio_access(dev, at, true, zero, 1);
		virtio_mmio_access(dev, at, true, zero, 2);
		virtio_mmio_access(dev, at, true, zero, 8);
		if (at % 4)
			virtio_mmio_access(dev, at, true, zero, 4);
	}
	CHECK(reg_read(dev, VIRTIO_MMIO_STATUS) == status && !broken(dev));
	reg_write(dev, VIRTIO_MMIO_QUEUE_SEL, 0);
	CHECK(reg_read(dev, VIRTIO_MMIO_QUEUE_READY) == 1);
}

/* --- serial port --- */

static long resident_pages(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	long pages = 0;

	CHECK(f && fscanf(f, "%*d %ld", &pages) == 1);
	fclose(f);
	return pages;
}

static void a_serial_port_without_a_reader_keeps_nothing(void)
{
	static struct serial8250 uart;
	struct console *con;
	unsigned int i;
	uint8_t byte = 'x';
	long before;
	char log[] = "/tmp/holes-log-XXXXXX";
	char sock[40];
	int no_vm = -1;

	setup(MIB(16));
	close(mkstemp(log));
	snprintf(sock, sizeof(sock), "%s.sock", log);
	con = console_create(&loop, sock, NULL, &err);
	CHECK(con);
	uart.con = con;
	uart.irq.vm_fd = &no_vm;
	for (i = 0; i < 1000; i++)
		serial_access(&uart, UART_TX, true, &byte, 1);
	before = resident_pages();
	for (i = 0; i < 4000000; i++)
		serial_access(&uart, UART_TX, true, &byte, 1);
	CHECK(resident_pages() - before < 256); /* 1 MiB */
	unlink(log);
	unlink(sock);
}

static void a_serial_port_answers_any_width(void)
{
	static struct serial8250 uart;
	struct console *con;
	uint8_t data[16];
	unsigned int at, len, i;
	int no_vm = -1, null = dup(STDIN_FILENO);

	setup(MIB(16));
	con = console_create(&loop, NULL, NULL, &err);
	CHECK(con && null >= 0);
	uart.con = con;
	uart.irq.vm_fd = &no_vm;
	for (at = 0; at < 8; at++)
		for (len = 1; at + len <= 8; len++) {
			memset(data, 0xee, sizeof(data));
			serial_access(&uart, at, false, data, len);
			for (i = len; i < sizeof(data); i++)
				CHECK(data[i] == 0xee);
		}
}

static const struct unit_test tests[] = {
	TEST(a_descriptor_changes_while_it_is_read),
	TEST(an_indirect_table_in_a_table_is_refused),
	TEST(a_successor_outside_its_indirect_table_is_refused),
	TEST(the_guest_cannot_move_the_used_index),
	TEST(the_same_head_many_times_is_no_leak),
	TEST(reads_of_odd_widths_tell_nothing),
	TEST(writes_of_odd_widths_change_nothing),
	TEST(a_serial_port_without_a_reader_keeps_nothing),
	TEST(a_serial_port_answers_any_width),
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return run_units(argc, argv, tests);
}
