// SPDX-License-Identifier: Apache-2.0
#include "virtio/pci.h"

#include <linux/kvm.h>
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_pci.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "snapshot/format.h"
#include "virtio/notifiers.h"

#define VENDOR	      0x1af4
#define DEVICE	      0x1040 /* and the device's type (4.1.2) */
#define CLASS_NETWORK 0x0200
#define NO_VECTOR     0xffff /* there is no MSI-X */

/* The capabilities in configuration space, in the order of their list. */
#define COMMON_CAP  0x40
#define NOTIFY_CAP  0x50
#define ISR_CAP	    0x64
#define DEVICE_CAP  0x74
#define ACCESS_CAP  0x84 /* 4.1.4.9: the window through configuration space */
#define ACCESS_DATA (ACCESS_CAP + sizeof(struct virtio_pci_cap))

/* Drivers check these lengths against what they know of, which is more than there is here. */
#define COMMON_BYTES 0x40
#define DEVICE_BYTES 0x100

/* --- the function's configuration space --- */

/* What a driver may write; all else is read only. */
static const struct {
	uint8_t from, count, mask;
} writable[] = {
	{PCI_COMMAND, 1, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER},
	{PCI_INTERRUPT_LINE, 1, 0xff},
	/*
	 * The address can be written, so that drivers learn the size in their way.  The window
	 * does not follow it: nothing else is where it could be in the way.
	 */
	{PCI_BASE_ADDRESS_0 + 1, 1, (uint8_t)~(PCI_WINDOW_BYTES / 256 - 1)},
	{PCI_BASE_ADDRESS_0 + 2, 6, 0xff},
	{ACCESS_CAP + VIRTIO_PCI_CAP_BAR, 1, 0xff},
	{ACCESS_CAP + VIRTIO_PCI_CAP_OFFSET, 8, 0xff},
	{ACCESS_DATA, 4, 0xff},
};

static uint8_t write_mask(unsigned int at)
{
	unsigned int i;

	for (i = 0; i < sizeof(writable) / sizeof(writable[0]); i++)
		if (at >= writable[i].from && at - writable[i].from < writable[i].count)
			return writable[i].mask;
	return 0;
}

static void put16(uint8_t *config, unsigned int at, uint16_t value)
{
	memcpy(config + at, &value, sizeof(value));
}

static void add_capability(uint8_t *config, uint8_t at, uint8_t next, uint8_t type, uint8_t bytes,
			   uint32_t offset, uint32_t length)
{
	struct virtio_pci_cap cap = {.cap_vndr = PCI_CAP_ID_VNDR,
				     .cap_next = next,
				     .cap_len = bytes,
				     .cfg_type = type,
				     .offset = offset,
				     .length = length};

	memcpy(config + at, &cap, sizeof(cap));
}

