/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio PCI transport (virtio 1.2, section 4.1, without the legacy interface) for one
 * device: unikernels with interface 2 and later look for their network there.
 *
 * The bus is what configuration mechanism 1 shows (PCI Local Bus 3.0, 3.2.2.3.2): an address
 * register at CF8 and a data register at CFC.  On it is one function, 00:00.0, with one window
 * (BAR 0) and the interrupt INTA# at an IOAPIC pin.  There is no firmware: everything is
 * assigned when the guest starts.
 */
#ifndef HG_VIRTIO_PCI_H
#define HG_VIRTIO_PCI_H

#include "bus.h"
#include "virtio/device.h"

#define PCI_ADDRESS_PORT 0xcf8
#define PCI_DATA_PORT	 0xcfc
#define PCI_WINDOW_GPA	 0xfe000000ull
#define PCI_WINDOW_BYTES 0x1000u
#define PCI_GSI		 11

/* In the window. */
#define PCI_COMMON_AT 0x000 /* struct virtio_pci_common_cfg */
#define PCI_ISR_AT    0x100
#define PCI_DEVICE_AT 0x200 /* configuration space */
#define PCI_NOTIFY_AT 0x800 /* queue n at PCI_NOTIFY_STEP * n */

#define PCI_NOTIFY_STEP 4

#define PCI_CONFIG_BYTES 256

struct virtio_pci {
	struct virtio_dev *dev;
	struct loop_source used;	  /* vhost's eventfd: it used a queue */
	uint32_t address;		  /* what was written to CF8 */
	uint8_t config[PCI_CONFIG_BYTES]; /* configuration space of the function */
};

/* Puts dev on the bus: its interrupt, and its place among ports and in memory.  0, or -1 with
 * errno. */
int virtio_pci_attach(struct virtio_pci *p, struct virtio_dev *dev, const int *vm_fd,
		      struct bus *ports, struct bus *mmio);

/* As after power on.  The device itself is virtio_reset()'s business. */
void virtio_pci_reset(struct virtio_pci *p);

/* What the driver has written; the device itself is saved beside it.  0, or -1: damaged. */
void virtio_pci_save(const struct virtio_pci *p, struct snap_out *o);
int virtio_pci_load(struct virtio_pci *p, struct snap_in *in);

/* Lets KVM take the notifications of a new VM.  0, or -1 with errno. */
int virtio_pci_connect(const struct virtio_pci *p, int vm_fd);

/* One access each, a bus_fn with the VM's lock held. */
void virtio_pci_address(void *opaque, uint64_t offset, bool write, uint8_t *data, unsigned int len);
void virtio_pci_data(void *opaque, uint64_t offset, bool write, uint8_t *data, unsigned int len);
void virtio_pci_window(void *opaque, uint64_t offset, bool write, uint8_t *data, unsigned int len);

#endif
