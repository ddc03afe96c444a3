/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The MP table (Intel MultiProcessor Specification 1.4): processors, one ISA bus and the IOAPIC,
 * for kernels without ACPI.  A kernel with ACPI believes the MADT, but Linux looks for this one
 * first, 16 bytes at a time through 66 KiB with a mapping of its own for each step: finding it
 * early spares such a guest four million instructions.
 */
#ifndef HG_MPTABLE_H
#define HG_MPTABLE_H

#include "memory.h"
#include "topology.h"

/* Writes the floating pointer at MPTABLE_GPA and the table behind it; 0, or -1 without such RAM. */
int mptable_build(const struct guest_memory *m, const struct cpu_topology *topology);

#endif
