// SPDX-License-Identifier: Apache-2.0
/*
 * Fuzzes a unikernel's two networks in this process, without KVM: virtio on PCI (configuration
 * space, the window, rings behind it) and the hypercalls, while packets come from outside.
 */
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz.h"
#include "hermit/calls.h"
#include "hermit/nic.h"
#include "hermit/params.h"
#include "log.h"
#include "pci_driver.h"
#include "virtio/net.h"

#define RAM	   (16ull << 20)
#define QUEUE_SIZE 16

static struct guest_memory mem;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct loop loop;
static struct virtio_pci pci;
static struct bus ports, mmio;
static struct hermit hermit = {.image.abi = HERMIT_V1};
static const struct call_env env = {.hermit = &hermit, .mem = &mem};
static int peer;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const struct net_config cfg;
	static const int no_vm = -1;
	struct virtio_dev *dev;
	struct error e;
	int ends[2];

	(void)argc, (void)argv;
	log_open("/dev/null");
	CHECK(memory_create(&mem, &(struct memory_config){.size = RAM}, &e) == 0);
	CHECK(loop_create(&loop, &lock) == 0);
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends) == 0);
	peer = ends[1];
	/* Both ways are open on one device, as for kernels with interface 1. */
	dev = net_create_fds(&mem, &loop, ends, &cfg, &e);
	CHECK(dev);
	hermit.nic = nic_create(dev, &no_vm);
	CHECK(hermit.nic);
	CHECK(virtio_pci_attach(&pci, dev, &no_vm, &ports, &mmio) == 0);
	return 0;
}

/* Through the bus, as a vCPU's exit comes: what is not claimed, or straddles, goes nowhere. */
static void access_bus(const struct bus *bus, uint64_t at, bool write, uint64_t value,
		       unsigned int len)
{
	const struct bus_range *r = bus_find(bus, at, len);
	uint8_t *data = malloc(len); /* so that the sanitizer sees a byte too much */

	memcpy(data, &value, len);
	if (r)
		r->fn(r->opaque, at - r->start, write, data, len);
	free(data);
}

static uint64_t some_address(struct script *s)
{
	uint64_t kind = take(s, 1), v = take(s, 3);

	if (kind < 200)
		return v % RAM;
	return kind < 230 ? RAM - v % 64 : v << (kind & 63);
}

static void make_call(struct script *s)
{
	static const uint16_t numbers[] = {0x600, 0x640, 0x680, 0x700};
	struct packet_c p = {some_address(s), take(s, 1) < 220 ? take(s, 1) * 8 : take(s, 8), 0};
	uint64_t at = take(s, 1) < 230 ? 0x300000 : some_address(s);

	memory_write(&mem, at, &p, sizeof(p));
	call_serve(&env, numbers[take(s, 1) % 4], (uint32_t)at, at);
}

static void write_descriptor(struct script *s, unsigned int queue)
{
	uint64_t address = some_address(s);
	uint32_t len = take(s, 1) < 200 ? 2000 : (uint32_t)take(s, 4);

	set_desc(&mem, queue, take(s, 1) % QUEUE_SIZE, address, len, take(s, 1) & 3,
		 take(s, 1) % QUEUE_SIZE);
}

static void step(struct script *s)
{
	unsigned int queue = take(s, 1) % 3;
	uint8_t packet[12 + 14 + 256] = {0};

	switch (take(s, 1) % 12) {
	case 0:
		access_bus(&ports, 0xcf8, true, 0x80000000u | take(s, 1), 4);
		break;
	case 1:
		access_bus(&ports, 0xcf6 + take(s, 1) % 14, take(s, 1) & 1, take(s, 8),
			   1u << take(s, 1) % 3);
		break;
	case 2: /* the capability that leads to the window */
		config_write(&pci, 0x84 + take(s, 1) % 20, (uint32_t)take(s, 4) >> take(s, 1) % 32,
			     4);
		break;
	case 3:
		access_bus(&mmio, PCI_WINDOW_GPA + take(s, 2) % 0x1010, take(s, 1) & 1, take(s, 8),
			   1u << take(s, 1) % 4);
		break;
	case 4:
		common_write(&pci, take(s, 1) % 0x40, take(s, 8), 1u << take(s, 1) % 4);
		break;
	case 5:
		write_descriptor(s, queue);
		break;
	case 6:
	case 7:
		offer(&mem, queue, QUEUE_SIZE, take(s, 1) % (QUEUE_SIZE + 1));
		access_bus(&mmio, PCI_WINDOW_GPA + PCI_NOTIFY_AT + 4 * queue, true, queue, 2);
		break;
	case 8:
		pci_start(&pci, take(s, 1) & 1 ? pci.dev->features : take(s, 8), QUEUE_SIZE);
		break;
	case 9:
		if (send(peer, packet, 12 + take(s, 1), MSG_DONTWAIT) < 0)
			break;
		break;
	case 10:
		make_call(s);
		break;
	case 11:
		if (!take(s, 1) % 16) {
			virtio_reset(pci.dev);
			nic_reset(hermit.nic);
			virtio_pci_reset(&pci);
		}
		loop_once(&loop, 0);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct script s = {.data = data, .len = size};
	char drain[600];

	memset(memory_at(&mem, RING_GPA(0), 0x30000), 0, 0x30000);
	if (take(&s, 1) & 1)
		pci_start(&pci, pci.dev->features, QUEUE_SIZE);
	while (s.at < s.len)
		step(&s);
	loop_once(&loop, 0);
	virtio_reset(pci.dev);
	nic_reset(hermit.nic);
	virtio_pci_reset(&pci);
	while (recv(peer, drain, sizeof(drain), MSG_DONTWAIT) > 0)
		;
	return 0;
}
