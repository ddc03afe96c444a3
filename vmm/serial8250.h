/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A 16450-like UART at SERIAL_PORT for early messages (earlycon, console=ttyS0): sends at
 * once, receives from the console when the guest has no virtio console open.
 */
#ifndef HG_SERIAL8250_H
#define HG_SERIAL8250_H

#include <stdbool.h>

#include "bus.h"
#include "console.h"
#include "irq.h"

struct serial8250 {
	struct console *con;
	struct irq irq;
	uint8_t ier, lcr, mcr, scr, dll, dlm;
	bool thr_empty_pending;
};

void serial_reset(struct serial8250 *s);
void serial_access(void *opaque, uint64_t offset, bool write, uint8_t *data, unsigned int len);

/* True when the guest listens here; then serial_input() interrupts it. */
bool serial_wants_input(const struct serial8250 *s);
void serial_input(struct serial8250 *s);

/* Whether a kernel command line asks for the UART. */
bool serial_named_in(const char *cmdline);

#endif
