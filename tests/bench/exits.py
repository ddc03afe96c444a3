# SPDX-License-Identifier: Apache-2.0
"""Exits by reason: how often each of KVM's handlers was entered while a guest started."""

from __future__ import annotations

from tests.bench.rig import Report, Stretch

ALL = "all"
REASONS = {
    "CPUID": ("kvm_emulate_cpuid",),
    "MSR": ("kvm_emulate_rdmsr", "kvm_emulate_wrmsr"),
    "MMIO": ("vcpu_mmio_write", "vcpu_mmio_read"),
    "page fault": ("npf_interception",),
    "port": ("io_interception",),
    "control register": ("cr_interception", "dr_interception"),
    "halt": ("kvm_emulate_halt",),
}
TO_VMM = "KVM_RUN calls"


def _reasons(report: Report, stretch: Stretch) -> dict[str, int]:
    def times(function: str) -> int:
        return stretch.blocks.get(("h", report.symbols.get(function, 0)), (0, 0))[0]

    found = {reason: sum(map(times, functions)) for reason, functions in REASONS.items()}
    # An access to a device is a fault on a page that is not there.
    found["page fault"] = max(0, found["page fault"] - found["MMIO"])
    found["other"] = max(0, stretch.counts["entries"] - sum(found.values()))
    found[TO_VMM] = times("kvm_arch_vcpu_ioctl_run")
    return {ALL: stretch.counts["entries"], **found}


def by_reason(report: Report, kind: str) -> dict[str, dict[str, int]]:
    """The program's name → reason → exits; empty without a plugin or the kernel's symbols."""
    return {
        stretch.name: _reasons(report, stretch)
        for stretch in report.stretches
        if stretch.kind == kind and stretch.blocks
    }
