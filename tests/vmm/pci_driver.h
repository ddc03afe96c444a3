/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's side of the PCI transport, for tests: ports, configuration space, the window. */
#ifndef TEST_PCI_DRIVER_H
#define TEST_PCI_DRIVER_H

#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>

#include "driver.h"
#include "virtio/pci.h"

static inline uint32_t config_read(struct virtio_pci *p, unsigned int at, unsigned int len)
{
	uint32_t address = 0x80000000u | (at & 0xfc), value = 0;

	virtio_pci_address(p, 0, true, (uint8_t *)&address, 4);
	virtio_pci_data(p, at & 3, false, (uint8_t *)&value, len);
	return value;
}

static inline void config_write(struct virtio_pci *p, unsigned int at, uint32_t value,
				unsigned int len)
{
	uint32_t address = 0x80000000u | (at & 0xfc);

	virtio_pci_address(p, 0, true, (uint8_t *)&address, 4);
	virtio_pci_data(p, at & 3, true, (uint8_t *)&value, len);
}

static inline uint64_t window_read(struct virtio_pci *p, uint64_t at, unsigned int len)
{
	uint64_t value = 0;

	virtio_pci_window(p, at, false, (uint8_t *)&value, len);
	return value;
}

static inline void window_write(struct virtio_pci *p, uint64_t at, uint64_t value, unsigned int len)
{
	virtio_pci_window(p, at, true, (uint8_t *)&value, len);
}

static inline uint32_t common_read(struct virtio_pci *p, unsigned int field, unsigned int len)
{
	return (uint32_t)window_read(p, PCI_COMMON_AT + field, len);
}

static inline void common_write(struct virtio_pci *p, unsigned int field, uint64_t value,
				unsigned int len)
{
	window_write(p, PCI_COMMON_AT + field, value, len);
}

/* Negotiates `features` and sets all queues up; true if accepted. */
static inline bool pci_start(struct virtio_pci *p, uint64_t features, uint16_t size)
{
	unsigned int i, n;

	common_write(p, VIRTIO_PCI_COMMON_STATUS, 0, 1);
	common_write(p, VIRTIO_PCI_COMMON_STATUS, 3, 1);
	common_write(p, VIRTIO_PCI_COMMON_GFSELECT, 0, 4);
	common_write(p, VIRTIO_PCI_COMMON_GF, (uint32_t)features, 4);
	common_write(p, VIRTIO_PCI_COMMON_GFSELECT, 1, 4);
	common_write(p, VIRTIO_PCI_COMMON_GF, (uint32_t)(features >> 32) | 1, 4);
	common_write(p, VIRTIO_PCI_COMMON_STATUS, 3 | VIRTIO_CONFIG_S_FEATURES_OK, 1);
	if (!(common_read(p, VIRTIO_PCI_COMMON_STATUS, 1) & VIRTIO_CONFIG_S_FEATURES_OK))
		return false;
	n = common_read(p, VIRTIO_PCI_COMMON_NUMQ, 2);
	for (i = 0; i < n; i++) {
		common_write(p, VIRTIO_PCI_COMMON_Q_SELECT, i, 2);
		common_write(p, VIRTIO_PCI_COMMON_Q_SIZE, size, 2);
		common_write(p, VIRTIO_PCI_COMMON_Q_DESCLO, RING_GPA(i), 8); /* both halves */
		common_write(p, VIRTIO_PCI_COMMON_Q_AVAILLO, AVAIL_GPA(i), 4);
		common_write(p, VIRTIO_PCI_COMMON_Q_USEDLO, USED_GPA(i), 4);
		common_write(p, VIRTIO_PCI_COMMON_Q_ENABLE, 1, 2);
	}
	common_write(p, VIRTIO_PCI_COMMON_STATUS, 15, 1);
	return true;
}

#endif
