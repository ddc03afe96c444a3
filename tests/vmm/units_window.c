// SPDX-License-Identifier: Apache-2.0
/* Unit tests of the registers that the guest reads as memory: they say what an exit would. */
#include <sys/socket.h>
#include <unistd.h>

#include "log.h"
#include "units.h"
#include "virtio/net.h"
#include "virtio/window.h"

static struct virtio_dev *dev;
static uint8_t *page;
static int peer;

static void start(void)
{
	static const struct net_config cfg = {.mac = {2, 1, 2, 3, 4, 5}};
	int ends[2];

	setup(MIB(16));
	log_open("/dev/null");
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends) == 0);
	peer = ends[1];
	dev = net_create_fds(&mem, &loop, ends, &cfg, &err);
	page = windows_create(1);
	CHECK(dev && page);
	window_attach(dev, page);
}

static uint32_t seen(uint32_t offset)
{
	uint32_t value;

	memcpy(&value, page + offset, 4);
	return value;
}

/* All of the page against what an exit for the register gives. */
static bool agrees(void)
{
	uint32_t offset;
	uint8_t byte;

	for (offset = 0; offset < VIRTIO_MMIO_CONFIG; offset += 4)
		if (seen(offset) != reg_read(dev, offset))
			return false;
	for (; offset < 4096; offset++) {
		virtio_mmio_access(dev, offset, false, &byte, 1);
		if (byte != page[offset])
			return false;
	}
	return true;
}

static void the_page_follows_every_write(void)
{
	uint32_t i;

	start();
	CHECK(agrees() && seen(VIRTIO_MMIO_MAGIC_VALUE) == 0x74726976);
	for (i = 0; i < 3; i++) {
		reg_write(dev, VIRTIO_MMIO_DEVICE_FEATURES_SEL, i);
		CHECK(agrees());
		CHECK(seen(VIRTIO_MMIO_DEVICE_FEATURES) ==
		      (i < 2 ? (uint32_t)(dev->features >> 32 * i) : 0));
	}
	CHECK(driver_start(dev, 0, 8) && agrees());
	CHECK(seen(VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_DRIVER_OK);
	reg_write(dev, VIRTIO_MMIO_QUEUE_SEL, 99);
	CHECK(agrees() && !seen(VIRTIO_MMIO_QUEUE_NUM_MAX));
	reg_write(dev, VIRTIO_MMIO_STATUS, 0);
	CHECK(agrees() && !seen(VIRTIO_MMIO_STATUS));
}

static void a_change_of_configuration_shows(void)
{
	uint32_t generation;

	start();
	CHECK(driver_start(dev, 0, 8));
	CHECK(seen(VIRTIO_MMIO_INTERRUPT_STATUS) == VIRTIO_MMIO_INT_VRING);
	generation = seen(VIRTIO_MMIO_CONFIG_GENERATION);
	CHECK(page[VIRTIO_MMIO_CONFIG + 6] == 1);
	close(peer);
	loop_once(&loop, 1000);
	loop_once(&loop, 0);
	CHECK(page[VIRTIO_MMIO_CONFIG + 6] == 0); /* the link is down */
	CHECK(seen(VIRTIO_MMIO_CONFIG_GENERATION) != generation && agrees());
	CHECK(seen(VIRTIO_MMIO_INTERRUPT_STATUS) == 3);
	reg_write(dev, VIRTIO_MMIO_INTERRUPT_ACK, 3);
	CHECK(seen(VIRTIO_MMIO_INTERRUPT_STATUS) == VIRTIO_MMIO_INT_VRING && agrees());
}

static void a_broken_device_asks_for_a_reset(void)
{
	start();
	CHECK(driver_start(dev, 0, 8));
	set_desc(&mem, 1, 0, MIB(64), 60, 0, 0);
	offer(&mem, 1, 8, 0);
	reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 1);
	CHECK(seen(VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
	CHECK(agrees());
}

static const struct unit_test tests[] = {
	TEST(the_page_follows_every_write),
	TEST(a_change_of_configuration_shows),
	TEST(a_broken_device_asks_for_a_reset),
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return run_units(argc, argv, tests);
}
