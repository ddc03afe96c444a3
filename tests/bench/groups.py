# SPDX-License-Identifier: Apache-2.0
"""The rows of docs/performance.md: what each group asks of the observer, and how it reads."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from hypergen import run
from hypergen.config import BuildConfig
from hypergen.errors import BuildError, UserError
from tests.bench import exits, rig, unikernels
from tests.bench.figure import Figure, Plan
from tests.bench.overlay import Overlay
from tests.bench.rig import Report
from tests.bench.vmms import (
    BEYOND,
    OURS,
    Guest,
    Vmm,
    install,
)
from tests.nested.unikernels import build_all

TAP = "bench0"
LARGE = 8192
"""MiB of the large guest, more than the measured host has."""
MANY = int(os.environ.get("BENCH_VMS") or 200)
"""VMs in one host; a multiple of 4."""


def _line(what: str, vmm: Vmm, guest: Guest, name: str = "") -> list[str]:
    return [what, name or vmm.name, str(guest.memory), vmm.root, *vmm.argv(guest)]


def _ours(rows: dict[str, float]) -> float:
    if OURS not in rows:
        raise BuildError(f"{OURS}: no guest", tail=tuple(f"{k}: {v}" for k, v in rows.items()))
    return rows[OURS]


def _best_peer(rows: dict[str, float]) -> float:
    peers = [value for name, value in rows.items() if name.startswith("microvm")]
    if not peers:
        raise BuildError("QEMU microvm: no guest")
    return min(peers)


def _to_best(rows: dict[str, float]) -> float:
    """Our figure, as a part of the best peer's."""
    peers = [value for name, value in rows.items() if name != OURS and not name.startswith(BEYOND)]
    return _ours(rows) / min(peers)


def _medians(report: Report, key: str) -> dict[str, float]:
    rows = {name: lines for (kind, name), lines in report.rows.items() if kind == key}
    return {name: statistics.median(line[0] for line in lines) for name, lines in rows.items()}


# -- the host alone ------------------------------------------------------------------------------


def _host_figures(cfg: BuildConfig, report: Report) -> list[Figure]:
    boot = report.values["prompt-tsc"] - report.values["entry-tsc"]
    used = report.values["memory-total"] - report.values["memory-available"]
    return [
        Figure("size of bzImage", (cfg.out / "bzImage").stat().st_size / 2**20, "MiB", 12),
        Figure("kernel entry to prompt on tty3", boot / 1e9, "virtual s", 2.5),
        Figure("host memory used at the prompt", used / 1024, "MiB", 80),
    ]


# -- start to init -------------------------------------------------------------------------------


def _tuned(vmms: list[Vmm]) -> list[Vmm]:
    """Without the variants that only differ in how they start."""
    return [vmm for vmm in vmms if not vmm.variant]


def _start_plan(vmms: list[Vmm]) -> Plan:
    return [_line("start", vmm, Guest()) for vmm in vmms]


def _start_figures(_cfg: BuildConfig, report: Report) -> list[Figure]:
    start = _medians(report, "start")
    rows = [
        Figure(f"VM start to guest's init: {name}", value / 1e6, "million instructions")
        for name, value in start.items()
    ]
    rows.append(Figure("ratio to the faster microvm", _ours(start) / _best_peer(start), "", 0.4))
    if "lkvm" in start:
        rows.append(Figure("ratio to lkvm with a bzImage", _ours(start) / start["lkvm"], "", 0.12))
    counts = exits.by_reason(report, "start")
    for name, reasons in counts.items():
        text = ", ".join(f"{n} {reason}" for reason, n in reasons.items() if reason != exits.ALL)
        rows.append(Figure(f"exits until init: {name} ({text})", reasons[exits.ALL], ""))
    total = {name: float(reasons[exits.ALL]) for name, reasons in counts.items()}
    if total:
        rows.append(Figure("exits: ratio to the best peer", _to_best(total), "", 0.25))
    return rows


# -- the VMM's own way to the first guest instruction ----------------------------------------------


def _first_plan(vmms: list[Vmm]) -> Plan:
    return [_line("first", vmm, Guest(tiny=True)) for vmm in _tuned(vmms) if vmm.devices]


def _first_figures(_cfg: BuildConfig, report: Report) -> list[Figure]:
    rows = []
    for kind, guest in (("first", "a guest of five instructions"), ("start", "Linux")):
        for stretch in report.stretches:
            if stretch.kind == kind and stretch.counts.get("entries"):
                reach = 3.0 if stretch.name == OURS and kind == "first" else None
                value = stretch.counts["first"] / 1e6
                name = f"until the first guest instruction, {guest}: {stretch.name}"
                rows.append(Figure(name, value, "million instructions", reach))
    return rows


# -- memory, and an idle guest ---------------------------------------------------------------------


def _idle_plan(vmms: list[Vmm]) -> Plan:
    small = [_line("idle", vmm, Guest(), f"{vmm.name},128") for vmm in _tuned(vmms)]
    large = [_line("idle", vmm, Guest(LARGE), f"{vmm.name},{LARGE}") for vmm in _tuned(vmms)]
    return small + large


