# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.bench.acpi HG-VMM``: what ACPI costs a start, against an MP table alone.

Both guests have the same devices; without ACPI those are named on the kernel's command line.
"""

from __future__ import annotations

import sys
from pathlib import Path

from hypergen import config
from tests.bench import groups, rig
from tests.bench.vmms import OURS, Guest

VARIANTS: tuple[tuple[str, str, list[str]], ...] = (
    ("acpi", "", []),
    ("mptable", " acpi=off", ["--acpi", "off"]),
)


def main(hg_vmm: str) -> None:
    """Measure and print one line a variant."""
    cfg = config.load()
    overlay, vmms = groups.prepare(cfg, Path(hg_vmm))
    ours = next(vmm for vmm in vmms if vmm.name == OURS)
    plan = []
    for cpus in (1, 4):
        for name, append, options in VARIANTS:
            guest = Guest(append=Guest.append + append)
            words = [*ours.argv(guest), "--cpus", str(cpus), *options]
            plan.append(["start", f"{name},{cpus}", str(guest.memory), ours.root, *words])
    report = rig.observe(cfg, "acpi", overlay, plan, 1024, 1200)
    for stretch in report.stretches:
        if stretch.counts:
            print(stretch.name, stretch.kind, stretch.instructions / 1e6, stretch.counts)
    for name, text in report.failures.items():
        print("failed:", name, text, file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1])
