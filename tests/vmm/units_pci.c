// SPDX-License-Identifier: Apache-2.0
/* Unit tests of the virtio PCI transport: what a driver finds, and what a hostile one tries. */
#include <linux/virtio_net.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bus.h"
#include "log.h"
#include "pci_driver.h"
#include "snapshot/format.h"
#include "units.h"
#include "virtio/net.h"

#define SIZE   8
#define HEADER 12
#define BUFFER 0x400000ull

static struct virtio_pci pci;
static struct bus ports, mmio;
static int peer;

static void start(uint64_t features)
{
	static struct net_config cfg = {.mac = {2, 1, 2, 3, 4, 5}};
	static const int no_vm = -1;
	struct virtio_dev *dev;
	int ends[2];

	setup(MIB(16));
	log_open("/dev/null");
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends) == 0);
	peer = ends[1];
	dev = net_create_fds(&mem, &loop, ends, &cfg, &err);
	CHECK(dev);
	CHECK(virtio_pci_attach(&pci, dev, &no_vm, &ports, &mmio) == 0);
	CHECK(pci_start(&pci, features, SIZE));
}

static void settle(void)
{
	struct epoll_event event;
	unsigned int rounds;

	for (rounds = 0; rounds < 1000 && epoll_wait(loop.epoll_fd, &event, 1, 0) > 0; rounds++)
		loop_once(&loop, 0);
	CHECK(rounds < 1000);
}