def _idle_figures(_cfg: BuildConfig, report: Report) -> list[Figure]:
    rows = []
    for (key, name), lines in report.rows.items():
        if key == "overhead" and "," in name and name.rpartition(",")[2].isdigit():
            vmm, _, memory = name.rpartition(",")
            text = f"memory beyond guest RAM, {memory} MiB idle: {vmm}"
            rows.append(Figure(text, lines[0][0] / 1024, "MiB", 1.5 if vmm == OURS else None))
    for key, unit, seconds in (("exits", "exits a second", 60), ("cpu", "CPU instructions/s", 60)):
        found: dict[str, float] = {}
        for stretch in report.stretches:
            vmm, _, memory = stretch.name.rpartition(",")
            if stretch.kind == "idle" and memory == "128" and stretch.counts:
                cpu = report.rows[("idle", stretch.name)][0][0]
                found[vmm] = (stretch.counts["entries"] if key == "exits" else cpu) / seconds
        if OURS in found:
            best = min(value for name, value in found.items() if name != OURS)
            rows += [
                Figure(f"idle guest: {name}", value, unit, best if name == OURS else None)
                for name, value in found.items()
            ]
    return rows


# -- snapshots -----------------------------------------------------------------------------------

RESTORES = {"restore": "its files as they were written", "restore-verified": "verify=on"}
"""As by default, which has the bounds; and with all that was saved compared with its checksum."""


def _restore_plan(vmms: list[Vmm]) -> Plan:
    return [_line("restore", vmm, Guest(512)) for vmm in vmms if vmm.name == OURS]


def _restore_figures(_cfg: BuildConfig, report: Report) -> list[Figure]:
    cold = _ours(_medians(report, "cold"))
    rows = [Figure("512 MiB: cold start to init", cold / 1e6, "million instructions")]
    for kind, text in RESTORES.items():
        stretch, answer = report.stretch(kind, OURS), _medians(report, kind).get(OURS)
        if stretch is None or answer is None:
            continue
        first = stretch.counts["first"]
        name = f"512 MiB, snapshot restored ({text})"
        bounds = (0.05, 0.15) if kind == "restore" else (None, None)
        rows += [
            Figure(f"{name}: first guest instruction", first / 1e6, "million instructions"),
            Figure(f"{name}: the same, of a cold start", first / cold, "", bounds[0]),
            Figure(f"{name}: the guest answers", answer / 1e6, "million instructions"),
            Figure(f"{name}: the same, of a cold start", answer / cold, "", bounds[1]),
        ]
    return rows


# -- disk and network ------------------------------------------------------------------------------

IO_ROWS = {
    "disk-read-qd1": "4 KiB random read, depth 1",
    "disk-read-qd32": "4 KiB random read, depth 32",
    "disk-write-qd1": "4 KiB random write, depth 1",
    "disk-write-qd32": "4 KiB random write, depth 32",
    "disk-read-seq": "sequential read, 1 MiB",
    "disk-write-seq": "sequential write, 1 MiB",
    "net-request": "TCP request and response",
    "net-send": "TCP stream out of the guest, 1 MiB",
    "net-receive": "TCP stream into the guest, 1 MiB",
}


def _io_plan(vmms: list[Vmm]) -> Plan:
    guest = Guest(256, initrd="/bench/io.cpio", disk="/bench/disk", tap=TAP)
    measured = [vmm for vmm in _tuned(vmms) if vmm.devices]
    return [line for vmm in measured for line in (["net", TAP], _line("io", vmm, guest))]


def _io_figures(_cfg: BuildConfig, report: Report) -> list[Figure]:
    rows = []
    for key, text in IO_ROWS.items():
        found = _medians(report, key)
        rows += [
            Figure(f"{text}: {name}", value / 1e3, "thousand instructions")
            for name, value in found.items()
        ]
        if OURS in found and len(found) > 1:
            ratio = _ours(found) / _best_peer(found)
            rows.append(Figure(f"{text}: ratio to the faster microvm", ratio, "", 0.8))
    return rows


# -- many VMs --------------------------------------------------------------------------------------


def _many_plan(vmms: list[Vmm]) -> Plan:
    return [_line("many", vmm, Guest(32), str(MANY)) for vmm in vmms if vmm.name == OURS]


def _many_figures(_cfg: BuildConfig, report: Report) -> list[Figure]:
    steps = sorted(
        (int(at), *lines[0]) for (key, at), lines in report.rows.items() if key == "many-at"
    )
    if len(steps) < 3:
        raise BuildError(f"{MANY} VMs", tail=tuple(f"{k}: {v}" for k, v in report.failures.items()))
    count, cycles, kib = steps[-1]
    quarter = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairwise(steps)]
    listed = next(lines[0][0] for (key, _), lines in report.rows.items() if key == "many-list")
    ended = next(lines[0][0] for (key, _), lines in report.rows.items() if key == "many-quit")
    left = next(lines[0][0] for (key, _), lines in report.rows.items() if key == "many-left")
    each = f"{count} VMs of 32 MiB"
    return [
        Figure(f"{each}: created, each to its init", cycles / count / 1e6, "M instructions a VM"),
        Figure(f"{each}: the last quarter to the first", quarter[-1] / quarter[0], "", 1.1),
        Figure(f"{each}: memory, guest RAM included", kib / count / 1024, "MiB a VM", 34),
        Figure(f"{each}: asked for their state", listed / count / 1e6, "M instructions a VM"),
        Figure(f"{each}: ended", ended / count / 1e6, "M instructions a VM"),
        Figure(f"{each}: memory that stays used afterwards", left / 1024, "MiB"),
    ]


