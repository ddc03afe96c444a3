// SPDX-License-Identifier: Apache-2.0
/* Interrupt controllers and the UART. */
#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

#include "snapshot/state.h"

/* 8259s (which KVM always makes with the IOAPIC), IOAPIC. */
#define NCHIPS 3

struct uart_state {
	uint8_t present, ier, lcr, mcr, scr, dll, dlm, thr_empty_pending;
};

int state_save_machine(struct vm *vm, struct snap_out *o, struct error *e)
{
	const struct serial8250 *s = &vm->serial;
	struct uart_state uart = {.present = vm->have_serial,
				  .ier = s->ier,
				  .lcr = s->lcr,
				  .mcr = s->mcr,
				  .scr = s->scr,
				  .dll = s->dll,
				  .dlm = s->dlm,
				  .thr_empty_pending = s->thr_empty_pending};
	struct kvm_irqchip chip;
	uint32_t i;

	for (i = 0; i < NCHIPS; i++) {
		memset(&chip, 0, sizeof(chip));
		chip.chip_id = i;
		if (ioctl(vm->vm_fd, KVM_GET_IRQCHIP, &chip))
			return error_set(e, ERROR_MACHINE, "KVM: KVM_GET_IRQCHIP: %s",
					 strerror(errno));
		snap_begin(o, SNAP_IRQCHIP, i);
		snap_put(o, &chip.chip, sizeof(chip.chip));
		snap_end(o);
	}
	snap_begin(o, SNAP_PLATFORM, 0);
	snap_put(o, &uart, sizeof(uart));
	snap_end(o);
	return 0;
}

static int load_uart(struct vm *vm, const uint8_t *file, struct error *e)
{
	struct serial8250 *s = &vm->serial;
	struct uart_state uart;
	struct snap_in in;

	snap_find(file, SNAP_PLATFORM, 0, &in);
	snap_take_to(&in, &uart, sizeof(uart));
	if (snap_done(&in, "the UART", e))
		return -1;
	if (!uart.present != !vm->have_serial)
		return error_set(e, ERROR_USER, "is of a machine %s a UART: %s --serial",
				 uart.present ? "with" : "without",
				 uart.present ? "give" : "leave out");
	s->ier = uart.ier & 0xf; /* as serial8250.c keeps it */
	s->lcr = uart.lcr;
	s->mcr = uart.mcr;
	s->scr = uart.scr;
	s->dll = uart.dll;
	s->dlm = uart.dlm;
	s->thr_empty_pending = uart.thr_empty_pending;
	return 0;
}

int state_load_machine(struct vm *vm, const uint8_t *file, struct error *e)
{
	struct kvm_irqchip chip;
	struct snap_in in;
	uint32_t i;

	for (i = 0; i < NCHIPS; i++) {
		memset(&chip, 0, sizeof(chip));
		chip.chip_id = i;
		snap_find(file, SNAP_IRQCHIP, i, &in);
		snap_take_to(&in, &chip.chip, sizeof(chip.chip));
		if (snap_done(&in, "an interrupt controller", e))
			return -1;
		if (ioctl(vm->vm_fd, KVM_SET_IRQCHIP, &chip))
			return error_set(e, ERROR_MACHINE, "KVM: KVM_SET_IRQCHIP: %s",
					 strerror(errno));
	}
	return load_uart(vm, file, e);
}
