// SPDX-License-Identifier: Apache-2.0
/* The KVM VM with its irqchip, memory slots and vCPUs: what a reset replaces as a whole. */
#include <cpuid.h>
#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "acpi.h"
#include "hermit/machine.h"
#include "kvm_ahead.h"
#include "kvm_stats.h"
#include "log.h"
#include "mptable.h"
#include "snapshot/snapshot.h"
#include "virtio/notifiers.h"
#include "virtio/window.h"
#include "vm.h"
#include "vmgenid.h"

#define GSI_LEGACY 16 /* inputs of two 8259s */
#define PAGE	   4096ull

/* KVM's memory slots: RAM below the hole and above it, and the devices' registers. */
enum { SLOT_LOW, SLOT_HIGH, SLOT_WINDOWS };

static int kvm_error(struct error *e, const char *what)
{
	return error_set(e, ERROR_MACHINE, "KVM: %s: %s", what, strerror(errno));
}

/* KVM's limit, or 0 where it states none. */
static unsigned int limit(const struct vm *vm, int capability)
{
	int n = ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, capability);

	return n > 0 ? n : 0;
}

int machine_check(struct vm *vm, struct error *e)
{
	const struct vm_config *cfg = vm->cfg;
	unsigned int max = limit(vm, KVM_CAP_MAX_VCPUS), ids = limit(vm, KVM_CAP_MAX_VCPU_ID);
	unsigned int last = topology_apic_id(&cfg->topology, cfg->cpus - 1), bits = 36;
	uint32_t eax, ebx, ecx, edx;

	max = max ? max : limit(vm, KVM_CAP_NR_VCPUS);
	if (cfg->cpus > max)
		return error_set(e, ERROR_USER, "--cpus %u: this host's KVM has at most %u a VM",
				 cfg->cpus, max);
	if (ids && last >= ids)
		return error_set(e, ERROR_USER,
				 "--cpus: this topology needs APIC ID %u, this host's KVM has "
				 "IDs up to %u",
				 last, ids - 1);
	if (__get_cpuid(0x80000008, &eax, &ebx, &ecx, &edx))
		bits = eax & 0xff;
	if (cfg->cpu_model != CPU_HOST)
		bits = CPU_MODEL_ADDRESS_BITS;
	if (memory_end(&vm->mem) > 1ull << bits)
		return error_set(e, ERROR_USER,
				 "--memory: such a guest's CPU has %u-bit addresses, which is "
				 "%lluG of RAM at most",
				 bits, ((1ull << bits) - (HOLE_END - HOLE_START)) >> 30);
	return 0;
}

/*
 * An isle's CPU has nobody else to serve while its guest waits: HLT, MWAIT and PAUSE stay in the
 * guest (Documentation/virt/kvm/api.rst, KVM_CAP_X86_DISABLE_EXITS), as far as this CPU can.
 */
static void keep_waiting_inside(struct vm *vm)
{
	struct kvm_enable_cap cap = {.cap = KVM_CAP_X86_DISABLE_EXITS};

	cap.args[0] = limit(vm, KVM_CAP_X86_DISABLE_EXITS) &
		      (KVM_X86_DISABLE_EXITS_MWAIT | KVM_X86_DISABLE_EXITS_HLT |
		       KVM_X86_DISABLE_EXITS_PAUSE);
	if (!cap.args[0] || ioctl(vm->vm_fd, KVM_ENABLE_CAP, &cap))
		log_line("isle: this KVM cannot leave HLT and PAUSE to the guest");
}

/*
 * What a PC's firmware leaves to a kernel that does not set it up by itself (Solo5 loads the
 * counter without a word of its mode): counter 0 of the 8254 takes two bytes, and the 8259s'
 * vectors begin where the BIOS has them.  It counts once, not 18 times a second, and all is masked:
 * there is nobody yet whom an interrupt could be for.
 */
static int set_up_like_firmware(struct vm *vm, struct error *e)
{
	const uint8_t vectors[2] = {0x08, 0x70};
	struct kvm_irqchip chip;
	struct kvm_pit_state2 pit;

	if (ioctl(vm->vm_fd, KVM_GET_PIT2, &pit))
		return kvm_error(e, "KVM_GET_PIT2");
	pit.channels[0].mode = 0;
	pit.channels[0].rw_mode = pit.channels[0].read_state = pit.channels[0].write_state = 3;
	if (ioctl(vm->vm_fd, KVM_SET_PIT2, &pit))
		return kvm_error(e, "KVM_SET_PIT2");
	for (chip.chip_id = 0; chip.chip_id < 2; chip.chip_id++) {
		if (ioctl(vm->vm_fd, KVM_GET_IRQCHIP, &chip))
			return kvm_error(e, "KVM_GET_IRQCHIP");
		chip.chip.pic.irq_base = vectors[chip.chip_id];
		chip.chip.pic.imr = 0xff;
		if (ioctl(vm->vm_fd, KVM_SET_IRQCHIP, &chip))
			return kvm_error(e, "KVM_SET_IRQCHIP");
	}
	return 0;
}

