/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ACPI tables (ACPI 6.4, hardware-reduced profile, section 4.1): RSDP, XSDT, FADT,
 * MADT, DSDT.  They are the only description of the machine that a guest gets.
 */
#ifndef HG_ACPI_H
#define HG_ACPI_H

#include <stdbool.h>
#include <stdint.h>

#include "memory.h"
#include "topology.h"

struct acpi_machine {
	struct cpu_topology topology;
	unsigned int nvirtio; /* devices at VIRTIO_MMIO_BASE, gsi_virtio() */
	bool serial;
};

/* Writes the tables at ACPI_GPA, RSDP first.  0, or -1 when they do not fit. */
int acpi_build(const struct guest_memory *m, const struct acpi_machine *machine);

#endif
