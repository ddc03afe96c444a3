# SPDX-License-Identifier: Apache-2.0
"""hg-vmm and its peers: what each needs in the measured host, and its command line for a guest.

All get the same guest kernel, in the format that is best for them, and the same initrd.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hypergen import run
from hypergen.boot import emulator
from hypergen.config import BuildConfig
from hypergen.errors import UserError
from tests.bench.overlay import Overlay

OURS = "hg-vmm"
BEYOND = "beyond-its-documentation:"
"""Before the name of a peer that is tuned further than its documentation says; no reach is set
against it."""
UNIKERNEL_MIB = 64


@dataclass(frozen=True)
class Guest:
    """What a guest is made of; paths are those inside the measured host.

    Attributes:
        memory: MiB.
        tiny: the smallest guest (tiny.S), which writes to COM1, in place of Linux.
        disk: an image for /dev/vda, or None.
        tap: a tap for eth0, or None.
    """

    memory: int = 128
    tiny: bool = False
    initrd: str = "/bench/guest.cpio"
    append: str = "console=hvc0 quiet"
    disk: str | None = None
    tap: str | None = None


@dataclass(frozen=True)
class Vmm:
    """A VMM in the measured host.

    Attributes:
        name: in the report and the table; no blanks.
        root: the folder that it is chrooted into.
        argv: its command line for a guest.
        devices: it takes part in the measurements of disk and network, too.
        variant: of another VMM, with a difference that only concerns the start.
    """

    name: str
    root: str
    argv: Callable[[Guest], list[str]]
    devices: bool = True
    variant: bool = False


def _hg_vmm(guest: Guest) -> list[str]:
    argv = ["/usr/bin/hg-vmm", "--memory", f"{guest.memory}M"]
    if guest.tiny:
        return [*argv, "--kernel", "/bench/tiny", "--serial"]
    argv += ["--kernel", "/bench/vmlinux", "--initrd", guest.initrd, "--cmdline", guest.append]
    if guest.disk:
        argv += ["--disk", guest.disk]
    if guest.tap:
        argv += ["--net", f"tap={guest.tap}"]
    return argv


def _microvm(acpi: str, ports: str = "") -> Callable[[Guest], list[str]]:
    """QEMU's microvm as its documentation tunes it for the shortest boot."""

    def argv(guest: Guest) -> list[str]:
        # Its timers stay: without pit and pic the guest's kernel has none that it can calibrate.
        serial = "on" if guest.tiny else "off"
        options = f"x-option-roms=off,isa-serial={serial},rtc=off"
        words = ["/usr/bin/qemu-system-x86_64", "-nodefaults", "-no-user-config"]
        words += ["-display", "none", "-M", f"microvm,acpi={acpi},{options}", "-enable-kvm"]
        words += ["-cpu", "host", "-m", f"{guest.memory}m", "-no-reboot"]
        words += ["-chardev", "stdio,id=console,signal=off"]
        if guest.tiny:
            return [*words, "-kernel", "/bench/tiny", "-serial", "chardev:console"]
        words += ["-kernel", "/bench/vmlinux", "-initrd", guest.initrd, "-append", guest.append]
        words += ["-device", f"virtio-serial-device{ports}"]
        words += ["-device", "virtconsole,chardev=console"]
        if guest.disk:
            drive = f"file={guest.disk},if=none,id=disk,format=raw,cache=none,aio=io_uring"
            words += ["-drive", drive, "-device", "virtio-blk-device,drive=disk"]
        if guest.tap:
            netdev = f"tap,id=net,ifname={guest.tap},script=no,downscript=no,vhost=on"
            words += ["-netdev", netdev, "-device", "virtio-net-device,netdev=net"]
        return words

    return argv


HVT = "solo5-hvt"


def hvt() -> list[str]:
    """The command line of Solo5's tender and its own guest that says hello; empty without them."""
    if not (os.environ.get("PEER_HVT") and os.environ.get("PEER_HVT_GUEST")):
        return []
    words = ("--solo5:quiet", "Hello_Solo5")  # no banner first
    return ["/bench/solo5-hvt", f"--mem={UNIKERNEL_MIB}", "/bench/hvt-hello", *words]


def _own_unikernel(image: str, *arguments: str, said: bool = True) -> list[str]:
    nowhere = () if said else ("--output", "/dev/null")
    return ["/usr/bin/hg-vmm", "--memory", f"{UNIKERNEL_MIB}M", *nowhere, image, *arguments]


def _uhyve(image: str, *arguments: str, said: bool = True) -> list[str]:
    # Its --output creates a file; /dev/null is there.
    nowhere = () if said else ("/bin/sh", "-c", 'exec "$0" "$@" >/dev/null')
    words = [*nowhere, "/bench/uhyve", "--memory-size", f"{UNIKERNEL_MIB}MiB", image]
    # The first -- ends its own options, the second those of the guest's kernel.
    return [*words, "--", "--", *arguments] if arguments else words


