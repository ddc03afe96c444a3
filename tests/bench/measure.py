# SPDX-License-Identifier: Apache-2.0
"""The figures of docs/performance.md, measured in virtual time.

QEMU's ``-icount shift=0,sleep=off`` lets one instruction take one nanosecond of virtual time and
skips idle time, and the TSC counts that time from power-on. So a figure does not depend on the
machine that the bench runs on, nor on what else that is doing, and two runs agree.

Nothing is added to what is measured: the shipped bzImage starts with a second initramfs whose
``rdinit=`` observes tty3's text from inside (runner.c), and a debugger's breakpoint reads the TSC
at the kernel's first instruction. There is no disk and no network card: both answer in real time.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypergen import qemu, run
from hypergen.config import BuildConfig
from hypergen.errors import BuildError, UserError
from tests.bench.gdb import Gdb
from tests.bench.overlay import Overlay
from tests.e2e.machine import FIRST_SERIAL, SECOND_SERIAL, Machine

HERE = Path(__file__).resolve().parent
KERNEL_ENTRY = 0x10200
"""Where QEMU's loader jumps: the real-mode code of a bzImage, one sector in (boot protocol)."""

APPEND = "rdinit=/bench/runner console=tty0 hypergen.shell=tty3"
GUEST_MIB = 128
GUEST_APPEND = "console=hvc0 quiet"
CFLAGS = ("-std=gnu11", "-O2", "-static", "-Wall", "-Wextra", "-Werror")


