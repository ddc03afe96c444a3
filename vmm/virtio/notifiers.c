// SPDX-License-Identifier: Apache-2.0
#include "virtio/notifiers.h"

#include <errno.h>
#include <linux/kvm.h>
#include <linux/virtio_mmio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int new_eventfd(void)
{
	return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

static struct virtio_notifiers *allocate(void)
{
	struct virtio_notifiers *n = malloc(sizeof(*n));
	unsigned int i;

	if (!n)
		return NULL;
	n->call = new_eventfd();
	for (i = 0; i < VIRTIO_MAX_QUEUES; i++)
		n->kick[i] = -1;
	return n;
}

int notifiers_create(struct virtio_dev *dev, unsigned int first, unsigned int count)
{
	unsigned int i;

	if (!dev->notifiers)
		dev->notifiers = allocate();
	if (!dev->notifiers)
		return -1;
	for (i = first; i < first + count && i < VIRTIO_MAX_QUEUES; i++) {
		if (dev->notifiers->kick[i] < 0)
			dev->notifiers->kick[i] = new_eventfd();
		if (dev->notifiers->kick[i] < 0)
			return -1;
	}
	return dev->notifiers->call < 0 ? -1 : 0;
}

static void close_if(int fd)
{
	if (fd >= 0)
		close(fd);
}

void notifiers_destroy(struct virtio_dev *dev)
{
	unsigned int i;

	if (!dev->notifiers)
		return;
	for (i = 0; i < VIRTIO_MAX_QUEUES; i++)
		close_if(dev->notifiers->kick[i]);
	close_if(dev->notifiers->call);
	free(dev->notifiers);
	dev->notifiers = NULL;
}

int notifiers_connect(const struct virtio_dev *dev, int vm_fd, uint64_t window_gpa)
{
	const struct virtio_notifiers *n = dev->notifiers;
	struct kvm_ioeventfd io = {.flags = KVM_IOEVENTFD_FLAG_DATAMATCH, .len = 4};
	struct kvm_irqfd irq = {.fd = n->call, .gsi = dev->irq.gsi};
	unsigned int i;

	io.addr = window_gpa + VIRTIO_MMIO_QUEUE_NOTIFY;
	for (i = 0; i < dev->nqueues; i++) {
		io.datamatch = i;
		io.fd = n->kick[i];
		if (io.fd >= 0 && ioctl(vm_fd, KVM_IOEVENTFD, &io))
			return -1;
	}
	return ioctl(vm_fd, KVM_IRQFD, &irq) ? -1 : 0;
}

void notifiers_activate(struct virtio_dev *dev, bool on)
{
	if (!dev->window) /* else it is so anyway */
		atomic_store(&dev->isr_always, on ? VIRTIO_MMIO_INT_VRING : 0);
}

static void signal_fd(int fd)
{
	uint64_t one = 1;

	/* It fails only when 2^64 - 2 signals wait unread: one of them is enough. */
	while (write(fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

void notifiers_kick(const struct virtio_dev *dev, unsigned int queue)
{
	signal_fd(dev->notifiers->kick[queue]);
}

void notifiers_call(const struct virtio_dev *dev)
{
	signal_fd(dev->notifiers->call);
}
