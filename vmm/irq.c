// SPDX-License-Identifier: Apache-2.0
#include "irq.h"

#include <linux/kvm.h>
#include <stddef.h>
#include <sys/ioctl.h>

void irq_pulse(const struct irq *irq)
{
	struct kvm_irq_level line = {.irq = irq->gsi, .level = 1};

	if (!irq->vm_fd || *irq->vm_fd < 0)
		return;
	/* Cannot fail on a VM that has an in-kernel irqchip. */
	ioctl(*irq->vm_fd, KVM_IRQ_LINE, &line);
	line.level = 0;
	ioctl(*irq->vm_fd, KVM_IRQ_LINE, &line);
}