void virtio_pci_reset(struct virtio_pci *p)
{
	const uint64_t window =
		PCI_WINDOW_GPA | PCI_BASE_ADDRESS_MEM_TYPE_64 | PCI_BASE_ADDRESS_MEM_PREFETCH;
	const uint32_t step = PCI_NOTIFY_STEP;
	uint8_t *c = p->config;

	p->address = 0;
	memset(c, 0, PCI_CONFIG_BYTES);
	put16(c, PCI_VENDOR_ID, VENDOR);
	put16(c, PCI_DEVICE_ID, (uint16_t)(DEVICE + p->dev->ops->id));
	put16(c, PCI_COMMAND, PCI_COMMAND_MEMORY); /* as firmware would leave it */
	put16(c, PCI_STATUS, PCI_STATUS_CAP_LIST);
	c[PCI_REVISION_ID] = 1;
	put16(c, PCI_CLASS_DEVICE, CLASS_NETWORK);
	memcpy(c + PCI_BASE_ADDRESS_0, &window, sizeof(window));
	put16(c, PCI_SUBSYSTEM_VENDOR_ID, VENDOR);
	put16(c, PCI_SUBSYSTEM_ID, (uint16_t)(DEVICE + p->dev->ops->id));
	c[PCI_CAPABILITY_LIST] = COMMON_CAP;
	c[PCI_INTERRUPT_LINE] = PCI_GSI;
	c[PCI_INTERRUPT_PIN] = 1;
	add_capability(c, COMMON_CAP, NOTIFY_CAP, VIRTIO_PCI_CAP_COMMON_CFG,
		       sizeof(struct virtio_pci_cap), PCI_COMMON_AT, COMMON_BYTES);
	add_capability(c, NOTIFY_CAP, ISR_CAP, VIRTIO_PCI_CAP_NOTIFY_CFG,
		       sizeof(struct virtio_pci_notify_cap), PCI_NOTIFY_AT,
		       VIRTIO_MAX_QUEUES * PCI_NOTIFY_STEP);
	memcpy(c + NOTIFY_CAP + VIRTIO_PCI_NOTIFY_CAP_MULT, &step, sizeof(step));
	add_capability(c, ISR_CAP, DEVICE_CAP, VIRTIO_PCI_CAP_ISR_CFG,
		       sizeof(struct virtio_pci_cap), PCI_ISR_AT, 1);
	add_capability(c, DEVICE_CAP, ACCESS_CAP, VIRTIO_PCI_CAP_DEVICE_CFG,
		       sizeof(struct virtio_pci_cap), PCI_DEVICE_AT, DEVICE_BYTES);
	add_capability(c, ACCESS_CAP, 0, VIRTIO_PCI_CAP_PCI_CFG, sizeof(struct virtio_pci_cfg_cap),
		       0, 0);
}

void virtio_pci_save(const struct virtio_pci *p, struct snap_out *o)
{
	snap_put32(o, p->address);
	snap_put(o, p->config, sizeof(p->config));
}

int virtio_pci_load(struct virtio_pci *p, struct snap_in *in)
{
	uint8_t config[PCI_CONFIG_BYTES], mask;
	unsigned int at;

	p->address = snap_take32(in);
	snap_take_to(in, config, sizeof(config));
	for (at = 0; at < PCI_CONFIG_BYTES && !in->bad; at++) {
		mask = write_mask(at);
		p->config[at] = (p->config[at] & ~mask) | (config[at] & mask);
	}
	if (atomic_load(&p->dev->isr))
		irq_pulse(&p->dev->irq); /* the new machine's line is down */
	return in->bad ? -1 : 0;
}

/* 4.1.4.9.1: an access to ACCESS_DATA is one to the window, where the capability says. */
static void access_window(struct virtio_pci *p, bool write)
{
	struct virtio_pci_cap cap;

	memcpy(&cap, p->config + ACCESS_CAP, sizeof(cap));
	if (cap.bar || (cap.length != 1 && cap.length != 2 && cap.length != 4) ||
	    cap.offset > PCI_WINDOW_BYTES - cap.length || cap.offset % cap.length)
		return;
	virtio_pci_window(p, cap.offset, write, p->config + ACCESS_DATA, cap.length);
}

static void access_config(struct virtio_pci *p, unsigned int at, bool write, uint8_t *data,
			  unsigned int len)
{
	bool window = at + len > ACCESS_DATA && at < ACCESS_DATA + 4;
	unsigned int i;
	uint8_t mask;

	if (window && !write)
		access_window(p, false);
	for (i = 0; i < len; i++) {
		if (!write) {
			data[i] = p->config[at + i];
			continue;
		}
		mask = write_mask(at + i);
		p->config[at + i] = (p->config[at + i] & ~mask) | (data[i] & mask);
	}
	if (window && write)
		access_window(p, true);
}

void virtio_pci_address(void *opaque, uint64_t offset, bool write, uint8_t *data, unsigned int len)
{
	struct virtio_pci *p = opaque;

	if (offset == 0 && len == 4 && write)
		memcpy(&p->address, data, 4);
	else if (offset == 0 && len == 4)
		memcpy(data, &p->address, 4);
	else if (!write)
		memset(data, 0xff, len);
}