def unikernel_vmms() -> dict[str, Callable[..., list[str]]]:
    """Name → the command line that runs a unikernel of UNIKERNEL_MIB: its image, its arguments.

    With ``said=False`` what it writes goes to /dev/null.
    """
    found: dict[str, Callable[..., list[str]]] = {OURS: _own_unikernel}
    if os.environ.get("PEER_UHYVE"):
        found["uhyve"] = _uhyve
    return found


def _lkvm(guest: Guest) -> list[str]:
    # Its virtio devices are on PCI, which the guest's kernel has not.
    append = guest.append.replace("hvc0", "ttyS0")
    return [
        *("/bench/lkvm", "run", "--kernel", "/bench/bzImage", "--initrd", guest.initrd),
        *("--mem", str(guest.memory), "--cpus", "1", "--console", "serial"),
        *("--network", "mode=none", "--params", append),
    ]


def _firecracker(guest: Guest) -> list[str]:
    return ["/bench/firecracker", "--no-api", "--config-file", f"/bench/fc-{guest.memory}.json"]


def _firecracker_config(guest: Guest) -> bytes:
    boot = {
        "kernel_image_path": "/bench/vmlinux",
        "initrd_path": guest.initrd,
        "boot_args": guest.append.replace("hvc0", "ttyS0"),
    }
    machine = {"vcpu_count": 1, "mem_size_mib": guest.memory}
    return json.dumps({"boot-source": boot, "machine-config": machine, "drives": []}).encode()


def _guest_kernel(cfg: BuildConfig, kind: str) -> Path:
    folder = cfg.out / "guest_kernel"
    found = next(iter(sorted(folder.glob(f"{kind}-*"))), None)
    if found is None:
        raise UserError(f"{folder}: no {kind}", hint="type `make guest` first")
    return found


def _add_qemu(overlay: Overlay) -> None:
    program = run.which(emulator.PROGRAM)
    if program is None:
        raise UserError(f"{emulator.PROGRAM} is not installed", hint="`hypergen doctor`")
    overlay.program(Path("/usr/bin") / program.name, "bench/qemu")
    roms = ("qboot.rom", "bios-microvm.bin", "pvh.bin", "linuxboot_dma.bin", "kvmvapic.bin")
    for folder in (Path("/usr/share/qemu"), Path("/usr/share/seabios")):
        for name in roms:
            if (folder / name).exists():
                overlay.copy(f"bench/qemu{folder / name}", folder / name)


def install(cfg: BuildConfig, overlay: Overlay, files: dict[str, Path]) -> list[Vmm]:
    """Put the VMMs, the guest kernel and `files` (name → source, in /bench) into `overlay`.

    ``PEER_LKVM``, ``PEER_FIRECRACKER`` and, for unikernels, ``PEER_UHYVE`` and ``PEER_HVT`` (with
    ``PEER_HVT_GUEST``) name static programs that take part, too; ``PEER_LKVM_KERNEL`` another
    bzImage than the guest's, which is packed with LZ4.
    """
    vmlinux = _guest_kernel(cfg, "vmlinux")
    _add_qemu(overlay)
    for root in ("", "bench/qemu/"):
        overlay.copy(f"{root}bench/vmlinux", vmlinux)
        for name, source in files.items():
            overlay.copy(f"{root}bench/{name}", source)
    vmms = [Vmm(OURS, "/", _hg_vmm)]
    vmms.append(Vmm("microvm,acpi=off", "/bench/qemu", _microvm("off")))
    vmms.append(Vmm("microvm,acpi=on", "/bench/qemu", _microvm("on"), variant=True))
    # Its documentation leaves the console's device at 31 ports; one is what the guest needs.
    one = _microvm("off", ",max_ports=1")
    vmms.append(Vmm(f"{BEYOND}microvm,acpi=off,max_ports=1", "/bench/qemu", one, variant=True))
    if lkvm := os.environ.get("PEER_LKVM"):
        overlay.copy("bench/lkvm", Path(lkvm))
        kernel = os.environ.get("PEER_LKVM_KERNEL")
        overlay.copy("bench/bzImage", Path(kernel) if kernel else _guest_kernel(cfg, "bzImage"))
        vmms.append(Vmm("lkvm", "/", _lkvm, devices=False))
    if firecracker := os.environ.get("PEER_FIRECRACKER"):
        overlay.copy("bench/firecracker", Path(firecracker))
        for memory in (128, 8192):
            overlay.file(f"bench/fc-{memory}.json", _firecracker_config(Guest(memory)))
        vmms.append(Vmm("firecracker", "/", _firecracker, devices=False))
    if uhyve := os.environ.get("PEER_UHYVE"):
        overlay.copy("bench/uhyve", Path(uhyve))
    if hvt():
        overlay.copy("bench/solo5-hvt", Path(os.environ["PEER_HVT"]))
        overlay.copy("bench/hvt-hello", Path(os.environ["PEER_HVT_GUEST"]))
    return vmms
