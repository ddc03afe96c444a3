# SPDX-License-Identifier: Apache-2.0
"""The measured machine: the shipped bzImage in QEMU, in virtual time, and what it reports.

QEMU's ``-icount shift=0,sleep=off`` lets one instruction take one nanosecond of virtual time and
skips idle time, and the TSC counts that time from power-on. So a figure does not depend on the
machine that the bench runs on, nor on what else that is doing, and two runs agree.

Nothing is added to what is measured: the shipped bzImage starts with a second initramfs whose
``rdinit=`` observes tty3's text from inside (runner.c), a debugger's breakpoint reads the TSC
at the kernel's first instruction, and a plugin of QEMU's translator (plugin.c) counts from
outside. There is no real disk and no network card: both answer in real time.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hypergen import run
from hypergen.boot import emulator
from hypergen.config import BuildConfig
from hypergen.errors import UserError
from tests.bench.gdb import Gdb
from tests.bench.overlay import Overlay
from tests.e2e.bounds import TimedOut, bound
from tests.e2e.machine import FIRST_SERIAL, SECOND_SERIAL, Machine

HERE = Path(__file__).resolve().parent
KERNEL_ENTRY = 0x10200
"""Where QEMU's loader jumps: the real-mode code of a bzImage, one sector in (boot protocol)."""

CPU = "max,+svm"
"""The measured machine's; what else it may be is in docs/performance.md ("What is counted")."""

SILENCE = 1200
"""Real seconds between two lines of the observer after which it is given up."""

APPEND = "rdinit=/bench/runner console=tty0 hypergen.shell=tty3 norandmaps"
WARNINGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror")
STATIC = (*WARNINGS, "-static")
PLUGIN = (*WARNINGS, "-shared", "-fPIC")
FREESTANDING = (*WARNINGS, "-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector")
TINY = ("-nostdlib", "-static", "-Wl,--build-id=none,-Ttext-segment=0x1000000")


@dataclass
class Stretch:
    """What the plugin counted between two marks.

    Attributes:
        kind, name: from the observer: what was measured, and of which program.
        counts: user, kernel, guest, entries, first, user-first.
        blocks: (mode, address) → (times entered, instructions); mode h or g.
        exits: the guest's address → exits out of the block there.
    """

    kind: str
    name: str
    counts: dict[str, int] = field(default_factory=dict)
    blocks: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)
    exits: Counter[int] = field(default_factory=Counter)

    @property
    def instructions(self) -> int:
        """All of them."""
        return sum(self.counts[part] for part in ("user", "kernel", "guest"))