void virtio_pci_data(void *opaque, uint64_t offset, bool write, uint8_t *data, unsigned int len)
{
	struct virtio_pci *p = opaque;
	unsigned int at = (p->address & 0xfc) + (unsigned int)offset;

	/* Bit 31 says that an access is meant; bus, device and function have to be 0. */
	if ((p->address & 0xffffff00u) == 0x80000000u && at + len <= PCI_CONFIG_BYTES)
		access_config(p, at, write, data, len);
	else if (!write)
		memset(data, 0xff, len);
}

/* --- the window --- */

#define COMMON(field, size) {VIRTIO_PCI_COMMON_##field, size}

/* The fields of the common configuration (4.1.4.3) and their bytes. */
static const struct {
	uint8_t at, size;
} fields[] = {
	COMMON(DFSELECT, 4),  COMMON(DF, 4),	   COMMON(GFSELECT, 4), COMMON(GF, 4),
	COMMON(MSIX, 2),      COMMON(NUMQ, 2),	   COMMON(STATUS, 1),	COMMON(CFGGENERATION, 1),
	COMMON(Q_SELECT, 2),  COMMON(Q_SIZE, 2),   COMMON(Q_MSIX, 2),	COMMON(Q_ENABLE, 2),
	COMMON(Q_NOFF, 2),    COMMON(Q_DESCLO, 4), COMMON(Q_DESCHI, 4), COMMON(Q_AVAILLO, 4),
	COMMON(Q_AVAILHI, 4), COMMON(Q_USEDLO, 4), COMMON(Q_USEDHI, 4),
};

#define NFIELDS (sizeof(fields) / sizeof(fields[0]))

static uint32_t read_field(struct virtio_dev *dev, uint8_t at)
{
	static const struct vq none;
	const struct vq *q = dev->queue_sel < dev->nqueues ? &dev->queues[dev->queue_sel] : &none;

	switch (at) {
	case VIRTIO_PCI_COMMON_DFSELECT:
		return dev->device_features_sel;
	case VIRTIO_PCI_COMMON_DF:
		return virtio_read_register(dev, VIRTIO_MMIO_DEVICE_FEATURES);
	case VIRTIO_PCI_COMMON_GFSELECT:
		return dev->driver_features_sel;
	case VIRTIO_PCI_COMMON_GF:
		return dev->driver_features_sel < 2
			       ? (uint32_t)(dev->driver_features >> 32 * dev->driver_features_sel)
			       : 0;
	case VIRTIO_PCI_COMMON_MSIX:
	case VIRTIO_PCI_COMMON_Q_MSIX:
		return NO_VECTOR;
	case VIRTIO_PCI_COMMON_NUMQ:
		return dev->nqueues;
	case VIRTIO_PCI_COMMON_STATUS:
		return dev->status;
	case VIRTIO_PCI_COMMON_CFGGENERATION:
		return dev->config_generation;
	case VIRTIO_PCI_COMMON_Q_SELECT:
		return dev->queue_sel;
	case VIRTIO_PCI_COMMON_Q_SIZE:
		return q->size;
	case VIRTIO_PCI_COMMON_Q_ENABLE:
		return q->ready;
	case VIRTIO_PCI_COMMON_Q_NOFF:
		return q == &none ? 0 : dev->queue_sel;
	case VIRTIO_PCI_COMMON_Q_DESCLO:
		return (uint32_t)q->desc_gpa;
	case VIRTIO_PCI_COMMON_Q_DESCHI:
		return q->desc_gpa >> 32;
	case VIRTIO_PCI_COMMON_Q_AVAILLO:
		return (uint32_t)q->avail_gpa;
	case VIRTIO_PCI_COMMON_Q_AVAILHI:
		return q->avail_gpa >> 32;
	case VIRTIO_PCI_COMMON_Q_USEDLO:
		return (uint32_t)q->used_gpa;
	case VIRTIO_PCI_COMMON_Q_USEDHI:
		return q->used_gpa >> 32;
	}
	return 0;
}