# -- the size of the program -----------------------------------------------------------------------


def _size_figures(cfg: BuildConfig, _report: Report) -> list[Figure]:
    program = next((p for p in (cfg.work / "initramfs" / "stripped").glob("**/hg-vmm")), None)
    size = float(program.stat().st_size) / 1024 if program else 0.0
    return [Figure("hg-vmm, stripped", size, "KiB", 350)] if program else []


@dataclass(frozen=True)
class Group:
    """Rows that belong together.

    Attributes:
        plan: the observer's lines; None asks nothing of it.
        figures: the report's rows.
        memory: MiB that the measured host must have.
    """

    plan: Callable[[list[Vmm]], Plan] | None
    figures: Callable[[BuildConfig, Report], list[Figure]]
    memory: int = 3072


GROUPS = {
    "host": Group(None, _host_figures),
    "size": Group(None, _size_figures),
    "start": Group(_start_plan, _start_figures),
    "first": Group(_first_plan, _first_figures),
    "idle": Group(_idle_plan, _idle_figures),
    "restore": Group(_restore_plan, _restore_figures),
    "io": Group(_io_plan, _io_figures),
    "unikernel": Group(unikernels.plan, unikernels.figures),
    "many": Group(_many_plan, _many_figures, 2048 + 36 * MANY),
}


def _guest_archive(
    cfg: BuildConfig, program: str, sources: list[str], flags: tuple[str, ...]
) -> Path:
    archive = Overlay()
    archive.copy("init", rig.compile_c(cfg, program, sources, flags))
    return archive.write(cfg.out / "bench" / f"{program}.cpio")


def _host(cfg: BuildConfig, init: Path | None) -> Overlay:
    """The observer; `init` takes the place of the shipped PID 1."""
    overlay = rig.observer(cfg)
    if init:
        overlay.copy("init", init)
    return overlay


def prepare(
    cfg: BuildConfig, hg_vmm: Path | None, init: Path | None = None
) -> tuple[Overlay, list[Vmm]]:
    """The overlay for all groups; `hg_vmm` takes the place of the shipped program."""
    overlay = _host(cfg, init)
    files = {
        "guest.cpio": _guest_archive(cfg, "guest_init", ["guest_init.c"], rig.FREESTANDING),
        "io.cpio": _guest_archive(cfg, "guest_io", ["guest_io.c", "guest_console.c"], rig.STATIC),
        "tiny": rig.compile_c(cfg, "tiny", ["tiny.S"], rig.TINY),
        **build_all(cfg.out / "bench", "hello"),
    }
    vmms = install(cfg, overlay, files)
    if hg_vmm:
        stripped = cfg.out / "bench" / "hg-vmm"
        run.run(["strip", "-o", stripped, hg_vmm], log=cfg.logs / "bench-strip.log")
        overlay.copy("usr/bin/hg-vmm", stripped)
    return overlay, vmms


def profile(cfg: BuildConfig, name: str, vmm: str, hg_vmm: Path | None, cpu: str) -> Report:
    """Measure one group with one VMM only: its report."""
    overlay, vmms = prepare(cfg, hg_vmm)
    plan = GROUPS[name].plan
    if plan is None or vmm not in (known.name for known in vmms):
        raise UserError(f"no profile of {name}, {vmm}", hint="a name of the table's")
    lines = plan([known for known in vmms if known.name == vmm])
    return rig.observe(cfg, "profile", overlay, lines, GROUPS[name].memory, 3600, cpu)


def measure(
    cfg: BuildConfig, names: list[str], hg_vmm: Path | None, init: Path | None, cpu: str
) -> tuple[list[Figure], Report]:
    """Measure the groups; the rows, and what those of the one nested host were made of.

    The host's own boot is that of another machine, without the VMMs in its initramfs.
    """
    rows: list[Figure] = []
    if "host" in names:
        rows += _host_figures(cfg, rig.observe(cfg, "alone", _host(cfg, init), [], 1024, 600, cpu))
    groups = [GROUPS[name] for name in names if name != "host"]
    report = Report()
    if any(group.plan for group in groups):
        overlay, vmms = prepare(cfg, hg_vmm, init)
        plan = [line for group in groups if group.plan for line in group.plan(vmms)]
        memory = max(group.memory for group in groups)
        report = rig.observe(cfg, "host", overlay, plan, memory, 7200, cpu)
    for group in groups:
        try:
            rows += group.figures(cfg, report)
        except (BuildError, LookupError, ValueError, StopIteration):
            if not report.unfinished:
                raise
    return rows, report
