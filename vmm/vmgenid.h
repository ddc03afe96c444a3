/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The VM generation ID (Microsoft, "Virtual Machine Generation ID"): 16 random bytes at
 * VMGENID_GPA, where the DSDT says (acpi.c).  A guest that finds others there than before has
 * become a copy, and takes new seeds for its random numbers; Linux does (drivers/virt/vmgenid.c).
 */
#ifndef HG_VMGENID_H
#define HG_VMGENID_H

#include "irq.h"
#include "memory.h"

/* New bytes.  0, or -1 with errno when there are none to be had. */
int vmgenid_renew(const struct guest_memory *m);

/* Tells the guest to look: the event that makes the DSDT notify the device. */
static inline void vmgenid_notify(const struct irq *irq)
{
	irq_pulse(irq);
}

#endif