/* The register of virtio-mmio that does the same; 0: none, the field is read only. */
static uint32_t register_of(uint8_t at)
{
	switch (at) {
	case VIRTIO_PCI_COMMON_DFSELECT:
		return VIRTIO_MMIO_DEVICE_FEATURES_SEL;
	case VIRTIO_PCI_COMMON_GFSELECT:
		return VIRTIO_MMIO_DRIVER_FEATURES_SEL;
	case VIRTIO_PCI_COMMON_GF:
		return VIRTIO_MMIO_DRIVER_FEATURES;
	case VIRTIO_PCI_COMMON_STATUS:
		return VIRTIO_MMIO_STATUS;
	case VIRTIO_PCI_COMMON_Q_SELECT:
		return VIRTIO_MMIO_QUEUE_SEL;
	case VIRTIO_PCI_COMMON_Q_SIZE:
		return VIRTIO_MMIO_QUEUE_NUM;
	case VIRTIO_PCI_COMMON_Q_ENABLE:
		return VIRTIO_MMIO_QUEUE_READY;
	case VIRTIO_PCI_COMMON_Q_DESCLO:
		return VIRTIO_MMIO_QUEUE_DESC_LOW;
	case VIRTIO_PCI_COMMON_Q_DESCHI:
		return VIRTIO_MMIO_QUEUE_DESC_HIGH;
	case VIRTIO_PCI_COMMON_Q_AVAILLO:
		return VIRTIO_MMIO_QUEUE_AVAIL_LOW;
	case VIRTIO_PCI_COMMON_Q_AVAILHI:
		return VIRTIO_MMIO_QUEUE_AVAIL_HIGH;
	case VIRTIO_PCI_COMMON_Q_USEDLO:
		return VIRTIO_MMIO_QUEUE_USED_LOW;
	case VIRTIO_PCI_COMMON_Q_USEDHI:
		return VIRTIO_MMIO_QUEUE_USED_HIGH;
	}
	return 0;
}

static void write_field(struct virtio_dev *dev, uint8_t at, uint32_t value)
{
	uint32_t reg = register_of(at);

	/* 4.1.4.3.2: a driver never writes a 0 here. */
	if (!reg || (at == VIRTIO_PCI_COMMON_Q_ENABLE && value != 1))
		return;
	virtio_write_register(dev, reg, value);
	/* A reset takes back what the device wanted to say. */
	if (reg == VIRTIO_MMIO_STATUS && !atomic_load(&dev->isr))
		irq_lower(&dev->irq);
}

/* Reads of any width; a write has to be of one field, or of both halves of an address. */
static void access_common(struct virtio_dev *dev, unsigned int at, bool write, uint8_t *data,
			  unsigned int len)
{
	unsigned int i, byte;
	uint32_t value = 0;

	if (write && len == 8) {
		access_common(dev, at, true, data, 4);
		access_common(dev, at + 4, true, data + 4, 4);
		return;
	}
	for (i = 0; i < NFIELDS; i++) {
		if (write && fields[i].at == at && fields[i].size == len) {
			memcpy(&value, data, len);
			write_field(dev, fields[i].at, value);
			return;
		}
		if (write || fields[i].at >= at + len || fields[i].at + fields[i].size <= at)
			continue;
		value = read_field(dev, fields[i].at);
		for (byte = 0; byte < fields[i].size; byte++)
			if (fields[i].at + byte >= at && fields[i].at + byte < at + len)
				data[fields[i].at + byte - at] = value >> 8 * byte & 0xff;
	}
}

