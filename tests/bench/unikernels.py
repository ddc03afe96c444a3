# SPDX-License-Identifier: Apache-2.0
"""The rows of unikernels: their first byte, their end, their memory, and what a write costs."""

from __future__ import annotations

from collections.abc import Callable

from hypergen.config import BuildConfig
from tests.bench import profile
from tests.bench.figure import Figure, Plan
from tests.bench.rig import Report, Stretch
from tests.bench.vmms import HVT, OURS, UNIKERNEL_MIB, Vmm, hvt, unikernel_vmms
from tests.nested.unikernels import ABIS

WRITES = 100
UNIT = "instructions"


def plan(_vmms: list[Vmm]) -> Plan:
    lines = []
    for vmm, argv in unikernel_vmms().items():
        for abi in ABIS if vmm == OURS else ("v1", "v2"):
            name, image, writes = f"{vmm},{abi}", f"/bench/hello-{abi}", str(WRITES)
            runs = {
                ("hello", name): argv(image),
                ("hello-memory", name): argv(image, "wait"),
                ("hello-whole", name): argv(image, said=False),
                ("hello-whole", f"{name},{writes}"): argv(image, writes, said=False),
            }
            lines += [[*key, str(UNIKERNEL_MIB), "/", *words] for key, words in runs.items()]
    if hvt():
        lines.append(["hello", HVT, str(UNIKERNEL_MIB), "/", *hvt()])
    return lines


def _write_figures(
    report: Report, name: str, bound: Callable[[float], float | None], kvm: profile.Kvm | None
) -> list[Figure]:
    """What one more write costs the host, to a file that takes everything at once."""
    none, many = (report.stretch("hello-whole", which) for which in (name, f"{name},{WRITES}"))
    if none is None or many is None:
        return []

    def each(count: Callable[[Stretch], int]) -> float:
        return (count(many) - count(none)) / WRITES

    rows = []
    if kvm:
        own = each(lambda stretch: stretch.counts["user"]) + each(kvm.instructions)
        rows.append(Figure(f"unikernel, a write, VMM and KVM: {name}", own, UNIT, bound(2000)))
    host = each(lambda stretch: stretch.instructions - stretch.counts["guest"])
    exits = each(lambda stretch: stretch.counts["entries"])
    return [
        *rows,
        Figure(f"unikernel, a write, with all of the host: {name}", host, UNIT),
        Figure(f"unikernel, exits a write: {name}", exits, "", bound(1.2)),
    ]


def _hello_figures(report: Report, name: str, kvm: profile.Kvm | None) -> list[Figure]:
    """The rows of one VMM and interface; only ours has bounds."""

    def bound(value: float) -> float | None:
        return value if name.startswith(f"{OURS},") else None

    first, end = (report.stretch(kind, name) for kind in ("hello", "hello-end"))
    if first is None or end is None:
        return []
    # A write and the end; before interface 2 a guest also asks for its arguments.
    calls = 2 if name.endswith("v2") else 4
    entries = first.counts["entries"] + end.counts["entries"]
    both = first.instructions + end.instructions
    unit = "million instructions"
    rows = [
        Figure(f"unikernel, exec to first byte: {name}", first.instructions / 1e6, unit, bound(6)),
        Figure(f"unikernel, exec to end: {name}", both / 1e6, unit, bound(8)),
        Figure(f"unikernel, exits of {calls} hypercalls: {name}", entries, "", bound(1.2 * calls)),
    ]
    for kib in report.rows.get(("hello-memory", name), []):
        text = f"unikernel, memory beyond guest RAM: {name}"
        rows.append(Figure(text, kib[0] / 1024, "MiB", bound(1)))
    return rows + _write_figures(report, name, bound, kvm)


def _of_peers(report: Report, names: list[str]) -> list[Figure]:
    """The dearest of our interfaces, as a part of each peer."""
    firsts = {name: stretch for name in names if (stretch := report.stretch("hello", name))}
    ours = [stretch.instructions for name, stretch in firsts.items() if name.startswith(OURS)]
    return [
        Figure(
            f"unikernel, exec to first byte: of {name}'s", max(ours) / peer.instructions, "", 0.6
        )
        for name, peer in firsts.items()
        if ours and not name.startswith(OURS)
    ]


def figures(cfg: BuildConfig, report: Report) -> list[Figure]:
    names = [stretch.name for stretch in report.stretches if stretch.kind == "hello"]
    kvm = profile.Kvm(cfg, report) if report.symbols else None
    rows = [row for name in names for row in _hello_figures(report, name, kvm)]
    return rows + _of_peers(report, names)