@dataclass(frozen=True)
class Observed:
    """What one run of the machine reported.

    Attributes:
        values: single figures by name.
        starts: cycles from VM start to guest init, by program, one a turn.
        overheads: KiB resident beyond guest RAM, likewise.
        failures: the last output of what did not get there, by program.
    """

    values: dict[str, int] = field(default_factory=dict)
    starts: dict[str, list[int]] = field(default_factory=dict)
    overheads: dict[str, list[int]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


def _compile(cfg: BuildConfig, name: str) -> Path:
    target = cfg.out / "bench" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    source = HERE / f"{name}.c"
    run.run(["cc", *CFLAGS, "-o", target, source], log=cfg.logs / f"bench-cc-{name}.log")
    return target


def _machine(cfg: BuildConfig, overlay: Path, memory: int, debugger: Path) -> list[str]:
    return [
        *(qemu.PROGRAM, "-nodefaults", "-no-user-config", "-machine", "q35", "-m", f"{memory}M"),
        *("-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off", "-smp", "1"),
        # The CPU's own random numbers and the clock are the same in each run.
        *("-cpu", "max,+svm", "-seed", "1", "-rtc", "base=2026-01-01,clock=vm"),
        *("-vga", "std", "-display", "none", "-nic", "none", "-no-reboot"),
        *("-kernel", str(cfg.out / "bzImage"), "-initrd", str(overlay), "-append", APPEND),
        *("-gdb", f"unix:{debugger},server=on,wait=off", "-serial", FIRST_SERIAL),
        *SECOND_SERIAL,
    ]


def observe(cfg: BuildConfig, name: str, overlay: Path, memory: int, seconds: float) -> Observed:
    """Boot bzImage with `overlay` to the end of the observer's report.

    Raises:
        TimedOut: the report did not end within `seconds` of real time.
    """
    seen = Observed()
    with tempfile.TemporaryDirectory(prefix="hg-") as folder:
        debugger = Path(folder) / "gdb"
        argv = _machine(cfg, overlay, memory, debugger)
        with Machine(argv, cfg.logs, f"bench-{name}", held=True) as machine:
            gdb = Gdb(debugger)
            gdb.run_to(KERNEL_ENTRY)
            seen.values["entry-tsc"] = gdb.read_tsc(KERNEL_ENTRY)
            gdb.detach()
            machine.spare.expect(r"end 0\r?\n", seconds)
            report = bytes(machine.spare.raw).decode(errors="replace")
    for line in report.splitlines():
        key, _, rest = line.partition(" ")
        if key in ("start", "overhead"):
            program, _turn, value = rest.split()
            table = seen.starts if key == "start" else seen.overheads
            table.setdefault(program, []).append(int(value))
        elif key == "failed":
            program, _turn, output = rest.split(" ", 2)
            seen.failures[program] = output
        else:
            seen.values[key] = int(rest)
    return seen


def host(cfg: BuildConfig) -> Observed:
    """The host alone: kernel entry to prompt, memory at the prompt."""
    if not (cfg.out / "bzImage").is_file():
        raise UserError(f"{cfg.out / 'bzImage'}: not built yet", hint="type `make` first")
    overlay = Overlay()
    overlay.copy("bench/runner", _compile(cfg, "runner"))
    return observe(cfg, "host", overlay.write(cfg.out / "bench" / "host.cpio"), 1024, 600)


def _microvm(acpi: str) -> list[str]:
    """QEMU's microvm as its documentation tunes it for the shortest boot."""
    # Its timers stay: without pit and pic the guest's kernel has none that it can calibrate.
    options = "x-option-roms=off,isa-serial=off,rtc=off"
    return [
        *("/usr/bin/qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none"),
        *("-M", f"microvm,acpi={acpi},{options}", "-enable-kvm", "-cpu", "host"),
        *("-m", f"{GUEST_MIB}m", "-no-reboot"),
        *("-kernel", "/bench/vmlinux", "-initrd", "/bench/guest.cpio", "-append", GUEST_APPEND),
        *("-chardev", "stdio,id=console,signal=off", "-device", "virtio-serial-device"),
        *("-device", "virtconsole,chardev=console"),
    ]


def _hg_vmm() -> list[str]:
    return [
        *("/usr/bin/hg-vmm", "--kernel", "/bench/vmlinux", "--initrd", "/bench/guest.cpio"),
        *("--memory", f"{GUEST_MIB}M", "--cmdline", GUEST_APPEND),
    ]


def _lkvm() -> list[str]:
    return [
        *("/bench/lkvm", "run", "--kernel", "/bench/bzImage", "--initrd", "/bench/guest.cpio"),
        *("--mem", str(GUEST_MIB), "--cpus", "1", "--console", "virtio", "--network", "mode=none"),
        *("--params", GUEST_APPEND),
    ]


def peers(cfg: BuildConfig) -> Observed:
    """VM start to guest's init: hg-vmm and its peers, one after another on the same host."""
    kernels = cfg.out / "guest_kernel"
    vmlinux = next(iter(sorted(kernels.glob("vmlinux-*"))), None)
    bzimage = next(iter(sorted(kernels.glob("bzImage-*"))), None)
    if vmlinux is None or bzimage is None:
        raise UserError(f"{kernels}: no guest kernel", hint="type `make guest` first")
    guest = Overlay()
    guest.copy("init", _compile(cfg, "guest_init"))
    guest_cpio = guest.write(cfg.out / "bench" / "guest.cpio")

    overlay = Overlay()
    overlay.copy("bench/runner", _compile(cfg, "runner"))
    plan = [["hg-vmm", "/", *_hg_vmm()]]
    plan += [[f"microvm,acpi={acpi}", "/bench/qemu", *_microvm(acpi)] for acpi in ("off", "on")]
    qemu_program = run.which(qemu.PROGRAM)
    if qemu_program is None:
        raise UserError(f"{qemu.PROGRAM} is not installed", hint="`hypergen doctor`")
    overlay.program(Path("/usr/bin") / qemu_program.name, "bench/qemu")
    for folder in (Path("/usr/share/qemu"), Path("/usr/share/seabios")):
        for name in (
            "qboot.rom",
            "bios-microvm.bin",
            "pvh.bin",
            "linuxboot_dma.bin",
            "kvmvapic.bin",
        ):
            if (folder / name).exists():
                overlay.copy(f"bench/qemu{folder / name}", folder / name)
    if lkvm := os.environ.get("PEER_LKVM"):
        overlay.copy("bench/lkvm", Path(lkvm))
        overlay.copy("bench/bzImage", bzimage)
        plan.append(["lkvm", "/", *_lkvm()])
    for root in ("", "bench/qemu/"):
        overlay.copy(f"{root}bench/vmlinux", vmlinux)
        overlay.copy(f"{root}bench/guest.cpio", guest_cpio)
    overlay.file("bench/plan", "".join("\t".join(line) + "\n" for line in plan).encode())
    return observe(cfg, "peers", overlay.write(cfg.out / "bench" / "peers.cpio"), 3072, 1500)


@dataclass(frozen=True)
class Figure:
    """One line of the table: a value with its unit, and the bound that it shall keep."""

    name: str
    value: float
    unit: str
    reach: float | None = None

    @property
    def kept(self) -> bool:
        """Whether the bound is kept; true without one."""
        return self.reach is None or self.value <= self.reach


def figures(cfg: BuildConfig) -> list[Figure]:
    """Measure everything.

    Raises:
        BuildError: hg-vmm, or every peer, did not get its guest to init.
    """
    alone, many = host(cfg), peers(cfg)
    if "hg-vmm" not in many.starts:
        raise BuildError("hg-vmm: no guest", tail=(many.failures.get("hg-vmm", "no output"),))
    start = {name: statistics.median(turns) for name, turns in many.starts.items()}
    rows = [
        Figure("size of bzImage", (cfg.out / "bzImage").stat().st_size / 2**20, "MiB", 12),
        Figure(
            "kernel entry to prompt on tty3",
            (alone.values["prompt-tsc"] - alone.values["entry-tsc"]) / 1e9,
            "virtual s",
            2.5,
        ),
        Figure(
            "host memory used at the prompt",
            (alone.values["memory-total"] - alone.values["memory-available"]) / 1024,
            "MiB",
            80,
        ),
    ]
    rows += [
        Figure(f"VM start to guest's init: {name}", value / 1e6, "million instructions")
        for name, value in start.items()
    ]
    microvm = [value for name, value in start.items() if name.startswith("microvm")]
    if not microvm:
        failures = [f"{name}: {text}" for name, text in many.failures.items()]
        raise BuildError("QEMU microvm: no guest", tail=tuple(failures))
    rows.append(Figure("ratio to the faster microvm", start["hg-vmm"] / min(microvm), "", 0.7))
    for name, turns in many.overheads.items():
        reach = 4.0 if name == "hg-vmm" else None
        rows.append(Figure(f"memory beyond guest RAM: {name}", max(turns) / 1024, "MiB", reach))
    return rows
