// SPDX-License-Identifier: Apache-2.0
/*
 * A unikernel's network: C HermitCore moves packets by hypercalls, later Rust kernels drive a
 * virtio device on PCI; with interface 1 both ways are open, and the kernel takes one.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "hermit/hermit.h"
#include "hermit/machine.h"
#include "hermit/nic.h"
#include "log.h"
#include "snapshot/format.h"
#include "virtio/net.h"
#include "virtio/pci.h"
#include "vm.h"

#define FIRST_VECTOR 32 /* of a C kernel's interrupts */

static int check(const struct vm *vm, struct error *e)
{
	if (vm->cfg->nnets > 1)
		return error_set(e, ERROR_USER, "--net: a unikernel has one network");
	if (vm->cfg->nets[0].need_vhost && vm->hermit->image.abi == HERMIT_C)
		return error_set(
			e, ERROR_USER,
			"--net: vhost=on does not go with a HermitCore image, which has no "
			"rings that the kernel could serve");
	return 0;
}

static int attach(struct vm *vm, struct virtio_dev *dev, struct error *e)
{
	struct hermit *h = vm->hermit;

	if (h->image.abi != HERMIT_V2) {
		h->nic = nic_create(dev, &vm->vm_fd);
		if (!h->nic)
			return error_set(e, ERROR_MACHINE, "out of memory");
	}
	if (h->image.abi == HERMIT_C) {
		if (!h->cfg.ip.given)
			log_line("--ip (or HERMIT_IP) is not given: a HermitCore kernel has no "
				 "address without it");
		return 0;
	}
	if (vm->cfg->packed_rings && !dev->split_only)
		dev->features |= 1ull << VIRTIO_F_RING_PACKED;
	vm->pci = calloc(1, sizeof(*vm->pci));
	if (!vm->pci)
		return error_set(e, ERROR_MACHINE, "out of memory");
	if (virtio_pci_attach(vm->pci, dev, &vm->vm_fd, &vm->ports, &vm->mmio))
		return error_set(e, ERROR_MACHINE, "virtio-net: %s", strerror(errno));
	h->has_pci = true;
	return 0;
}

int unikernel_open_network(struct vm *vm, struct error *e)
{
	struct net_config net = vm->cfg->nets[0];
	struct virtio_dev *dev;

	if (!vm->cfg->nnets)
		return 0;
	if (check(vm, e))
		return -1;
	/* Increments have to know what was written, and the kernel does not tell. */
	if (vm->hermit->image.abi == HERMIT_C || (vm->cfg->checkpoint.seconds && !net.need_vhost))
		net.no_vhost = true;
	dev = net_create(&vm->mem, &vm->loop, &net, e);
	if (!dev)
		return -1;
	vm->devices[vm->ndevices++] = dev;
	return attach(vm, dev, e);
}

/*
 * libhermit finds no table that tells of an IOAPIC and sets none up: its monitor has to let the
 * interrupt through, as hermit-caves did.  Edge triggered, to the first CPU.
 */
static int route_interrupt(struct vm *vm, struct error *e)
{
	struct kvm_irqchip chip = {.chip_id = KVM_IRQCHIP_IOAPIC};

	if (ioctl(vm->vm_fd, KVM_GET_IRQCHIP, &chip))
		return error_set(e, ERROR_MACHINE, "KVM_GET_IRQCHIP: %s", strerror(errno));
	memset(&chip.chip.ioapic.redirtbl[NIC_GSI], 0, sizeof(chip.chip.ioapic.redirtbl[0]));
	chip.chip.ioapic.redirtbl[NIC_GSI].fields.vector = FIRST_VECTOR + NIC_GSI;
	if (ioctl(vm->vm_fd, KVM_SET_IRQCHIP, &chip))
		return error_set(e, ERROR_MACHINE, "KVM_SET_IRQCHIP: %s", strerror(errno));
	return 0;
}

int unikernel_connect_network(struct vm *vm, struct error *e)
{
	if (vm->pci && virtio_pci_connect(vm->pci, vm->vm_fd))
		return error_set(e, ERROR_MACHINE, "KVM_IOEVENTFD: %s", strerror(errno));
	return vm->hermit->nic && !vm->pci ? route_interrupt(vm, e) : 0;
}

void unikernel_save_network(const struct vm *vm, struct snap_out *o)
{
	snap_put32(o, vm->hermit->nic && nic_is_used(vm->hermit->nic));
	if (vm->pci)
		virtio_pci_save(vm->pci, o);
}

int unikernel_load_network(struct vm *vm, struct snap_in *in)
{
	uint32_t used = snap_take32(in);

	if (used && vm->hermit->nic)
		nic_go_on(vm->hermit->nic);
	return vm->pci ? virtio_pci_load(vm->pci, in) : 0;
}

void unikernel_reset_network(struct vm *vm)
{
	if (vm->hermit->nic)
		nic_reset(vm->hermit->nic);
	if (vm->pci)
		virtio_pci_reset(vm->pci);
}
