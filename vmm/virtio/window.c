// SPDX-License-Identifier: Apache-2.0
#include "virtio/window.h"

#include <linux/kvm.h>
#include <linux/virtio_mmio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "layout.h"

/* Registers that a driver reads (4.2.2); the others read as 0. */
static const uint16_t readable[] = {
	VIRTIO_MMIO_MAGIC_VALUE,      VIRTIO_MMIO_VERSION,	 VIRTIO_MMIO_DEVICE_ID,
	VIRTIO_MMIO_VENDOR_ID,	      VIRTIO_MMIO_SHM_LEN_LOW,	 VIRTIO_MMIO_SHM_LEN_HIGH,
	VIRTIO_MMIO_SHM_BASE_LOW,     VIRTIO_MMIO_SHM_BASE_HIGH, VIRTIO_MMIO_DEVICE_FEATURES,
	VIRTIO_MMIO_QUEUE_NUM_MAX,    VIRTIO_MMIO_QUEUE_READY,	 VIRTIO_MMIO_STATUS,
	VIRTIO_MMIO_INTERRUPT_STATUS,
};

void *windows_create(unsigned int count)
{
	void *at = mmap(NULL, count * VIRTIO_MMIO_STRIDE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return at == MAP_FAILED ? NULL : at;
}

void window_attach(struct virtio_dev *dev, void *page)
{
	dev->window = page;
	atomic_store(&dev->isr_always, VIRTIO_MMIO_INT_VRING);
	virtio_publish(dev);
}

static void put(struct virtio_dev *dev, uint16_t offset, uint32_t value)
{
	__atomic_store_n((uint32_t *)(void *)(dev->window + offset), value, __ATOMIC_RELEASE);
}

/*
 * A vCPU may be reading: with a generation of its own before and after the bytes change, a
 * driver that saw some old and some new ones sees two generations, too (2.5.3).
 */
static void publish_config(struct virtio_dev *dev)
{
	uint8_t *to = dev->window + VIRTIO_MMIO_CONFIG;

	if (memcmp(to, dev->config, dev->config_len)) {
		put(dev, VIRTIO_MMIO_CONFIG_GENERATION, ++dev->config_generation);
		memcpy(to, dev->config, dev->config_len);
		__atomic_thread_fence(__ATOMIC_RELEASE);
		dev->config_generation++;
	}
	put(dev, VIRTIO_MMIO_CONFIG_GENERATION, dev->config_generation);
}

void virtio_publish(struct virtio_dev *dev)
{
	unsigned int i;

	if (!dev->window)
		return;
	if (dev->config_len)
		publish_config(dev);
	for (i = 0; i < sizeof(readable) / sizeof(readable[0]); i++)
		put(dev, readable[i], virtio_read_register(dev, readable[i]));
}

int window_swallow_ack(int vm_fd, uint64_t window_gpa, int nobody)
{
	struct kvm_ioeventfd io = {.addr = window_gpa + VIRTIO_MMIO_INTERRUPT_ACK,
				   .len = 4,
				   .fd = nobody,
				   .datamatch = VIRTIO_MMIO_INT_VRING,
				   .flags = KVM_IOEVENTFD_FLAG_DATAMATCH};

	return ioctl(vm_fd, KVM_IOEVENTFD, &io);
}
