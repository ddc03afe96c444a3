// SPDX-License-Identifier: Apache-2.0
/* Unit tests of the network device, against socket pairs. */
#include "net_fixture.h"

static void moves_packets_both_ways(void)
{
	struct virtio_dev *dev = start_net(0);
	uint8_t packet[60] = {0};

	set_desc(&mem, 1, 0, 0x200000, 60, 0, 0);
	memset(memory_at(&mem, 0x200000, 60), 7, 60);
	offer(&mem, 1, SIZE, 0);
	reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 1);
	CHECK(recv(peer, packet, sizeof(packet), 0) == 60 && packet[59] == 7);
	/* A packet that waits before there is a buffer must arrive once there is one. */
	send_packet(50, 3);
	offer_buffer(dev, 0, 1526);
	CHECK(used_index(&mem, 0) == 1 && used_length(&mem, 0, SIZE) == 50);
	CHECK(holds(0, 0, 50, 3) && num_buffers(0) == 1);
}

static void survives_the_loss_of_its_tap(void)
{
	struct virtio_dev *dev = start_net(0);
	struct epoll_event event;
	uint16_t status = 0xee;

	close(peer);
	loop_once(&loop, 1000);
	/* The descriptor reports an error for ever: it must not keep the loop awake. */
	CHECK(epoll_wait(loop.epoll_fd, &event, 1, 0) == 0);
	virtio_mmio_access(dev, VIRTIO_MMIO_CONFIG + 6, false, (uint8_t *)&status, 2);
	CHECK(status == 0 && (reg_read(dev, VIRTIO_MMIO_INTERRUPT_STATUS) & 2));
	set_desc(&mem, 1, 0, 0x200000, 60, 0, 0);
	offer(&mem, 1, SIZE, 0);
	reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 1);
	reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	CHECK(used_index(&mem, 1) == 1); /* sent into the void, and given back */
	reg_write(dev, VIRTIO_MMIO_STATUS, 0);
	dev->ops->destroy(dev);
}

static void sends_no_impossible_frame(void)
{
	struct virtio_dev *dev = start_net(0);
	unsigned int i;
	uint8_t byte;

	for (i = 0; i < 6; i++) /* 48 MiB in one chain */
		set_desc(&mem, 1, i, 0, MIB(8), i < 5 ? VRING_DESC_F_NEXT : 0, i + 1);
	offer(&mem, 1, SIZE, 0);
	set_desc(&mem, 1, 6, 0, HEADER, 0, 0); /* a header alone */
	offer(&mem, 1, SIZE, 6);
	set_desc(&mem, 1, 7, 0, HEADER + 13, 0, 0); /* less than Ethernet's header */
	offer(&mem, 1, SIZE, 7);
	reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 1);
	CHECK(used_index(&mem, 1) == 3 && net_get_stats(dev)->tx_dropped == 3);
	CHECK(recv(peer, &byte, 1, 0) < 0);
}

static void waits_for_buffers_without_spinning(void)
{
	struct virtio_dev *dev = start_net(1ull << VIRTIO_RING_F_EVENT_IDX);
	unsigned int i, round;

	for (i = 0; i < 100; i++)
		send_packet(60, i);
	/* Eight buffers at a time for a hundred packets: each comes once and in its order. */
	for (i = 0, round = 0; i < 100; round++) {
		CHECK(round < 20);
		for (unsigned int n = 0; n < SIZE; n++) {
			set_desc(&mem, 0, n, BUFFER(n), 1526, VRING_DESC_F_WRITE, 0);
			offer(&mem, 0, SIZE, n);
		}
		reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
		settle();
		for (; i < used_index(&mem, 0); i++)
			CHECK(holds(i % SIZE, 0, 60, i));
		CHECK(i == 100 || i == SIZE * (round + 1));
	}
}

