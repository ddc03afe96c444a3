# SPDX-License-Identifier: Apache-2.0
"""Where the instructions of a VM's start go: the VMM, the host's kernel, the guest's, by function.

The symbols are those of the build trees (System.map) and of the given hg-vmm.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from pathlib import Path

from hypergen import run
from hypergen.config import BuildConfig
from hypergen.errors import UserError
from tests.bench.rig import Report, Stretch

TOP = 25
_KERNEL = 0xFFFFFFFF80000000
_PIE = 0x555555554000
"""Where `norandmaps` loads a position independent program."""


class Symbols:
    """Names of addresses: of functions, from `nm`-like lines."""

    def __init__(self, text: str, offset: int = 0) -> None:
        rows = (line.split() for line in text.splitlines())
        found = sorted(
            (int(row[0], 16) + offset, row[2]) for row in rows if len(row) > 2 and row[1] in "tTwW"
        )
        self._addresses = [address for address, _ in found]
        self._names = [name for _, name in found]
        self.by_name = {name: address for address, name in found}

    def name(self, address: int) -> str:
        """The function that `address` is in."""
        at = bisect_right(self._addresses, address) - 1
        return self._names[at] if at >= 0 else "?"


def _system_map(cfg: BuildConfig, kind: str) -> str:
    found = sorted(cfg.work.glob(f"linux-*/build-{kind}/System.map"))
    if not found:
        raise UserError(f"no System.map of the {kind} kernel below {cfg.work}", hint="`make`")
    return found[-1].read_text()


class _Namer:
    def __init__(self, cfg: BuildConfig, report: Report, program: Path | None) -> None:
        host = Symbols(_system_map(cfg, "host"))
        anchor = "svm_vcpu_run"
        shift = report.symbols[anchor] - host.by_name[anchor]  # the host's kernel is relocated
        self._host = Symbols(_system_map(cfg, "host"), shift)
        self._guest = Symbols(_system_map(cfg, "guest"))
        self._vmm = Symbols(run.capture(["nm", program]) if program else "", _PIE)

    def __call__(self, mode: str, address: int) -> tuple[str, str]:
        """The part, and the function."""
        if mode == "g":
            if address >= _KERNEL:
                return "guest", self._guest.name(address)
            return "guest", "(before its page tables, or a program)"
        if address >= 1 << 63:
            return "host's kernel", self._host.name(address)
        if _PIE <= address < _PIE + (8 << 20):
            return "VMM", self._vmm.name(address)
        return "VMM", "(libraries)"


class Kvm:
    """What of a stretch KVM's own functions took: those of arch/x86/kvm and virt/kvm."""

    def __init__(self, cfg: BuildConfig, report: Report) -> None:
        self._name = _Namer(cfg, report, None)
        names = Counter(line.split()[2] for line in _system_map(cfg, "host").splitlines())
        trees = [cfg.work.glob(f"linux-*/build-host/{part}") for part in ("arch/x86/kvm", "virt")]
        objects = [file for tree in trees for top in tree for file in top.glob("**/*.o")]
        lines = run.capture(["nm", "--defined-only", *objects]).splitlines()
        found = {line.split()[2] for line in lines if len(line.split()) == 3}
        # The copy of an inline function has a name that other parts of the kernel have as well.
        self._functions = {name for name in found if names[name] == 1}

    def instructions(self, stretch: Stretch) -> int:
        """How many of the host's."""
        return sum(
            count
            for (mode, address), (_, count) in stretch.blocks.items()
            if mode == "h"
            and address >= _KERNEL
            and self._name(mode, address)[1] in self._functions
        )


def text(cfg: BuildConfig, report: Report, kind: str, vmm: str, program: Path | None) -> str:
    """Tables of a stretch of `vmm`: instructions by function, exits by the guest's function."""
    stretch = report.stretch(kind, vmm)
    if stretch is None:
        raise UserError(f"{vmm}: nothing was measured", hint="a name of the table's")
    name = _Namer(cfg, report, program)
    parts: dict[str, Counter[str]] = {}
    for (mode, address), (_, count) in stretch.blocks.items():
        part, function = name(mode, address)
        parts.setdefault(part, Counter())[function] += count
    lines = [f"{stretch.instructions:,} instructions, {kind} of {vmm}"]
    for part, functions in parts.items():
        lines += ["", f"| {part} | {sum(functions.values()):,} |", "|---|---|"]
        lines += [f"| {function} | {count:,} |" for function, count in functions.most_common(TOP)]
    by_function: Counter[str] = Counter()
    for address, count in stretch.exits.items():
        by_function[name("g", address)[1]] += count
    lines += ["", f"| exits out of | {stretch.counts['entries']:,} |", "|---|---|"]
    lines += [f"| {function} | {count:,} |" for function, count in by_function.most_common(TOP)]
    return "\n".join(lines) + "\n"