@dataclass
class Report:
    """What one run of the machine reported.

    Attributes:
        values: single figures by name.
        rows: (first word, second word) of a line → its numbers, one entry a line.
        failures: the last output of what did not get there, by program.
        repeated: the same, of what got there when it was begun again.
        unfinished: the end of it is missing.
        symbols: functions of the host's kernel → their addresses.
        stretches: what the plugin counted.
    """

    values: dict[str, int] = field(default_factory=dict)
    rows: dict[tuple[str, str], list[list[int]]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    symbols: dict[str, int] = field(default_factory=dict)
    stretches: list[Stretch] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    unfinished: bool = False
    _attempt: tuple[int, dict[tuple[str, str], int], dict[str, str]] = (0, {}, {})

    def give_up(self) -> None:
        """Nothing more comes; what is under way does not count."""
        self._void()
        self.failures["the measured host"] = (
            "nothing came any more: what is missing was not measured"
        )

    def _void(self) -> None:
        """What has come since the last attempt began does not count; the plugin counted it."""
        stretches, rows, failures = self._attempt
        for stretch in self.stretches[stretches:]:
            stretch.kind = "void"
        for key in self.rows:
            del self.rows[key][rows.get(key, 0) :]
        self.rows = {key: lines for key, lines in self.rows.items() if lines}
        now = self.failures.items() - failures.items()
        self.repeated += [f"{name}: {output}" for name, output in now]
        self.failures = failures

    def line(self, text: str) -> None:
        """Take in one line of the observer's."""
        key, _, rest = text.partition(" ")
        words = rest.split()
        if key == "failed":
            name, _, output = rest.partition(" ")
            self.failures[name] = output
        elif key == "attempt":
            rows = {key: len(lines) for key, lines in self.rows.items()}
            self._attempt = len(self.stretches), rows, dict(self.failures)
        elif key == "void":
            self._void()
        elif key == "stretch":
            self.stretches.append(Stretch(words[0], words[1]))
        elif key == "symbol":
            self.symbols[words[0]] = int(words[1], 16)
        elif key == "io":
            self.rows.setdefault((words[1], words[0]), []).append([int(words[2])])
        elif len(words) == 1:
            self.values[key] = int(rest)
        elif words:
            self.rows.setdefault((key, words[0]), []).append([int(word) for word in words[1:]])

    def count(self, lines: Iterator[str]) -> None:
        """Take in the plugin's file: its stretches come in the order of the observer's."""
        waiting = iter(self.stretches)
        stretch = Stretch("", "")
        for line in lines:
            key, *numbers = line.split()
            if key == "stretch":
                stretch = next(waiting)
            elif key in ("h", "g"):
                block = key, int(numbers[0], 16)  # QEMU may have translated it more than once
                times, count = stretch.blocks.get(block, (0, 0))
                stretch.blocks[block] = (times + int(numbers[1]), count + int(numbers[2]))
            elif key == "x":
                stretch.exits[int(numbers[0], 16)] += int(numbers[1])
            else:
                stretch.counts[key] = int(numbers[0])

    def stretch(self, kind: str, name: str) -> Stretch | None:
        """The stretch of this kind and program."""
        for stretch in self.stretches:
            if (stretch.kind, stretch.name) == (kind, name) and stretch.counts:
                return stretch
        return None


def compile_c(cfg: BuildConfig, target: str, sources: list[str], flags: tuple[str, ...]) -> Path:
    """Compile files of this folder into ``out/bench/TARGET``."""
    path = cfg.out / "bench" / target
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [HERE / name for name in sources]
    run.run(["cc", *flags, "-o", path, *files], log=cfg.logs / f"bench-cc-{target}.log")
    return path


def observer(cfg: BuildConfig) -> Overlay:
    """An overlay with the observer in it."""
    overlay = Overlay()
    sources = ["runner.c", "vms.c", "work.c", "many.c", "net.c"]
    overlay.copy("bench/runner", compile_c(cfg, "runner", sources, STATIC))
    return overlay


def _machine(cfg: BuildConfig, overlay: Path, memory: int, debugger: Path, cpu: str) -> list[str]:
    return [
        *(emulator.PROGRAM, "-nodefaults", "-no-user-config"),
        *("-machine", "q35", "-m", f"{memory}M"),
        *("-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off", "-smp", "1"),
        # The CPU's own random numbers and the clock are the same in each run.
        *("-cpu", cpu, "-seed", "1", "-rtc", "base=2026-01-01,clock=vm"),
        *("-vga", "std", "-display", "none", "-nic", "none", "-no-reboot"),
        *("-kernel", str(cfg.out / "bzImage"), "-initrd", str(overlay), "-append", APPEND),
        *("-gdb", f"unix:{debugger},server=on,wait=off", "-serial", FIRST_SERIAL),
        *SECOND_SERIAL,
    ]


def _ended(machine: Machine, seconds: float) -> bool:
    """Wait for the report's end; False when nothing more comes, for SILENCE or after `seconds`."""
    end, heard = time.monotonic() + bound(seconds), -1
    while time.monotonic() < end and machine.spare.mark() > heard:
        heard = machine.spare.mark()
        with contextlib.suppress(TimedOut):
            machine.spare.expect(r"end 0\r?\n", SILENCE)
            return True
    return False


def observe(
    cfg: BuildConfig,
    name: str,
    overlay: Overlay,
    plan: list[list[str]],
    memory: int,
    seconds: float,
    cpu: str = CPU,
) -> Report:
    """Boot bzImage with `overlay`, let the observer carry out `plan`, read its report.

    Args:
        plan: see runner.c; may be empty.
        memory: of the machine, in MiB.
        cpu: QEMU's name of its model, with flags.

    What had been reported until then counts when the machine comes to a standstill, or does not
    end within `seconds` of real time.
    """
    if not (cfg.out / "bzImage").is_file():
        raise UserError(f"{cfg.out / 'bzImage'}: not built yet", hint="type `make` first")
    report = Report()
    if plan:
        overlay.file("bench/plan", "".join("\t".join(line) + "\n" for line in plan).encode())
    archive = overlay.write(cfg.out / "bench" / f"{name}.cpio")
    plugin = compile_c(cfg, "plugin.so", ["plugin.c"], PLUGIN)
    with tempfile.TemporaryDirectory(prefix="hg-") as folder:
        debugger, counts = Path(folder) / "gdb", Path(folder) / "counts"
        argv = _machine(cfg, archive, memory, debugger, cpu)
        argv += ["-plugin", f"{plugin},out={counts}"]
        with Machine(argv, cfg.logs, f"bench-{name}", held=True) as machine:
            gdb = Gdb(debugger)
            gdb.run_to(KERNEL_ENTRY)
            report.values["entry-tsc"] = gdb.read_tsc(KERNEL_ENTRY)
            gdb.detach()
            report.unfinished = not _ended(machine, seconds)
            text = bytes(machine.spare.raw).decode(errors="replace")
        for line in text.splitlines():
            report.line(line)
        if report.unfinished:
            report.give_up()
        with counts.open() as lines:
            report.count(lines)
    return report