static void merges_buffers(void)
{
	struct virtio_dev *dev = start_net(MRG);

	offer_buffer(dev, 0, 100);
	offer_buffer(dev, 1, 1000);
	offer_buffer(dev, 2, 2000);
	send_packet(2500, 1);
	CHECK(used_index(&mem, 0) == 3 && num_buffers(0) == 3);
	CHECK(holds(0, 0, 100, 1) && holds(1, 100, 1000, 1) && holds(2, 1100, 1400, 1));
	CHECK(used_length(&mem, 0, SIZE) == 1400);
	/* One that fits takes one only. */
	offer_buffer(dev, 3, 1000);
	offer_buffer(dev, 4, 1000);
	send_packet(1000, 2);
	CHECK(used_index(&mem, 0) == 4 && num_buffers(3) == 1 && holds(3, 0, 1000, 2));
}

/* With too few buffers the packet waits, and nothing of it is shown before all of it is there. */
static void holds_a_packet_until_it_fits(void)
{
	struct virtio_dev *dev = start_net(MRG | 1ull << VIRTIO_RING_F_EVENT_IDX);
	unsigned int i;

	offer_buffer(dev, 0, 1000);
	send_packet(5500, 9);
	CHECK(used_index(&mem, 0) == 0);
	send_packet(600, 4); /* the next one stays behind it */
	for (i = 1; i < 5; i++) {
		offer_buffer(dev, i, 1000);
		CHECK(used_index(&mem, 0) == 0);
	}
	offer_buffer(dev, 5, 1000);
	CHECK(used_index(&mem, 0) == 6 && num_buffers(0) == 6);
	for (i = 0; i < 5; i++)
		CHECK(holds(i, 1000 * i, 1000, 9));
	CHECK(holds(5, 5000, 500, 9));
	offer_buffer(dev, 6, 1000);
	CHECK(used_index(&mem, 0) == 7 && holds(6, 0, 600, 4));
}

/* A ring whose buffers together are too small must not stop the queue for ever. */
static void drops_what_can_never_fit(void)
{
	struct virtio_dev *dev = start_net(MRG);
	unsigned int i;

	send_packet(9000, 1);
	send_packet(50, 2);
	for (i = 0; i < SIZE; i++)
		offer_buffer(dev, i, 64);
	CHECK(net_get_stats(dev)->rx_dropped == 1);
	CHECK(used_index(&mem, 0) == 1 && holds(0, 0, 50, 2));
	/* Without merging it has to be one buffer. */
	driver_start(dev, 0, SIZE);
	memset(memory_at(&mem, RING_GPA(0), 0x10000), 0, 0x10000);
	offer_buffer(dev, 0, 1000);
	offer_buffer(dev, 1, 1000);
	send_packet(1500, 1);
	CHECK(used_index(&mem, 0) == 0 && net_get_stats(dev)->rx_dropped == 2);
	send_packet(1000, 5);
	CHECK(used_index(&mem, 0) == 1 && holds(0, 0, 1000, 5));
}