static int create_vm(struct vm *vm, struct error *e)
{
	uint64_t identity = KVM_IDENTITY_GPA;

	do {
		vm->vm_fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0);
	} while (vm->vm_fd < 0 && errno == EINTR); /* a signal while it waits for a thread */
	if (vm->vm_fd < 0)
		return kvm_error(e, "KVM_CREATE_VM");
	/* Only Intel without unrestricted guest uses these; there they must not be RAM. */
	ioctl(vm->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity);
	ioctl(vm->vm_fd, KVM_SET_TSS_ADDR, KVM_TSS_GPA);
	return 0;
}

static int create_interrupt_controllers(struct vm *vm, struct error *e)
{
	struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};

	if (ioctl(vm->vm_fd, KVM_CREATE_IRQCHIP, 0))
		return kvm_error(e, "KVM_CREATE_IRQCHIP");
	if (vm->cfg->isle.wanted)
		keep_waiting_inside(vm);
	if ((vm->cfg->pit || vm->plain) && ioctl(vm->vm_fd, KVM_CREATE_PIT2, &pit))
		return kvm_error(e, "KVM_CREATE_PIT2");
	return vm->plain && !vm->restoring ? set_up_like_firmware(vm, e) : 0;
}

static int set_slot(struct vm *vm, uint32_t slot, uint64_t gpa, uint64_t len, uint32_t flags,
		    struct error *e)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot, .flags = flags, .guest_phys_addr = gpa, .memory_size = len};

	if (!len)
		return 0;
	region.userspace_addr = (uintptr_t)memory_at(&vm->mem, gpa, len);
	if (ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &region))
		return kvm_error(e, "KVM_SET_USER_MEMORY_REGION");
	return 0;
}

int machine_map_memory(struct vm *vm, uint32_t flags, struct error *e)
{
	if (set_slot(vm, SLOT_LOW, 0, vm->mem.low, flags, e))
		return -1;
	return set_slot(vm, SLOT_HIGH, vm->mem.high, vm->mem.size - vm->mem.low, flags, e);
}

void machine_map_ahead(struct vm *vm, uint64_t gpa, uint64_t len)
{
	struct kvm_pre_fault_memory range = {.gpa = gpa & ~(PAGE - 1)};
	void *at;

	range.size = (gpa + len - range.gpa + PAGE - 1) & ~(PAGE - 1);
	at = memory_at(&vm->mem, range.gpa, range.size);
	/* KVM maps what is there: of a page that nobody has written, the zero page, to be read. */
	if (at && !madvise(at, range.size, MADV_POPULATE_WRITE))
		ioctl(vm->vcpus[0].fd, KVM_PRE_FAULT_MEMORY, &range);
}

/*
 * GSI n is pin n of the IOAPIC and nothing else; KVM's default adds the 8259s, which only those
 * unikernels use that know no ACPI.
 */
static int route_interrupts(struct vm *vm, struct error *e)
{
	struct {
		struct kvm_irq_routing head;
		struct kvm_irq_routing_entry entries[GSI_COUNT + GSI_LEGACY];
	} routing = {.head.nr = GSI_COUNT + (vm->plain ? GSI_LEGACY : 0)};
	struct kvm_irq_routing_entry *entry = routing.entries;
	unsigned int i;

	for (i = 0; i < GSI_COUNT; i++, entry++) {
		entry->gsi = i;
		entry->type = KVM_IRQ_ROUTING_IRQCHIP;
		entry->u.irqchip.irqchip = KVM_IRQCHIP_IOAPIC;
		entry->u.irqchip.pin = i;
	}
	for (i = 0; vm->plain && i < GSI_LEGACY; i++, entry++) {
		entry->gsi = i;
		entry->type = KVM_IRQ_ROUTING_IRQCHIP;
		entry->u.irqchip.irqchip = i < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE;
		entry->u.irqchip.pin = i % 8;
	}
	if (ioctl(vm->vm_fd, KVM_SET_GSI_ROUTING, &routing))
		return kvm_error(e, "KVM_SET_GSI_ROUTING");
	return 0;
}

