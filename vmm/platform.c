// SPDX-License-Identifier: Apache-2.0
/* The table of this machine's devices, and the few ports that are not worth a file. */
#include <linux/virtio_config.h>
#include <stdio.h>
#include <stdlib.h>
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>

#include "control.h"
#include "hermit/plain.h"
#include "log.h"
#include "qmp_devices.h"
#include "virtio/balloon.h"
#include "virtio/blk.h"
#include "virtio/console.h"
#include "virtio/fs.h"
#include "virtio/net.h"
#include "virtio/rng.h"
#include "virtio/vsock.h"
#include "virtio/window.h"
#include "vm.h"

#define SLP_EN	      0x20 /* SLEEP_CONTROL_REG, ACPI 6.4 section 4.8.3.7 */
#define SLP_TYPE(v)   ((v) >> 2 & 7)
#define KBD_PULSE_RST 0xfe /* 8042 command: pulse the reset line */

/* pvpanic (QEMU's docs/specs/pvpanic.rst): a read tells which events are understood. */
#define PVPANIC_PANICKED     1
#define PVPANIC_CRASH_LOADED 2
#define PVPANIC_SHUTDOWN     4

static void sleep_control(void *opaque, uint64_t offset, bool write, uint8_t *data,
			  unsigned int len)
{
	if (!write)
		memset(data, 0, len);
	else if (offset == 0 && (data[0] & SLP_EN) && SLP_TYPE(data[0]) == SLEEP_TYPE_S5)
		vm_ask(opaque, REQUEST_POWEROFF);
}

static void reset_port(void *opaque, uint64_t offset, bool write, uint8_t *data, unsigned int len)
{
	(void)offset;
	if (!write)
		memset(data, 0, len);
	else if (data[0] == RESET_VALUE)
		vm_ask(opaque, REQUEST_RESET);
}

/* For kernels without ACPI: there is no keyboard controller, but its reset command works. */
static void keyboard_port(void *opaque, uint64_t offset, bool write, uint8_t *data,
			  unsigned int len)
{
	(void)offset;
	if (!write)
		memset(data, 0xff, len);
	else if (data[0] == KBD_PULSE_RST)
		vm_ask(opaque, REQUEST_RESET);
}

static void pvpanic_port(void *opaque, uint64_t offset, bool write, uint8_t *data, unsigned int len)
{
	(void)offset;
	if (!write) {
		memset(data, 0, len);
		data[0] = PVPANIC_PANICKED | PVPANIC_CRASH_LOADED | PVPANIC_SHUTDOWN;
	} else if (data[0] & PVPANIC_PANICKED) {
		vm_ask(opaque, REQUEST_PANICKED);
	} else if (data[0] & PVPANIC_SHUTDOWN) {
		vm_ask(opaque, REQUEST_POWEROFF);
	} else if (data[0] & PVPANIC_CRASH_LOADED) {
		log_guest("the guest panicked and runs its crash kernel");
	}
}

static void on_console_input(void *arg)
{
	struct vm *vm = arg;

	/* hvc0 if its driver runs, else whoever reads the UART. */
	if (virtio_is_running(vm->vcon))
		virtio_console_input(vm->vcon);
	else if (vm->have_serial && serial_wants_input(&vm->serial))
		serial_input(&vm->serial);
}

static void on_console_quit(void *arg)
{
	struct vm *vm = arg;

	vm->quit_reason = "host-ui";
	vm_ask(vm, REQUEST_QUIT);
}

static void on_console_size(void *arg, uint16_t cols, uint16_t rows)
{
	struct vm *vm = arg;

	virtio_console_resize(vm->vcon, cols, rows);
}

static void on_console_flushed(void *arg)
{
	struct vm *vm = arg;

	virtio_console_flushed(vm->vcon);
}

/* QEMU's event. */
static void on_balloon_change(void *arg, uint64_t actual)
{
	struct vm *vm = arg;

	control_event(vm->control, "BALLOON_CHANGE", "{s:I}", "actual", (json_int_t)actual);
}

static int add_device(struct vm *vm, struct virtio_dev *dev, struct error *e)
{
	unsigned int i = vm->ndevices;

	if (!dev)
		return -1;
	if (i == MAX_VIRTIO)
		return error_set(e, ERROR_USER,
				 "too many devices: disks, networks and the rest "
				 "are at most %d together, the console and entropy included",
				 MAX_VIRTIO);
	if (vm->cfg->packed_rings && !dev->split_only)
		dev->features |= 1ull << VIRTIO_F_RING_PACKED;
	dev->irq = (struct irq){.vm_fd = &vm->vm_fd, .gsi = gsi_virtio(i)};
	bus_claim(&vm->mmio, VIRTIO_MMIO_BASE + i * VIRTIO_MMIO_STRIDE, VIRTIO_MMIO_STRIDE,
		  virtio_mmio_access, dev, true);
	window_attach(dev, vm->windows + i * VIRTIO_MMIO_STRIDE);
	vm->devices[vm->ndevices++] = dev;
	return 0;
}

