/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network of a unikernel of ours: C HermitCore's and interface 1's by hypercalls, that of
 * interface 2 by a virtio device on PCI (virtio 1.2, sections 4.1 and 5.1), looked for and
 * driven as Hermit's kernel does it.
 */
#ifndef GUEST_NIC_H
#define GUEST_NIC_H

#include "machine.h"

#define NIC_ROOM 2048 /* for one packet */

#if ABI == 2

#define NIC_ROUTE  (NIC_VECTOR | 1 << 13 | 1 << 15) /* active low, level triggered: PCI's way */
#define RING_SIZE  16
#define NIC_HEADER 12
#define F_MAC	   (1u << 5)

struct descriptor {
	uint64_t address;
	uint32_t length;
	uint16_t flags, next;
};

struct ring {
	_Alignas(4096) struct descriptor table[RING_SIZE];
	_Alignas(16) volatile uint16_t available[2 + RING_SIZE + 1]; /* flags, index, ring */
	_Alignas(16) struct {
		volatile uint16_t flags, index;
		struct {
			volatile uint32_t id, length;
		} ring[RING_SIZE];
	} used;
	uint16_t taken; /* of the used ring */
	volatile uint16_t *notify;
	uint8_t buffers[RING_SIZE][NIC_ROOM];
};

static struct ring rings[2]; /* what we receive, what we send */
static volatile uint8_t *common, *notify_area, *isr, *device;
static uint32_t notify_step;

static uint32_t pci_read(uint32_t function, uint32_t at)
{
	out32(0xcf8, 0x80000000u | function << 8 | at);
	return in32(0xcfc);
}

static void pci_write(uint32_t function, uint32_t at, uint32_t value)
{
	out32(0xcf8, 0x80000000u | function << 8 | at);
	out32(0xcfc, value);
}

static uint8_t *window(void)
{
	uint32_t low = pci_read(0, 0x10), high = pci_read(0, 0x14), size;

	pci_write(0, 0x10, 0xffffffff);
	size = ~(pci_read(0, 0x10) & ~15u) + 1;
	pci_write(0, 0x10, low);
	if ((low & 7) != 4 || size < 4096)
		return NULL;
	return (uint8_t *)((uint64_t)high << 32 | (low & ~15u));
}

static int find_structures(void)
{
	uint8_t *base = window();
	uint32_t at, head, offset;

	if (pci_read(0, 0) != 0x10411af4 || !base || !(pci_read(0, 4) >> 20 & 1))
		return 0;
	for (at = pci_read(0, 0x34) & 0xfc; at; at = head >> 8 & 0xfc) {
		head = pci_read(0, at);
		offset = pci_read(0, at + 8);
		if ((head & 0xff) != 9)
			continue;
		if (head >> 24 == 1)
			common = base + offset;
		if (head >> 24 == 2) {
			notify_area = base + offset;
			notify_step = pci_read(0, at + 16);
		}
		if (head >> 24 == 3)
			isr = base + offset;
		if (head >> 24 == 4)
			device = base + offset;
	}
	return common && notify_area && isr && device;
}

static void common32(unsigned int at, uint32_t value)
{
	*(volatile uint32_t *)(common + at) = value;
}

static void common16(unsigned int at, uint16_t value)
{
	*(volatile uint16_t *)(common + at) = value;
}

static void set_address(unsigned int at, const volatile void *what)
{
	common32(at, (uint32_t)(uint64_t)what);
	common32(at + 4, (uint32_t)((uint64_t)what >> 32));
}

static void start_ring(unsigned int number)
{
	struct ring *r = &rings[number];

	memset(r, 0, sizeof(*r));
	common16(22, (uint16_t)number);
	common16(24, RING_SIZE);
	set_address(32, r->table);
	set_address(40, r->available);
	set_address(48, &r->used);
	r->notify = (volatile uint16_t *)(notify_area +
					  *(volatile uint16_t *)(common + 30) * notify_step);
	common16(28, 1);
}

