// SPDX-License-Identifier: Apache-2.0
#include "irq.h"

#include <linux/kvm.h>
#include <stddef.h>
#include <sys/ioctl.h>

static void set_line(const struct irq *irq, uint32_t level)
{
	struct kvm_irq_level line = {.irq = irq->gsi, .level = level};

	/* Cannot fail on a VM that has an in-kernel irqchip. */
	if (irq->vm_fd && *irq->vm_fd >= 0)
		ioctl(*irq->vm_fd, KVM_IRQ_LINE, &line);
}

void irq_pulse(const struct irq *irq)
{
	set_line(irq, 1);
	if (!irq->level)
		set_line(irq, 0);
}

void irq_lower(const struct irq *irq)
{
	set_line(irq, 0);
}