/* QEMU has no such event. */
static void on_share_loss(void *arg, const char *tag)
{
	struct vm *vm = arg;

	control_event(vm->control, "X_HYPERGEN_SHARE_LOST", "{s:s}", "tag", tag);
}

/* What costs nothing unless it was asked for. */
static int add_optional_devices(struct vm *vm, struct error *e)
{
	const struct vm_config *cfg = vm->cfg;
	struct virtio_dev *dev;
	unsigned int i;

	if (cfg->balloon.wanted) {
		vm->balloon = balloon_create(&vm->mem, &vm->loop, &cfg->balloon, e);
		if (add_device(vm, vm->balloon, e))
			return -1;
		balloon_on_change(vm->balloon, on_balloon_change, vm);
	}
	if (cfg->vsock.cid && add_device(vm, vsock_create(&vm->mem, &vm->loop, &cfg->vsock, e), e))
		return -1;
	for (i = 0; i < cfg->nshares; i++) {
		dev = fs_create(&vm->mem, &vm->loop, &cfg->shares[i], cfg->virtiofsd, cfg->run_dir,
				e);
		if (add_device(vm, dev, e))
			return -1;
		fs_on_loss(dev, on_share_loss, vm);
	}
	return 0;
}

static int add_devices(struct vm *vm, struct error *e)
{
	const struct vm_config *cfg = vm->cfg;
	unsigned int i;

	vm->windows = windows_create(MAX_VIRTIO);
	vm->nobody = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!vm->windows || vm->nobody < 0)
		return error_set(e, ERROR_MACHINE, "devices: %s", strerror(errno));
	vm->vcon = virtio_console_create(&vm->mem, &vm->loop, vm->console, e);
	if (add_device(vm, vm->vcon, e))
		return -1;
	for (i = 0; i < cfg->ndisks; i++) {
		vm->disks[i] = blk_create(&vm->mem, &vm->loop, &cfg->disks[i], i, e);
		if (add_device(vm, vm->disks[i], e))
			return -1;
	}
	for (i = 0; i < cfg->nnets; i++)
		if (add_device(vm, net_create(&vm->mem, &vm->loop, &cfg->nets[i], e), e))
			return -1;
	if (add_device(vm, rng_create(&vm->mem, &vm->loop, e), e))
		return -1;
	return add_optional_devices(vm, e);
}

/* Where no ACPI tells of the devices: a parameter each (kernel-parameters.txt, virtio_mmio). */
static int name_devices(struct vm *vm, struct error *e)
{
	char *text, *longer;
	unsigned int i;

	if (!vm->cfg->no_acpi)
		return 0;
	text = strdup(vm->cfg->cmdline);
	for (i = 0; text && i < vm->ndevices; i++, text = longer) {
		if (asprintf(&longer, "%s virtio_mmio.device=%lluK@0x%llx:%u", text,
			     VIRTIO_MMIO_STRIDE >> 10, VIRTIO_MMIO_BASE + i * VIRTIO_MMIO_STRIDE,
			     gsi_virtio(i)) < 0)
			longer = NULL;
		free(text);
	}
	vm->boot.cmdline = text;
	return text ? 0 : error_set(e, ERROR_MACHINE, "out of memory");
}

int platform_create(struct vm *vm, struct error *e)
{
	const struct console_hooks hooks = {.input = on_console_input,
					    .quit = on_console_quit,
					    .size = on_console_size,
					    .flushed = on_console_flushed,
					    .arg = vm};

	if (add_devices(vm, e) || name_devices(vm, e))
		return -1;
	console_set_hooks(vm->console, &hooks);
	qmp_block_errors(vm);
	vm->have_serial = vm->cfg->serial || vm->plain || serial_named_in(vm->cfg->cmdline);
	vm->serial.con = vm->console;
	vm->serial.irq = (struct irq){.vm_fd = &vm->vm_fd, .gsi = GSI_SERIAL};
	vm->power_button = (struct irq){.vm_fd = &vm->vm_fd, .gsi = GSI_EVENT};
	vm->generation = (struct irq){.vm_fd = &vm->vm_fd, .gsi = GSI_GENERATION};
	if (vm->have_serial)
		bus_claim(&vm->ports, SERIAL_PORT, 8, serial_access, &vm->serial, false);
	if (vm->plain)
		plain_connect(vm);
	bus_claim(&vm->ports, SLEEP_CONTROL_PORT, 2, sleep_control, vm, false);
	bus_claim(&vm->ports, RESET_PORT, 1, reset_port, vm, false);
	bus_claim(&vm->ports, KEYBOARD_PORT, 1, keyboard_port, vm, false);
	bus_claim(&vm->ports, PVPANIC_PORT, 1, pvpanic_port, vm, false);
	return 0;
}
