// SPDX-License-Identifier: Apache-2.0
/*
 * Talks to the network without a stack: asks by ARP for the host, first address of its own
 * network, several times and after having been rude; prints what was not as it should be.
 */
#include "nic.h"

static uint8_t mac[6], ip[4], frame[NIC_ROOM];
static int failed;

static void check(int ok, const char *what)
{
	if (ok)
		return;
	say("FAILED ");
	say(what);
	say("\n");
	failed = 1;
}

#define CHECK(expression) check(expression, #expression)

/* An ARP request (RFC 826), made as long as the shortest frame. */
static void ask(void)
{
	static const uint8_t fixed[] = {8, 6, 0, 1, 8, 0, 6, 4, 0, 1};
	uint8_t request[60] = {0};

	memset(request, 0xff, 6);
	memcpy(request + 6, mac, 6);
	memcpy(request + 12, fixed, sizeof(fixed));
	memcpy(request + 22, mac, 6);
	memcpy(request + 28, ip, 4);
	memcpy(request + 38, ip, 3);
	request[41] = 1;
	CHECK(nic_send(request, sizeof(request)) == 0);
}

static int is_answer(const uint8_t *f, int64_t len)
{
	unsigned int i;

	for (i = 0; i < 6; i++)
		if (f[i] != mac[i])
			return 0;
	return len >= 42 && f[12] == 8 && f[13] == 6 && f[21] == 2 && f[31] == 1 && f[28] == ip[0];
}

/* Sleeps until the answer is there; every other packet is passed over. */
static int answered(void)
{
	uint64_t end = now_ms() + 5000;
	int64_t len;

	while (now_ms() < end) {
		while ((len = nic_receive(frame, sizeof(frame))) > 0)
			if (is_answer(frame, len))
				return 1;
		wait_for_network(1000);
	}
	return 0;
}

#if ABI == 2
static void be_rude(void)
{
	uint32_t function, i;

	for (function = 1; function < 32 * 256; function += 8) /* the bus, as a kernel scans it */
		if (pci_read(function, 0) != 0xffffffff)
			break;
	CHECK(function >= 32 * 256);
	__asm__ volatile("outb %%al, %%dx" : : "a"(-1), "d"(0xcf9));
	__asm__ volatile("outw %%ax, %%dx" : : "a"(-1), "d"(0xcfe));
	for (i = 0; i < 256; i += 4)
		pci_write(0, i, 0xa5a5a5a5);
	for (i = 0; i < 4096; i += 8)
		*(volatile uint64_t *)(0xfe000000ull + i) = 0xa5a5a5a5a5a5a5a5ull;
	*(volatile uint8_t *)(0xfe000fff) = 1;
	pci_write(0, 0x10, 0xfe00000c);
	pci_write(0, 0x14, 0);
	CHECK(pci_read(0, 0) == 0x10411af4 && pci_read(0, 0x3c) >> 8 == 1);
}
#else
static void be_rude(void)
{
	static const struct {
		uint64_t at, len;
	} bad[] = {{~0ull, 60}, {0xffffffff, 60}, {0x7fffffff0000, 60}, {0xfe000000, 60}};
	unsigned int i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CHECK(packet_call(0x640, (void *)bad[i].at, bad[i].len) == -1);
		CHECK(packet_call(0x680, (void *)bad[i].at, bad[i].len) == -1);
	}
	CHECK(packet_call(0x640, frame, 5) == -1 && packet_call(0x640, frame, ~0ull) == -1);
	CHECK(packet_call(0x680, frame, ~0ull) == -1);
	call(0x680, (void *)-8); /* parameters that are nowhere */
}
#endif

int guest_main(uint64_t boot_info)
{
	unsigned int round;

	start_machine(boot_info, NIC_ROUTE);
	if (!own_address(boot_info, ip) || !nic_open(mac)) {
		say("no network\n");
		return 3;
	}
	for (round = 0; round < 20 && !failed; round++) {
		ask();
		CHECK(answered());
	}
	be_rude();
	CHECK(nic_open(mac)); /* anew */
	ask();
	CHECK(answered());
	say(failed ? "there were failures\n" : "the host answers\n");
	return failed ? 1 : 42;
}