static void the_bus_has_one_function(void)
{
	uint32_t bdf, address, value;

	start(0);
	CHECK(config_read(&pci, PCI_VENDOR_ID, 4) == 0x10411af4);
	CHECK(config_read(&pci, PCI_CLASS_DEVICE, 2) == 0x0200);
	CHECK(config_read(&pci, PCI_HEADER_TYPE, 1) == 0);
	CHECK(config_read(&pci, PCI_INTERRUPT_LINE, 2) == 0x010b);
	CHECK(config_read(&pci, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST);
	for (bdf = 1; bdf < 0x10000; bdf++) { /* all other functions of 256 buses */
		address = 0x80000000u | bdf << 8;
		virtio_pci_address(&pci, 0, true, (uint8_t *)&address, 4);
		virtio_pci_data(&pci, 0, false, (uint8_t *)&value, 4);
		CHECK(value == UINT32_MAX);
	}
	address = 0; /* bit 31 is clear: no access is meant */
	virtio_pci_address(&pci, 0, true, (uint8_t *)&address, 4);
	virtio_pci_data(&pci, 0, false, (uint8_t *)&value, 4);
	CHECK(value == UINT32_MAX);
	CHECK(bus_find(&ports, 0xcf8, 4) && bus_find(&ports, 0xcff, 1) &&
	      !bus_find(&ports, 0xcfe, 4) && bus_find(&mmio, PCI_WINDOW_GPA, 8));
}

/* As pci_types does it: all ones, and what stays 0 is the size. */
static void the_window_has_a_size(void)
{
	uint64_t before, size;

	start(0);
	before = config_read(&pci, PCI_BASE_ADDRESS_0, 4) |
		 (uint64_t)config_read(&pci, PCI_BASE_ADDRESS_1, 4) << 32;
	CHECK(before == (PCI_WINDOW_GPA | 0xc)); /* 64 bits, prefetchable */
	config_write(&pci, PCI_BASE_ADDRESS_0, UINT32_MAX, 4);
	config_write(&pci, PCI_BASE_ADDRESS_1, UINT32_MAX, 4);
	size = config_read(&pci, PCI_BASE_ADDRESS_0, 4) |
	       (uint64_t)config_read(&pci, PCI_BASE_ADDRESS_1, 4) << 32;
	CHECK(~(size & ~15ull) + 1 == PCI_WINDOW_BYTES);
	config_write(&pci, PCI_BASE_ADDRESS_0, (uint32_t)before, 4);
	config_write(&pci, PCI_BASE_ADDRESS_1, before >> 32, 4);
	CHECK(config_read(&pci, PCI_BASE_ADDRESS_0, 4) == (uint32_t)before);
	CHECK(config_read(&pci, PCI_BASE_ADDRESS_2, 4) == 0);
	config_write(&pci, PCI_BASE_ADDRESS_2, UINT32_MAX, 4);
	CHECK(config_read(&pci, PCI_BASE_ADDRESS_2, 4) == 0);
}

static void capabilities_lead_to_every_structure(void)
{
	unsigned int at = config_read(&pci, PCI_CAPABILITY_LIST, 1), seen = 0, steps, type;
	uint32_t offset, length;

	start(0);
	at = config_read(&pci, PCI_CAPABILITY_LIST, 1);
	for (steps = 0; at && steps < 48; steps++, at = config_read(&pci, at + 1, 1)) {
		CHECK(at % 4 == 0 && config_read(&pci, at, 1) == PCI_CAP_ID_VNDR);
		type = config_read(&pci, at + VIRTIO_PCI_CAP_CFG_TYPE, 1);
		offset = config_read(&pci, at + VIRTIO_PCI_CAP_OFFSET, 4);
		length = config_read(&pci, at + VIRTIO_PCI_CAP_LENGTH, 4);
		CHECK(config_read(&pci, at + VIRTIO_PCI_CAP_BAR, 1) == 0);
		CHECK(offset + length <= PCI_WINDOW_BYTES && !(seen >> type & 1));
		seen |= 1u << type;
		if (type == VIRTIO_PCI_CAP_NOTIFY_CFG)
			CHECK(config_read(&pci, at + VIRTIO_PCI_NOTIFY_CAP_MULT, 4) == 4 &&
			      length >= 3 * 4);
		/* What the driver of Hermit's kernel wants at least. */
		if (type == VIRTIO_PCI_CAP_COMMON_CFG)
			CHECK(length >= 60);
		if (type == VIRTIO_PCI_CAP_DEVICE_CFG)
			CHECK(length >= 24 && window_read(&pci, offset, 4) == 0x03020102);
	}
	CHECK(at == 0 && seen == 0x3e);
}

/* 4.1.4.9: the same structures without touching the window. */
static void the_window_is_reached_through_configuration_space(void)
{
	unsigned int at = 0x84;

	start(0);
	CHECK(config_read(&pci, at + VIRTIO_PCI_CAP_CFG_TYPE, 1) == VIRTIO_PCI_CAP_PCI_CFG);
	config_write(&pci, at + VIRTIO_PCI_CAP_OFFSET, VIRTIO_PCI_COMMON_NUMQ, 4);
	config_write(&pci, at + VIRTIO_PCI_CAP_LENGTH, 2, 4);
	CHECK(config_read(&pci, at + 16, 2) == 3);
	config_write(&pci, at + VIRTIO_PCI_CAP_OFFSET, VIRTIO_PCI_COMMON_STATUS, 4);
	config_write(&pci, at + VIRTIO_PCI_CAP_LENGTH, 1, 4);
	config_write(&pci, at + 16, 0, 1);
	CHECK(common_read(&pci, VIRTIO_PCI_COMMON_STATUS, 1) == 0);
	/* Lengths and offsets that cannot be. */
	config_write(&pci, at + 16, 0x12345678, 4);
	config_write(&pci, at + VIRTIO_PCI_CAP_LENGTH, UINT32_MAX, 4);
	(void)config_read(&pci, at + 16, 4);
	config_write(&pci, at + VIRTIO_PCI_CAP_LENGTH, 4, 4);
	config_write(&pci, at + VIRTIO_PCI_CAP_OFFSET, PCI_WINDOW_BYTES - 2, 4);
	(void)config_read(&pci, at + 16, 4);
	config_write(&pci, at + VIRTIO_PCI_CAP_OFFSET, UINT32_MAX - 3, 4);
	(void)config_read(&pci, at + 16, 4);
	config_write(&pci, at + VIRTIO_PCI_CAP_BAR, 5, 1);
	config_write(&pci, at + 16, UINT32_MAX, 4);
	CHECK(config_read(&pci, at + 16, 4) == UINT32_MAX);
}

static void odd_accesses_find_nothing(void)
{
	uint8_t data[8];
	unsigned int at, len;
	uint32_t address = 0x800000fc;

	start(0);
	for (at = 0; at < 4; at++) {
		for (len = 1; len <= 4; len *= 2) {
			virtio_pci_address(&pci, at, true, memset(data, 0, 8), len > 2 ? 2 : len);
			virtio_pci_address(&pci, at, false, data, len > 2 ? 2 : len);
			CHECK(data[0] == 0xff);
		}
	}
	/* The last bytes of configuration space, and past them. */
	virtio_pci_address(&pci, 0, true, (uint8_t *)&address, 4);
	for (at = 0; at < 4; at++)
		for (len = 1; len <= 4; len *= 2)
			virtio_pci_data(&pci, at, false, data, len);
	/* Registers that lie apart in one read, and writes that straddle. */
	CHECK((window_read(&pci, VIRTIO_PCI_COMMON_NUMQ, 4) & 0xffff) == 3);
	CHECK(window_read(&pci, VIRTIO_PCI_COMMON_MSIX + 1, 2) == 0x03ff);
	for (at = 0; at < PCI_WINDOW_BYTES; at++) {
		for (len = 1; len <= 8 && at + len <= PCI_WINDOW_BYTES; len *= 2) {
			(void)window_read(&pci, at, len);
			window_write(&pci, at, 0xa5a5a5a5a5a5a5a5ull, len);
		}
	}
	common_write(&pci, VIRTIO_PCI_COMMON_STATUS, 0, 1);
	CHECK(common_read(&pci, VIRTIO_PCI_COMMON_STATUS, 1) == 0);
	CHECK(pci_start(&pci, 0, SIZE));
}

static void queues_are_what_the_driver_says(void)
{
	start(0);
	common_write(&pci, VIRTIO_PCI_COMMON_STATUS, 0, 1);
	common_write(&pci, VIRTIO_PCI_COMMON_Q_SELECT, 1, 2);
	CHECK(common_read(&pci, VIRTIO_PCI_COMMON_Q_SIZE, 2) == 256);
	CHECK(common_read(&pci, VIRTIO_PCI_COMMON_Q_NOFF, 2) == 1);
	CHECK(common_read(&pci, VIRTIO_PCI_COMMON_Q_MSIX, 2) == 0xffff);
	common_write(&pci, VIRTIO_PCI_COMMON_Q_SIZE, 16, 2);
	common_write(&pci, VIRTIO_PCI_COMMON_Q_USEDHI, 7, 4);
	CHECK(common_read(&pci, VIRTIO_PCI_COMMON_Q_SIZE, 2) == 16);
	CHECK(common_read(&pci, VIRTIO_PCI_COMMON_Q_USEDHI, 4) == 7);
	common_write(&pci, VIRTIO_PCI_COMMON_Q_ENABLE, 1, 2); /* before FEATURES_OK */
	CHECK(common_read(&pci, VIRTIO_PCI_COMMON_Q_ENABLE, 2) == 0);
	common_write(&pci, VIRTIO_PCI_COMMON_Q_SELECT, 0xffff, 2); /* 4.1.4.3.1: none such */
	CHECK(common_read(&pci, VIRTIO_PCI_COMMON_Q_SIZE, 2) == 0);
	common_write(&pci, VIRTIO_PCI_COMMON_Q_SIZE, 16, 2);
	common_write(&pci, VIRTIO_PCI_COMMON_Q_ENABLE, 1, 2);
	CHECK(common_read(&pci, VIRTIO_PCI_COMMON_Q_ENABLE, 2) == 0);
	CHECK(pci_start(&pci, 0, SIZE));
	common_write(&pci, VIRTIO_PCI_COMMON_Q_SELECT, 0, 2);
	common_write(&pci, VIRTIO_PCI_COMMON_Q_ENABLE, 0, 2);
	CHECK(common_read(&pci, VIRTIO_PCI_COMMON_Q_ENABLE, 2) == 1);
}

static void packets_go_both_ways(void)
{
	uint8_t packet[HEADER + 60] = {0}, back[200];

	start(0);
	packet[HEADER] = 7;
	CHECK(!memory_write(&mem, BUFFER, packet, sizeof(packet)));
	set_desc(&mem, 1, 0, BUFFER, sizeof(packet), 0, 0);
	offer(&mem, 1, SIZE, 0);
	window_write(&pci, PCI_NOTIFY_AT + 4, 1, 4); /* KVM takes those of 16 bits itself */
	settle();
	CHECK(recv(peer, back, sizeof(back), 0) == sizeof(packet) && back[HEADER] == 7);
	CHECK(window_read(&pci, PCI_ISR_AT, 1) == 1 && window_read(&pci, PCI_ISR_AT, 1) == 0);

	set_desc(&mem, 0, 0, BUFFER, 2000, VRING_DESC_F_WRITE, 0);
	offer(&mem, 0, SIZE, 0);
	window_write(&pci, PCI_NOTIFY_AT, 0, 4);
	settle();
	CHECK(send(peer, packet, sizeof(packet), 0) == sizeof(packet));
	settle();
	CHECK(used_length(&mem, 0, SIZE) == sizeof(packet));
	CHECK(window_read(&pci, PCI_ISR_AT, 1) == 1);
	window_write(&pci, PCI_NOTIFY_AT + 4 * 1000, 0, 2); /* a queue that is not there */
	settle();
}

static void a_reset_of_the_machine_forgets_the_driver(void)
{
	start(0);
	config_write(&pci, PCI_BASE_ADDRESS_0, 0, 4);
	config_write(&pci, PCI_INTERRUPT_LINE, 3, 1);
	virtio_reset(pci.dev);
	virtio_pci_reset(&pci);
	CHECK(config_read(&pci, PCI_BASE_ADDRESS_0, 4) == (uint32_t)(PCI_WINDOW_GPA | 0xc));
	CHECK(config_read(&pci, PCI_INTERRUPT_LINE, 1) == PCI_GSI);
	CHECK(common_read(&pci, VIRTIO_PCI_COMMON_STATUS, 1) == 0);
}

static void a_snapshot_holds_what_the_driver_wrote(void)
{
	static const uint8_t id[SNAP_ID];
	struct snap_out o;
	struct snap_in in;
	uint8_t *at;

	start(0);
	config_write(&pci, PCI_INTERRUPT_LINE, 5, 1);
	config_write(&pci, PCI_BASE_ADDRESS_0, UINT32_MAX, 4);
	snap_create(&o, id);
	snap_begin(&o, SNAP_DEVICE, 0);
	virtio_pci_save(&pci, &o);
	snap_end(&o);
	CHECK(snap_finish(&o) == 0);
	virtio_pci_reset(&pci);
	/* Of a file that somebody has changed nothing is taken but that. */
	CHECK(snap_find(o.data, SNAP_DEVICE, 0, &in));
	at = o.data + (in.data - o.data) + 4;
	memset(at, 0xff, 4);
	at[PCI_CAPABILITY_LIST] = 0;
	CHECK(virtio_pci_load(&pci, &in) == 0 && in.len == 0);
	CHECK(pci.address == 0x80000010u && config_read(&pci, PCI_INTERRUPT_LINE, 1) == 5);
	CHECK(config_read(&pci, PCI_BASE_ADDRESS_0, 4) == (~(PCI_WINDOW_BYTES - 1) | 0xc));
	CHECK(config_read(&pci, PCI_VENDOR_ID, 4) == 0x10411af4);
	CHECK(config_read(&pci, PCI_CAPABILITY_LIST, 1) == 0x40);
	CHECK(snap_find(o.data, SNAP_DEVICE, 0, &in));
	in.len = 100;
	CHECK(virtio_pci_load(&pci, &in) == -1);
	snap_discard(&o);
}

static const struct unit_test tests[] = {
	TEST(the_bus_has_one_function),
	TEST(the_window_has_a_size),
	TEST(capabilities_lead_to_every_structure),
	TEST(the_window_is_reached_through_configuration_space),
	TEST(odd_accesses_find_nothing),
	TEST(queues_are_what_the_driver_says),
	TEST(packets_go_both_ways),
	TEST(a_reset_of_the_machine_forgets_the_driver),
	TEST(a_snapshot_holds_what_the_driver_wrote),
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return run_units(argc, argv, tests);
}
