// SPDX-License-Identifier: Apache-2.0
/*
 * The network device over the real passt(1), started as `--net passt` does: a guest's ARP
 * request is answered.  Without passt on PATH it only says so; test_vmm.py fetches it.
 */
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/virtio_net.h>
#include <sys/wait.h>
#include <unistd.h>

#include "log.h"
#include "units.h"
#include "virtio/net.h"

#define HEADER 12
#define SIZE   8

struct __attribute__((packed)) arp {
	uint8_t to[6], from[6];
	uint16_t type, hardware, protocol;
	uint8_t hlen, plen;
	uint16_t operation;
	uint8_t sender[6], sender_ip[4], target[6], target_ip[4];
};

static const uint8_t mac[6] = {0x52, 0x54, 0, 1, 2, 3};

/* Who has 192.0.2.77?  passt answers for every address but the guest's. */
static void ask(struct virtio_dev *dev)
{
	struct arp a = {.type = htons(ETH_P_ARP),
			.hardware = htons(1),
			.protocol = htons(ETH_P_IP),
			.hlen = 6,
			.plen = 4,
			.operation = htons(1),
			.sender_ip = {192, 0, 2, 76},
			.target_ip = {192, 0, 2, 77}};

	memset(a.to, 0xff, 6);
	memcpy(a.from, mac, 6);
	memcpy(a.sender, mac, 6);
	memset(memory_at(&mem, 0x200000, HEADER), 0, HEADER);
	CHECK(memory_write(&mem, 0x200000 + HEADER, &a, sizeof(a)) == 0);
	set_desc(&mem, 1, 0, 0x200000, HEADER + sizeof(a), 0, 0);
	offer(&mem, 1, SIZE, 0);
	reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 1);
}

static bool is_answer(unsigned int buffer)
{
	struct arp a;

	CHECK(memory_read(&mem, 0x300000 + 0x1000 * buffer + HEADER, &a, sizeof(a)) == 0);
	return a.type == htons(ETH_P_ARP) && a.operation == htons(2) && !memcmp(a.to, mac, 6) &&
	       a.sender_ip[3] == 77;
}

static void passt_answers(void)
{
	struct net_config cfg = {.kind = NET_PASST};
	bool answered = false;
	struct virtio_dev *dev;
	uint16_t seen = 0;
	unsigned int i;

	if (system("command -v passt >/dev/null")) {
		puts("no passt on PATH: nothing was tested");
		return;
	}
	setup(MIB(16));
	log_open("/dev/null");
	memcpy(cfg.mac, mac, 6);
	dev = net_create(&mem, &loop, &cfg, &err);
	if (!dev)
		fprintf(stderr, "%s\n", err.text);
	CHECK(dev && driver_start(dev, 0, SIZE));
	for (i = 0; i < SIZE; i++) {
		set_desc(&mem, 0, i, 0x300000 + 0x1000 * i, 0x1000, VRING_DESC_F_WRITE, 0);
		offer(&mem, 0, SIZE, i);
	}
	reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	ask(dev);
	while (!answered && seen < SIZE) { /* it may say other things, too */
		loop_once(&loop, 10000);
		for (; seen < used_index(&mem, 0); seen++)
			answered |= is_answer(seen);
	}
	CHECK(answered);
	puts("answered");
	dev->ops->destroy(dev);
}

static const struct unit_test tests[] = {
	TEST(passt_answers),
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return run_units(argc, argv, tests);
}