static void a_short_receive_buffer_breaks_the_device(void)
{
	struct virtio_dev *dev = start_net(MRG);

	offer_buffer(dev, 0, HEADER + 13);
	send_packet(60, 1);
	CHECK(reg_read(dev, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
	memset(memory_at(&mem, RING_GPA(0), 0x10000), 0, 0x10000);
	CHECK(driver_start(dev, MRG, SIZE));
	offer_buffer(dev, 1, 100);
	send_packet(60, 2);
	CHECK(used_index(&mem, 0) >= 1);
}

/* A reset forgets a packet that waited: the next driver must not see the old one's half. */
static void a_reset_forgets_what_was_held(void)
{
	struct virtio_dev *dev = start_net(MRG);

	offer_buffer(dev, 0, 1000);
	send_packet(1500, 1);
	CHECK(used_index(&mem, 0) == 0);
	memset(memory_at(&mem, RING_GPA(0), 0x10000), 0, 0x10000);
	CHECK(driver_start(dev, MRG, SIZE));
	offer_buffer(dev, 0, 1000);
	CHECK(used_index(&mem, 0) == 0);
	send_packet(80, 6);
	CHECK(used_index(&mem, 0) == 1 && holds(0, 0, 80, 6));
}

/* --- control queue --- */

/* Sends a command of `len` bytes through queue q; returns the answer, 0xee when there is none. */
static uint8_t command(struct virtio_dev *dev, unsigned int q, const void *bytes, uint32_t len)
{
	uint8_t *ack = memory_at(&mem, 0x220000, 1);

	*ack = 0xee;
	CHECK(memory_write(&mem, 0x210000, bytes, len) == 0);
	set_desc(&mem, q, 0, 0x210000, len, VRING_DESC_F_NEXT, 1);
	set_desc(&mem, q, 1, 0x220000, 1, VRING_DESC_F_WRITE, 0);
	offer(&mem, q, SIZE, 0);
	reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, q);
	settle();
	return *ack;
}

static void control_commands_are_checked(void)
{
	struct virtio_dev *dev = start_net(CTRL | 1ull << VIRTIO_NET_F_CTRL_MAC_ADDR);
	uint8_t table[2 + 4 + 6 * 300 + 4] = {VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET};
	uint8_t mac[6];
	uint32_t n;

	CHECK(command(dev, 2, "\0\0\1", 3) == VIRTIO_NET_OK);
	CHECK(command(dev, 2, "\0\0\2", 3) == VIRTIO_NET_ERR);
	CHECK(command(dev, 2, "\0\0", 2) == VIRTIO_NET_ERR);
	CHECK(command(dev, 2, "\0\0\1\1", 4) == VIRTIO_NET_ERR);
	CHECK(command(dev, 2, "\0", 1) == VIRTIO_NET_ERR);
	CHECK(command(dev, 2, "\0\7\1", 3) == VIRTIO_NET_ERR);
	CHECK(command(dev, 2, "\377\0\1", 3) == VIRTIO_NET_ERR);
	/* Pairs and offloads were not negotiated. */
	CHECK(command(dev, 2, "\4\0\1\0", 4) == VIRTIO_NET_ERR);
	CHECK(command(dev, 2, "\5\0\0\0\0\0\0\0\0\0", 10) == VIRTIO_NET_ERR);
	/* Tables: empty; one that claims more than it has; and more than we keep. */
	CHECK(command(dev, 2, table, 2 + 8) == VIRTIO_NET_OK);
	CHECK(command(dev, 2, table, 2 + 7) == VIRTIO_NET_ERR);
	n = 2;
	memcpy(table + 2, &n, 4);
	CHECK(command(dev, 2, table, 2 + 4 + 6 + 4) == VIRTIO_NET_ERR);
	n = UINT32_MAX;
	memcpy(table + 2, &n, 4);
	CHECK(command(dev, 2, table, sizeof(table)) == VIRTIO_NET_ERR);
	n = 300;
	memcpy(table + 2, &n, 4);
	CHECK(command(dev, 2, table, sizeof(table)) == VIRTIO_NET_OK);
	/* An own address; a group's is refused; a reset brings the configured one back. */
	CHECK(command(dev, 2, "\1\1\2\11\12\13\14\15", 8) == VIRTIO_NET_OK);
	virtio_mmio_access(dev, VIRTIO_MMIO_CONFIG, false, mac, 4);
	CHECK(mac[0] == 2 && mac[1] != 1);
	CHECK(command(dev, 2, "\1\1\3\11\12\13\14\15", 8) == VIRTIO_NET_ERR);
	CHECK(command(dev, 2, "\1\1\2\1\1\1\1", 7) == VIRTIO_NET_ERR);
	reg_write(dev, VIRTIO_MMIO_STATUS, 0);
	virtio_mmio_access(dev, VIRTIO_MMIO_CONFIG, false, mac, 4);
	CHECK(mac[0] == 2 && mac[1] == 1);
}

static void an_answer_needs_room(void)
{
	struct virtio_dev *dev = start_net(CTRL);

	CHECK(memory_write(&mem, 0x210000, "\0\0\1", 3) == 0);
	set_desc(&mem, 2, 0, 0x210000, 3, 0, 0); /* nowhere to answer */
	offer(&mem, 2, SIZE, 0);
	set_desc(&mem, 2, 1, 0x220000, 1, VRING_DESC_F_WRITE, 0); /* nothing asked */
	offer(&mem, 2, SIZE, 1);
	reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 2);
	settle();
	CHECK(used_index(&mem, 2) == 2);
	CHECK(*(uint8_t *)memory_at(&mem, 0x220000, 1) == VIRTIO_NET_ERR);
	CHECK(!(reg_read(dev, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET));
}

static void several_pairs_carry_packets(void)
{
	static struct net_config cfg = {.pairs = 2};
	struct virtio_dev *dev = open_net(&cfg, CTRL | MQ, SOCK_SEQPACKET);
	uint8_t packet[60] = {0};
	uint16_t pairs = 0;

	virtio_mmio_access(dev, VIRTIO_MMIO_CONFIG + 8, false, (uint8_t *)&pairs, 2);
	CHECK(pairs == 2);
	CHECK(command(dev, 4, "\4\0\3\0", 4) == VIRTIO_NET_ERR);
	CHECK(command(dev, 4, "\4\0\0\0", 4) == VIRTIO_NET_ERR);
	CHECK(command(dev, 4, "\4\0\2\0", 4) == VIRTIO_NET_OK);
	set_desc(&mem, 3, 0, 0x200000, 60, 0, 0);
	offer(&mem, 3, SIZE, 0);
	reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 3);
	CHECK(recv(peer2, packet, sizeof(packet), 0) == 60 && recv(peer, packet, 60, 0) < 0);
	set_desc(&mem, 2, 0, BUFFER(0), 1526, VRING_DESC_F_WRITE, 0);
	offer(&mem, 2, SIZE, 0);
	reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 2);
	CHECK(send(peer2, packet, sizeof(packet), 0) == sizeof(packet));
	settle();
	CHECK(used_index(&mem, 2) == 1 && used_length(&mem, 2, SIZE) == 60);
}

