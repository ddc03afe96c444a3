# SPDX-License-Identifier: Apache-2.0
"""The machine of ``make run``: QEMU with the disk image, on a window, in curses or over serial.

The tests boot the same :class:`Machine`, so what they prove is what the user gets.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hypergen import progress
from hypergen import run as programs
from hypergen.boot import emulator
from hypergen.boot.emulator import PROGRAM
from hypergen.config import BuildConfig
from hypergen.errors import UserError

DISPLAYS = ("window", "curses", "none")

# Code and variable store, in order of preference; the first pair that is there is taken.
OVMF = (
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
    ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
    ("/usr/share/qemu/ovmf-x86_64-code.bin", "/usr/share/qemu/ovmf-x86_64-vars.bin"),
)


def has_virtualisation(cpuinfo: str) -> bool:
    """Whether `cpuinfo` (the text of /proc/cpuinfo) lists Intel VMX or AMD SVM."""
    return re.search(r"^flags\s*:.*\b(vmx|svm)\b", cpuinfo, re.MULTILINE) is not None


def pick_accelerator(
    wanted: str = "auto",
    *,
    cpuinfo: str | None = None,
    device: Path = Path("/dev/kvm"),
) -> str:
    """``kvm`` or ``tcg``.

    A /dev/kvm alone proves nothing: there are software KVMs in which a kernel does not run. KVM is
    taken only when the CPU has VMX or SVM as well; TCG emulates SVM on any machine.

    Args:
        wanted: ``auto``, or one of the two, which is then what comes back or an error.

    Raises:
        UserError: KVM was asked for and cannot be used.
    """
    if wanted == "tcg":
        return "tcg"
    if cpuinfo is None:
        cpuinfo = Path("/proc/cpuinfo").read_text("utf-8", "replace")
    if not has_virtualisation(cpuinfo):
        reason = "this CPU shows neither vmx nor svm in /proc/cpuinfo"
    elif not device.exists():
        reason = f"{device} is missing; is the kvm_intel or kvm_amd module loaded?"
    elif not os.access(device, os.R_OK | os.W_OK):
        reason = f"no permission on {device}; add yourself to the group kvm"
    else:
        return "kvm"
    if wanted == "kvm":
        raise UserError(f"KVM cannot be used: {reason}", hint="ACCEL=tcg emulates the CPU instead")
    return "tcg"


def ovmf() -> tuple[Path, Path]:
    """UEFI firmware for QEMU: the code and the empty variable store.

    Raises:
        UserError: none is installed.
    """
    for code, variables in OVMF:
        if Path(code).exists() and Path(variables).exists():
            return Path(code), Path(variables)
    raise UserError("no UEFI firmware for QEMU was found", hint="install the package ovmf")


def escape(value: str | Path) -> str:
    """A value inside a QEMU option: a comma is doubled."""
    return str(value).replace(",", ",,")


@dataclass(frozen=True)
class Machine:
    """One QEMU machine; :meth:`argv` is its command line.

    Attributes:
        disk: the raw disk image that it boots from.
        program: QEMU, with words that it always needs.
        firmware: ``bios`` or ``uefi``.
        nvram: for ``uefi``: its variable store, made by :meth:`prepare`.
        display: ``window``, ``curses`` or ``none``.
        memory: MiB.
        accel: ``kvm`` or ``tcg``.
        serial: QEMU's ``-serial`` value: ``mon:stdio``, ``none``, ``file:PATH``,
            ``unix:PATH,server=on,wait=off``, …
        qmp: a Unix socket on which QEMU listens for QMP clients.
        monitor: the same for the human monitor.
        bus: the disk's controller, ``virtio`` or ``ahci``.
        network: a virtio-net card behind QEMU's user-mode network.
        snapshot: throw away what is written to the disk.
        extra: more arguments, put last.
    """

    disk: Path
    program: tuple[str, ...] = (PROGRAM,)
    firmware: str = "bios"
    nvram: Path | None = None
    display: str = "none"
    memory: int = 2048
    cpus: int = 2
    accel: str = "tcg"
    serial: str = "none"
    qmp: Path | None = None
    monitor: Path | None = None
    bus: str = "virtio"
    network: bool = True
    snapshot: bool = False
    extra: tuple[str, ...] = ()

    def prepare(self) -> None:
        """Make what the machine needs beside its disk: the UEFI variable store, once."""
        if self.firmware == "uefi" and self.nvram is not None and not self.nvram.exists():
            self.nvram.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ovmf()[1], self.nvram)
            self.nvram.chmod(0o644)

    def argv(self) -> list[str]:
        """The command line, program first."""
        return [
            *(*self.program, "-nodefaults", "-no-user-config", "-name", "hyper-gen"),
            *("-machine", "q35", "-m", f"{self.memory}M", "-smp", str(self.cpus)),
            *self._cpu(),
            *self._firmware(),
            *self._disk(),
            *(("-nic", "user,model=virtio-net-pci") if self.network else ()),
            *("-device", "virtio-rng-pci"),
            *self._faces(),
            *self.extra,
        ]

    def _cpu(self) -> Sequence[str]:
        if self.accel == "kvm":
            return ("-accel", "kvm", "-cpu", "host")
        return ("-accel", "tcg", "-cpu", emulator.CPU)

    def _firmware(self) -> Sequence[str]:
        if self.firmware == "bios":
            return ()
        if self.nvram is None:
            raise ValueError("a UEFI machine needs nvram")
        return (
            *("-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={escape(ovmf()[0])}"),
            *("-drive", f"if=pflash,unit=1,format=raw,file={escape(self.nvram)}"),
        )

    def _disk(self) -> Sequence[str]:
        drive = f"if=none,id=disk0,format=raw,discard=unmap,file={escape(self.disk)}"
        device = {"virtio": "virtio-blk-pci", "ahci": "ide-hd"}[self.bus]
        return (
            *("-drive", drive + (",snapshot=on" if self.snapshot else "")),
            *("-device", f"{device},drive=disk0,bootindex=1"),
        )

    def _faces(self) -> Sequence[str]:
        words = ["-vga", "std"]
        # `window` leaves the choice of toolkit to QEMU.
        if self.display != "window":
            words += ["-display", self.display]
        words += ["-serial", self.serial]
        if self.qmp is not None:
            words += ["-qmp", f"unix:{escape(self.qmp)},server=on,wait=off"]
        if self.monitor is not None:
            words += ["-monitor", f"unix:{escape(self.monitor)},server=on,wait=off"]
        elif self.display in ("window", "curses"):
            words += ["-monitor", "vc"]
        return words


def command(
    cfg: BuildConfig,
    disk: Path,
    *,
    firmware: str | None = None,
    display: str = "none",
    memory: int | None = None,
    cpus: int | None = None,
    accel: str | None = None,
    serial: str = "none",
    qmp: Path | None = None,
    monitor: Path | None = None,
    bus: str = "virtio",
    network: bool = True,
    snapshot: bool = False,
    nvram: Path | None = None,
    extra: Sequence[str] = (),
) -> list[str]:
    """The command line of a machine that boots `disk`; what is not given comes from `cfg`.

    For UEFI the variable store is made here: at `nvram`, by default beside the disk
    (``NAME.nvram``).
    """
    accel = pick_accelerator(accel or cfg.accel)
    machine = Machine(
        disk=disk,
        program=emulator.words(cfg) if accel == "tcg" else (PROGRAM,),
        firmware=firmware or cfg.firmware,
        nvram=nvram or disk.with_name(disk.name + ".nvram"),
        display=display,
        memory=memory or cfg.memory,
        cpus=cpus or cfg.cpus,
        accel=accel,
        serial=serial,
        qmp=qmp,
        monitor=monitor,
        bus=bus,
        network=network,
        snapshot=snapshot,
        extra=tuple(extra),
    )
    machine.prepare()
    return machine.argv()


SEND_KEY = "type sendkey alt-f3 and ENTER"
HINTS = {
    "window": (
        "Click into the window, then press ALT+F3 for the hyper-gen shell.",
        "If your desktop keeps ALT+F3 for itself: CTRL+ALT+2 shows QEMU's monitor; "
        f"{SEND_KEY}; CTRL+ALT+1 goes back.",
    ),
    "curses": (
        "ALT+F3 gives the hyper-gen shell, where the terminal sends it as ESC and F3. Most do not:",
        f"ALT+2 shows QEMU's monitor; {SEND_KEY}; ALT+1 goes back. "
        "In the monitor `quit` ends the machine.",
    ),
    "serial": (
        "The hyper-gen shell comes up on this terminal; ALT+F3 is not needed.",
        "CTRL+a x ends the machine; CTRL+a c shows QEMU's monitor and goes back.",
    ),
}


def _check_display(cfg: BuildConfig) -> None:
    if cfg.display == "window" and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        raise UserError(
            "there is no display for a window: DISPLAY and WAYLAND_DISPLAY are not set",
            hint="DISPLAY_MODE=curses or DISPLAY_MODE=serial use this terminal",
        )
    if cfg.display != "window" and not (os.isatty(0) and os.isatty(1)):
        raise UserError(f"DISPLAY_MODE={cfg.display} needs a terminal on standard input and output")
    if cfg.display == "curses" and cfg.firmware == "uefi":
        raise UserError(
            "curses shows text screens only, and UEFI has none",
            hint="take DISPLAY_MODE=serial, DISPLAY_MODE=window or FIRMWARE=bios",
        )


def run(cfg: BuildConfig, disk: Path | None = None) -> int:
    """Boot a disk on the user's terminal or display, say what to press; QEMU's exit status.

    Args:
        disk: ``out/disk.img`` when not given.

    Raises:
        UserError: no such disk, no such display, no KVM when asked for it, no firmware.
    """
    disk = disk or cfg.out / "disk.img"
    if not disk.is_file():
        raise UserError(f"{disk}: no such disk image", hint="`make run` makes it")
    _check_display(cfg)
    serial = cfg.display == "serial"
    argv = command(
        cfg,
        disk,
        display="none" if serial else cfg.display,
        serial="mon:stdio" if serial else "none",
    )
    progress.note(f"{cfg.firmware.upper()}, {cfg.memory} MiB, {cfg.cpus} CPUs, {argv_accel(argv)}.")
    progress.note("In the menu choose hyper-gen with ENTER.")
    for line in HINTS[cfg.display]:
        progress.note(line)
    if cfg.display == "curses":
        input("Press ENTER to start it (the screen is QEMU's from then on). ")
    # QEMU draws the menu's lines only where the locale says that the terminal knows them.
    return programs.interactive(argv, env={"LC_ALL": "C.UTF-8"})


def argv_accel(argv: Sequence[str]) -> str:
    """Which accelerator a command line asks for, in words for the user."""
    if argv[list(argv).index("-accel") + 1] == "kvm":
        return "KVM"
    return "emulated by TCG (slow; with KVM on a CPU with VT-x or AMD-V it is fast)"