/* Who is to be told of queue i's notifications; -1: notify() in the vCPU. */
static int kick_fd(const struct virtio_dev *dev, unsigned int i)
{
	if (dev->notifiers)
		return dev->notifiers->kick[i];
	return dev->notify_inline || (dev->kick_queues && i >= dev->kick_queues) ? -1
										 : dev->kick.fd;
}

/* What KVM did not take: control queues, and notifications of an odd width. */
static void notify(struct virtio_dev *dev, unsigned int queue)
{
	if (queue >= dev->nqueues || !virtio_is_running(dev))
		return;
	if (!dev->notifiers && kick_fd(dev, queue) >= 0) {
		virtio_kick_later(dev);
		return;
	}
	dev->kicks++;
	dev->ops->notify(dev, queue);
}

void virtio_pci_window(void *opaque, uint64_t offset, bool write, uint8_t *data, unsigned int len)
{
	struct virtio_pci *p = opaque;
	struct virtio_dev *dev = p->dev;

	if (!write)
		memset(data, 0, len);
	if (offset < PCI_COMMON_AT + COMMON_BYTES) {
		access_common(dev, (unsigned int)offset, write, data, len);
	} else if (offset == PCI_ISR_AT && !write) {
		data[0] = (uint8_t)atomic_exchange(&dev->isr, 0); /* 4.1.4.5: and lowers INTA# */
		irq_lower(&dev->irq);
	} else if (offset >= PCI_NOTIFY_AT && write) {
		notify(dev, (unsigned int)(offset - PCI_NOTIFY_AT) / PCI_NOTIFY_STEP);
	} else if (offset >= PCI_DEVICE_AT && offset < PCI_NOTIFY_AT) {
		if (!write)
			virtio_read_config(dev, offset - PCI_DEVICE_AT, data, len);
		else if (dev->ops->write_config)
			dev->ops->write_config(dev, offset - PCI_DEVICE_AT, data, len);
	}
}

/*
 * With vhost the kernel serves the rings.  Its signal cannot go to the guest by itself: an irqfd
 * raises a line for no longer than the EOI, and this one has to stay up until the ISR is read.
 */
static void on_used(void *arg, uint32_t events)
{
	struct virtio_pci *p = arg;
	uint64_t count;

	(void)events;
	if (read(p->used.fd, &count, sizeof(count)) != sizeof(count))
		return;
	p->dev->interrupts++;
	atomic_fetch_or(&p->dev->isr, VIRTIO_MMIO_INT_VRING);
	irq_pulse(&p->dev->irq);
}

int virtio_pci_attach(struct virtio_pci *p, struct virtio_dev *dev, const int *vm_fd,
		      struct bus *ports, struct bus *mmio)
{
	p->dev = dev;
	p->used = (struct loop_source){.fd = -1, .fn = on_used, .arg = p};
	dev->irq = (struct irq){.vm_fd = vm_fd, .gsi = PCI_GSI, .level = true};
	virtio_pci_reset(p);
	bus_claim(ports, PCI_ADDRESS_PORT, 4, virtio_pci_address, p, false);
	bus_claim(ports, PCI_DATA_PORT, 4, virtio_pci_data, p, false);
	bus_claim(mmio, PCI_WINDOW_GPA, PCI_WINDOW_BYTES, virtio_pci_window, p, false);
	if (!dev->notifiers)
		return 0;
	p->used.fd = dev->notifiers->call;
	return loop_add(dev->loop, &p->used, EPOLLIN);
}

int virtio_pci_connect(const struct virtio_pci *p, int vm_fd)
{
	struct kvm_ioeventfd io = {.len = 2}; /* 4.1.5.2: 16 bits */
	unsigned int i;

	for (i = 0; i < p->dev->nqueues; i++) {
		io.addr = PCI_WINDOW_GPA + PCI_NOTIFY_AT + PCI_NOTIFY_STEP * i;
		io.fd = kick_fd(p->dev, i);
		if (io.fd >= 0 && ioctl(vm_fd, KVM_IOEVENTFD, &io))
			return -1;
	}
	return 0;
}