static void offer(struct ring *r, uint16_t i)
{
	r->available[2 + r->available[1] % RING_SIZE] = i;
	barrier();
	r->available[1]++;
	barrier();
}

static void read_isr(void)
{
	(void)*isr;
}

/* 0: there is none. */
static inline int nic_open(uint8_t mac[6])
{
	uint16_t i;

	if (!common && !find_structures())
		return 0;
	common[20] = 0;
	common[20] = 1 | 2; /* ACKNOWLEDGE, DRIVER */
	common32(8, 0);
	common32(12, F_MAC);
	common32(8, 1);
	common32(12, 1); /* VERSION_1 */
	common[20] = 1 | 2 | 8;
	if (!(common[20] & 8))
		return 0;
	start_ring(0);
	start_ring(1);
	nic_acknowledge = read_isr;
	for (i = 0; i < RING_SIZE; i++) {
		rings[0].table[i] =
			(struct descriptor){(uint64_t)rings[0].buffers[i], NIC_ROOM, 2, 0};
		offer(&rings[0], i);
	}
	rings[1].available[0] = 1; /* no interrupt for what was sent */
	common[20] = 1 | 2 | 8 | 4;
	*rings[0].notify = 0;
	for (i = 0; i < 6; i++)
		mac[i] = device[i];
	return 1;
}

static inline int nic_send(const uint8_t *frame, size_t len)
{
	struct ring *r = &rings[1];
	uint16_t i = r->available[1] % RING_SIZE;

	if ((uint16_t)(r->available[1] - r->used.index) == RING_SIZE || len > NIC_ROOM - NIC_HEADER)
		return -1; /* all are on their way */
	memset(r->buffers[i], 0, NIC_HEADER);
	memcpy(r->buffers[i] + NIC_HEADER, frame, len);
	r->table[i] =
		(struct descriptor){(uint64_t)r->buffers[i], (uint32_t)len + NIC_HEADER, 0, 0};
	offer(r, i);
	*r->notify = 1;
	return 0;
}

/* One packet: its bytes, or -1 when there is none (any more). */
static inline int64_t nic_receive(uint8_t *to, size_t room)
{
	struct ring *r = &rings[0];
	uint32_t i, len;

	if (r->taken == r->used.index)
		return -1;
	barrier();
	i = r->used.ring[r->taken % RING_SIZE].id % RING_SIZE;
	len = r->used.ring[r->taken % RING_SIZE].length;
	len = len > NIC_ROOM ? NIC_ROOM : len;
	len = len > NIC_HEADER ? len - NIC_HEADER : 0;
	len = len > room ? (uint32_t)room : len;
	memcpy(to, r->buffers[i] + NIC_HEADER, len);
	r->taken++;
	offer(r, (uint16_t)i);
	*r->notify = 0;
	return len;
}

#else

#define NIC_ROUTE NIC_VECTOR /* edge triggered */

static inline int64_t packet_call(uint16_t port, const void *data, size_t len)
{
	volatile struct packet_c p = {(uint64_t)data, len, -1000};

	call(port, &p);
	return p.ret ? p.ret : (int64_t)p.len;
}

static inline uint8_t hex(char c)
{
	return (uint8_t)(c <= '9' ? c - '0' : c - 'a' + 10);
}

static inline int nic_open(uint8_t mac[6])
{
	struct netstat_c stat = {-1};
	struct netinfo_c info;
	unsigned int i;

	call(0x700, &stat);
	if (stat.status != 1)
		return 0;
	call(0x600, &info);
	for (i = 0; i < 6; i++)
		mac[i] = (uint8_t)(hex(info.mac[3 * i]) << 4 | hex(info.mac[3 * i + 1]));
	return info.mac[17] == '\0';
}

static inline int nic_send(const uint8_t *frame, size_t len)
{
	return packet_call(0x640, frame, len) < 0 ? -1 : 0;
}

static inline int64_t nic_receive(uint8_t *to, size_t room)
{
	return packet_call(0x680, to, room);
}

#endif
#endif