/*
 * One ioeventfd a device, for any value: each registration waits for a grace period, and a
 * look at a queue that was not meant costs one load.  Unless some of its queues are not the
 * loop's.
 */
static int add_ioeventfds_of(struct vm *vm, const struct virtio_dev *dev, uint64_t window)
{
	struct kvm_ioeventfd io = {
		.addr = window + VIRTIO_MMIO_NOTIFY, .len = 4, .fd = dev->kick.fd};

	if (dev->notifiers)
		return notifiers_connect(dev, vm->vm_fd, window);
	if (dev->notify_inline)
		return 0;
	if (!dev->kick_queues)
		return ioctl(vm->vm_fd, KVM_IOEVENTFD, &io);
	io.flags = KVM_IOEVENTFD_FLAG_DATAMATCH;
	for (; io.datamatch < dev->kick_queues; io.datamatch++)
		if (ioctl(vm->vm_fd, KVM_IOEVENTFD, &io))
			return -1;
	return 0;
}

static int add_ioeventfds(struct vm *vm, struct error *e)
{
	uint64_t window = VIRTIO_MMIO_BASE;
	unsigned int i;

	if (vm->hermit)
		return unikernel_connect_network(vm, e);
	for (i = 0; i < vm->ndevices; i++, window += VIRTIO_MMIO_STRIDE)
		if (add_ioeventfds_of(vm, vm->devices[i], window) ||
		    window_swallow_ack(vm->vm_fd, window, vm->nobody))
			return kvm_error(e, "KVM_IOEVENTFD or KVM_IRQFD");
	return 0;
}

/* The guest's view of the devices' registers: it reads them without an exit. */
static int add_windows(struct vm *vm, struct error *e)
{
	struct kvm_userspace_memory_region region = {
		.slot = SLOT_WINDOWS,
		.flags = KVM_MEM_READONLY,
		.guest_phys_addr = VIRTIO_MMIO_BASE,
		.memory_size = vm->ndevices * VIRTIO_MMIO_STRIDE,
		.userspace_addr = (uintptr_t)vm->windows,
	};

	if (!vm->ndevices || vm->hermit)
		return 0;
	if (ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &region))
		return kvm_error(e, "KVM_SET_USER_MEMORY_REGION");
	return 0;
}

static int load_guest(struct vm *vm, struct error *e)
{
	struct acpi_machine acpi = {
		.topology = vm->cfg->topology, .nvirtio = vm->ndevices, .serial = vm->have_serial};

	if (vm->hermit)
		return unikernel_load(vm, e);
	if (!vm->cfg->no_acpi && acpi_build(&vm->mem, &acpi))
		return error_set(e, ERROR_MACHINE, "the ACPI tables do not fit");
	if (!vm->cfg->no_acpi && vmgenid_renew(&vm->mem))
		return error_set(e, ERROR_MACHINE, "no generation ID: %s", strerror(errno));
	if (mptable_build(&vm->mem, &vm->cfg->topology))
		return error_set(e, ERROR_MACHINE, "the MP table does not fit");
	if (boot_load(&vm->boot, &vm->mem, &vm->entry, e))
		return -1;
	return vcpu_set_entry(&vm->vcpus[0], &vm->entry, e);
}

int machine_build(struct vm *vm, struct error *e)
{
	unsigned int i;

	/*
	 * Memory before devices: from Linux 6.18 on a device leaves a grace period behind it that
	 * nobody hurries (call_srcu), and a change of the memory slots waits for it, 8 ms.
	 */
	if (create_vm(vm, e) || machine_map_memory(vm, 0, e) || add_windows(vm, e) ||
	    create_interrupt_controllers(vm, e) || route_interrupts(vm, e))
		return -1;
	for (i = 0; i < vm->cfg->cpus; i++)
		if (vcpu_create(vm, i, e))
			return -1;
	if (add_ioeventfds(vm, e))
		return -1;
	if (vm->restoring ? snapshot_load(vm->restoring, vm, e) : load_guest(vm, e))
		return -1;
	for (i = 0; i < vm->ndevices; i++)
		virtio_publish(vm->devices[i]);
	return 0;
}

void machine_teardown(struct vm *vm)
{
	unsigned int i;

	for (i = 0; i < vm->cfg->cpus; i++)
		vcpu_close(&vm->vcpus[i]);
	kvm_stats_close(vm);
	if (vm->vm_fd >= 0)
		close(vm->vm_fd);
	vm->vm_fd = -1;
	for (i = 0; i < vm->ndevices; i++)
		virtio_reset(vm->devices[i]);
	if (vm->hermit)
		unikernel_reset_network(vm);
	serial_reset(&vm->serial);
}
