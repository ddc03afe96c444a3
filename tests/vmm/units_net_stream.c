// SPDX-License-Identifier: Apache-2.0
/* Unit tests of the network device over a stream (passt's protocol). */
#include "net_fixture.h"

static void send_frame(size_t len, uint8_t seed)
{
	static uint8_t bytes[70000];
	uint32_t be = htonl(len);
	size_t i;

	memcpy(bytes, &be, 4);
	for (i = 0; i < len; i++)
		bytes[4 + i] = (HEADER + i) * 7 + seed;
	CHECK(send(peer, bytes, 4 + len, 0) == (ssize_t)(4 + len));
}

static void stream_frames_arrive_in_any_pieces(void)
{
	static struct net_config cfg;
	struct virtio_dev *dev = open_net(&cfg, MRG, SOCK_STREAM);
	uint8_t bytes[4 + 300] = {0, 0, 1, 44};
	unsigned int i;

	for (i = 0; i < SIZE; i++)
		offer_buffer(dev, i, 0x8000);
	send_frame(100, 1); /* several at once */
	send_frame(60, 2);
	send_frame(40000, 3);
	settle();
	CHECK(used_index(&mem, 0) == 4 && num_buffers(2) == 2);
	CHECK(holds(0, 0, HEADER + 100, 1) && holds(1, 0, HEADER + 60, 2));
	CHECK(holds(2, 0, 0x8000, 3) && holds(3, 0x8000, HEADER + 40000 - 0x8000, 3));
	for (i = 0; i < 300; i++) /* and one byte by byte */
		bytes[4 + i] = (HEADER + i) * 7 + 9;
	for (i = 0; i < sizeof(bytes); i++) {
		CHECK(used_index(&mem, 0) == 4 && send(peer, bytes + i, 1, 0) == 1);
		settle();
	}
	CHECK(used_index(&mem, 0) == 5 && used_length(&mem, 0, SIZE) == HEADER + 300);
	CHECK(holds(4, 0, HEADER + 300, 9));
}

static void stream_keeps_frames_until_there_are_buffers(void)
{
	static struct net_config cfg;
	struct virtio_dev *dev = open_net(&cfg, 1ull << VIRTIO_RING_F_EVENT_IDX, SOCK_STREAM);
	unsigned int i;

	for (i = 0; i < SIZE; i++)
		send_frame(60, i);
	settle();
	for (i = 0; i < SIZE; i++) {
		offer_buffer(dev, i, 1526);
		CHECK(used_index(&mem, 0) == i + 1 && holds(i, 0, HEADER + 60, i));
	}
}

static void stream_sends_whole_frames_to_a_slow_peer(void)
{
	static struct net_config cfg;
	struct virtio_dev *dev = open_net(&cfg, 0, SOCK_STREAM);
	static uint8_t got[1 << 21];
	unsigned int sent = 0, i;
	size_t have = 0, at = 0;
	uint32_t len;
	ssize_t n;

	memset(memory_at(&mem, 0x300000, 0xf000), 0x5a, 0xf000);
	/* Header and frame in one buffer, and in two. */
	set_desc(&mem, 1, 0, 0x300000, 0xf000, 0, 0);
	set_desc(&mem, 1, 1, 0x300000, HEADER, VRING_DESC_F_NEXT, 2);
	set_desc(&mem, 1, 2, 0x300000 + HEADER, 0xf000 - HEADER, 0, 0);
	while (at < 30 * (0xf000u - HEADER + 4)) {
		while (sent < 30 && (uint16_t)(sent - used_index(&mem, 1)) < 2) {
			offer(&mem, 1, SIZE, sent++ & 1);
			reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 1);
			if (used_index(&mem, 1) < sent)
				break; /* the socket is full: now the peer reads a little */
		}
		n = recv(peer, got + have, 5000, 0);
		CHECK(n > 0 || sent < 30 || used_index(&mem, 1) <= 30);
		have += n > 0 ? n : 0;
		at = have;
		settle();
	}
	CHECK(used_index(&mem, 1) == 30 && have == 30 * (0xf000u - HEADER + 4));
	for (at = 0, i = 0; i < 30; i++, at += 4 + len) {
		memcpy(&len, got + at, 4);
		len = ntohl(len);
		CHECK(len == 0xf000 - HEADER && got[at + 4] == 0x5a && got[at + 3 + len] == 0x5a);
	}
}

static void stream_with_nonsense_ends_the_link(void)
{
	static const uint8_t lengths[][4] = {
		{0, 0, 0, 0}, {0, 0, 0, 13}, {0, 1, 0, 18}, {255, 255, 255, 255}};
	static struct net_config cfg;
	struct virtio_dev *dev;
	uint16_t status;
	unsigned int i;

	for (i = 0; i < 4; i++) {
		dev = open_net(&cfg, 0, SOCK_STREAM);
		memset(memory_at(&mem, RING_GPA(0), 0x10000), 0, 0x10000);
		offer_buffer(dev, 0, 1526);
		CHECK(send(peer, lengths[i], 4, 0) == 4);
		settle();
		virtio_mmio_access(dev, VIRTIO_MMIO_CONFIG + 6, false, (uint8_t *)&status, 2);
		CHECK(!(status & VIRTIO_NET_S_LINK_UP) && used_index(&mem, 0) == 0);
		dev->ops->destroy(dev);
	}
}

static void stream_outlives_its_peer(void)
{
	static struct net_config cfg;
	struct virtio_dev *dev = open_net(&cfg, 0, SOCK_STREAM);
	uint16_t status;

	close(peer);
	settle();
	virtio_mmio_access(dev, VIRTIO_MMIO_CONFIG + 6, false, (uint8_t *)&status, 2);
	CHECK(!(status & VIRTIO_NET_S_LINK_UP));
	set_desc(&mem, 1, 0, 0x200000, 60, 0, 0);
	offer(&mem, 1, SIZE, 0);
	reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 1);
	CHECK(used_index(&mem, 1) == 1 && net_get_stats(dev)->tx_dropped == 1);
}

static const struct unit_test tests[] = {
	TEST(stream_frames_arrive_in_any_pieces),
	TEST(stream_keeps_frames_until_there_are_buffers),
	TEST(stream_sends_whole_frames_to_a_slow_peer),
	TEST(stream_with_nonsense_ends_the_link),
	TEST(stream_outlives_its_peer),
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return run_units(argc, argv, tests);
}
