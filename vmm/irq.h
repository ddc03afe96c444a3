/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupts from devices to the guest: GSIs of KVM's in-kernel IOAPIC, edge triggered but for
 * those of PCI.
 *
 * KVM_IRQ_LINE and not an irqfd: an irqfd on an IOAPIC pin is injected by a kernel worker
 * (only MSIs go directly, and edges where KVM is patched), which costs two context switches
 * where this costs two short system calls in the thread that has the result at hand.
 */
#ifndef HG_IRQ_H
#define HG_IRQ_H

#include <stdbool.h>
#include <stdint.h>

struct irq {
	const int
		*vm_fd; /* the present VM's descriptor; NULL or *vm_fd < 0: goes nowhere (tests) */
	uint32_t gsi;
	bool level; /* a PCI device's INTx: the line stays up until irq_lower() */
};

/* One edge; of an INTx, the rising one.  Callable from any thread. */
void irq_pulse(const struct irq *irq);

/* The cause of an INTx is gone. */
void irq_lower(const struct irq *irq);

#endif