/* --- rate limits --- */

static void limits_packets_of_each_direction(void)
{
	static struct net_config cfg = {.tx = {.ops = 10, .ops_burst = 3},
					.rx = {.bytes = 1000, .bytes_burst = 100}};
	struct virtio_dev *dev = open_net(&cfg, 0, SOCK_SEQPACKET);
	unsigned int i;

	for (i = 0; i < SIZE; i++) {
		set_desc(&mem, 1, i, 0x200000, 60, 0, 0);
		offer(&mem, 1, SIZE, i);
	}
	reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 1);
	CHECK(used_index(&mem, 1) == 3);
	while (used_index(&mem, 1) < SIZE) /* a packet each tenth of a second */
		loop_once(&loop, 5000);
	CHECK(net_get_stats(dev)->tx_packets == SIZE && !net_get_stats(dev)->tx_dropped);
	for (i = 0; i < SIZE; i++)
		offer_buffer(dev, i, 1526);
	for (i = 0; i < 4; i++)
		send_packet(HEADER + 100, i);
	CHECK(used_index(&mem, 0) < 4);
	while (used_index(&mem, 0) < 4)
		loop_once(&loop, 5000);
	CHECK(holds(3, 0, HEADER + 100, 3));
}

static const struct unit_test tests[] = {
	TEST(moves_packets_both_ways),
	TEST(survives_the_loss_of_its_tap),
	TEST(sends_no_impossible_frame),
	TEST(waits_for_buffers_without_spinning),
	TEST(merges_buffers),
	TEST(holds_a_packet_until_it_fits),
	TEST(drops_what_can_never_fit),
	TEST(a_short_receive_buffer_breaks_the_device),
	TEST(a_reset_forgets_what_was_held),
	TEST(control_commands_are_checked),
	TEST(an_answer_needs_room),
	TEST(several_pairs_carry_packets),
	TEST(limits_packets_of_each_direction),
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return run_units(argc, argv, tests);
}
