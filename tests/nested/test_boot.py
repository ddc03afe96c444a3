# SPDX-License-Identifier: Apache-2.0
"""Images that are not the shipped kernel: multiboot, Debian's stock kernel, memtest86+; no ACPI."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from hypergen.config import BuildConfig
from hypergen.errors import HypergenError
from hypergen.image import debs
from tests.bench.overlay import Overlay
from tests.nested import stock
from tests.nested.nest import BZIMAGE, KERNEL, Guest, Nest

HERE = Path(__file__).resolve().parent
FREESTANDING = (
    *("-m32", "-march=i686", "-ffreestanding", "-fno-pic", "-fno-pie", "-no-pie", "-nostdlib"),
    *("-static", "-O1", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-fno-stack-protector"),
    *("-Wl,--build-id=none", "-Wl,-z,noexecstack"),
)

# What Debian's initramfs-tools would load for a disk behind virtio-mmio, in the order of need;
# what a kernel has no such file of is built in.
MODULES = ("virtio_ring", "virtio", "virtio_mmio", "virtio_blk", "virtio_console")
OTHERS = os.environ.get("HYPERGEN_KERNELS")
"""Optional: a folder of unpacked kernel packages (NAME/boot/vmlinuz-* or NAME/usr/lib/modules/...),
each of which is booted."""

DEBIAN_INIT = """#!/bin/busybox sh
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
busybox mount -t devtmpfs dev /dev
for m in $(busybox cat /modules/order); do busybox insmod /modules/$m || busybox poweroff -f; done
until [ -c /dev/hvc0 ]; do busybox sleep 0.1; done
exec >/dev/hvc0 2>&1
busybox uname -r
busybox cat /sys/devices/system/clocksource/clocksource0/current_clocksource
busybox mount -t ext4 /dev/vda /mnt && busybox cat /mnt/greeting
busybox umount /mnt
busybox poweroff -f
"""


def _multiboot(overlay: Overlay, folder: Path) -> None:
    kernels = HERE / "kernels"
    for file, source, flags in (
        ("multiboot.elf", "multiboot.c", []),
        ("multiboot.addresses", "multiboot.c", ["-DADDRESSES"]),
        ("interrupts", "interrupts.c", []),
    ):
        target = folder / file
        argv = ["cc", *FREESTANDING, f"-Wl,-T,{kernels / 'multiboot.lds'}", *flags]
        argv += ["-o", str(target), str(kernels / source)]
        subprocess.run(argv, check=True, capture_output=True)
        overlay.copy(f"nest/{file}", target)
    flat = folder / "multiboot.bin"
    argv = ["objcopy", "-O", "binary", str(folder / "multiboot.addresses"), str(flat)]
    subprocess.run(argv, check=True)
    overlay.copy("nest/multiboot.bin", flat)


def _stock_kernel(cfg: BuildConfig, overlay: Overlay, tree: Path, name: str, target: Path) -> None:
    """``/nest/NAME`` and ``/nest/NAME.cpio`` of a distribution's unpacked packages."""
    overlay.copy(f"nest/{name}", stock.kernel(tree))
    initrd = stock.initrd(cfg, DEBIAN_INIT, "proc", "sys", "mnt")
    stock.add_modules(initrd, tree, MODULES)
    overlay.copy(f"nest/{name}.cpio", initrd.write(target))


def _debian(cfg: BuildConfig, overlay: Overlay, folder: Path) -> None:
    _stock_kernel(cfg, overlay, stock.debian(cfg), "debian", folder / "debian.cpio")


def others() -> list[str]:
    """The names of the kernels in OTHERS."""
    return sorted(p.name for p in Path(OTHERS).iterdir() if p.is_dir()) if OTHERS else []


def _memtest(cfg: BuildConfig, overlay: Overlay, _folder: Path) -> None:
    memtest = debs.unpack(cfg, debs.fetch(cfg, ["memtest86+"])["memtest86+"])
    overlay.copy("nest/memtest", memtest / "boot/memtest86+x64.bin")


ABSENT: dict[str, str] = {}
"""Why an image could not be fetched: a machine without a mirror still has all the other tests."""


def nest_overlay(overlay: Overlay, cfg: BuildConfig) -> None:
    """The images, built or fetched."""
    with tempfile.TemporaryDirectory() as name:
        _multiboot(overlay, Path(name))
        for other in others():
            tree = Path(str(OTHERS)) / other
            _stock_kernel(cfg, overlay, tree, other, Path(name) / f"{other}.cpio")
        for image, add in (("debian", _debian), ("memtest", _memtest)):
            try:
                add(cfg, overlay, Path(name))
            except HypergenError as error:
                ABSENT[image] = error.message


def need(image: str) -> None:
    """Skip the test when there is no such image."""
    if image in ABSENT:
        pytest.skip(f"{image}: {ABSENT[image]}")


def start(nest: Nest, *options: str, seconds: float = 60) -> str:
    """Run a VM until it ends by itself; its console and the VMM's words."""
    words = shlex.join(["/usr/bin/hg-vmm", *options])
    return nest.sh(f"busybox timeout {int(seconds)} {words} 2>&1", seconds + 30).replace("\r", "")


@pytest.mark.parametrize("image", ["multiboot.elf", "multiboot.addresses", "multiboot.bin"])
def test_a_multiboot_kernel_gets_what_the_specification_says(nest: Nest, image: str) -> None:
    nest.sh("printf 'the module' >/run/module")
    text = start(
        nest,
        *("--kernel", f"/nest/{image}", "--initrd", "/run/module", "--memory", "16M"),
        *("--serial", "--cmdline", "one=1 two"),
    )
    assert "magic 2badb002\nflags 24d\npaging 0\n" in text
    assert "\nlower 27f\nupper 3c00\n" in text
    assert "\ncmdline one=1 two\nloader hg-vmm\n" in text
    assert "\nmap 0 9fc00 1\nmap 9fc00 60400 2\nmap 100000 f00000 1\n" in text
    assert "\nmodule the module\nbss 0\n" in text


def test_an_interrupt_comes_once(nest: Nest) -> None:
    """QEMU's TCG would deliver some of them twice when it is stopped in between (patch 0012)."""
    folder = "/run/nest/interrupts"
    words = ["--kernel", "/nest/interrupts", "--memory", "16M", "--serial", "--run-dir", folder]
    nest.sh(f"mkdir {folder}; " + shlex.join(["/usr/bin/hg-vmm", *words, "--daemonize"]))
    vm = Guest(nest, 1, folder)
    vm.expect("ticking")
    for _ in range(200):
        nest.machine.qmp("stop")
        nest.machine.qmp("cont")
        time.sleep(0.01)
    vm.ended()
    assert vm.console() == "ticking\nticks bb8\nnested 0\n"


def boot_stock(nest: Nest, name: str) -> str:
    """Boot it with a disk and say what it printed."""
    nest.sh(
        "busybox truncate -s 8M /host/test/disk && busybox mke2fs -q -F /host/test/disk\n"
        "mkdir -p /run/mnt && mount -o loop /host/test/disk /run/mnt\n"
        "echo from-the-disk >/run/mnt/greeting && umount /run/mnt"
    )
    return start(
        nest,
        *("--kernel", f"/nest/{name}", "--initrd", f"/nest/{name}.cpio", "--memory", "256M"),
        *("--cmdline", "console=hvc0 quiet", "--disk", "/host/test/disk,readonly"),
        seconds=120,
    )


def test_debians_stock_kernel_finds_its_disk(nest: Nest) -> None:
    need("debian")
    text = boot_stock(nest, "debian")
    assert "-cloud-amd64" in text and "kvm-clock" in text
    assert "from-the-disk" in text


@pytest.mark.parametrize("name", others() or [""])
def test_other_kernels_find_their_disk(nest: Nest, name: str) -> None:
    if not name:
        pytest.skip("HYPERGEN_KERNELS names no folder of kernels")
    text = boot_stock(nest, name)
    assert "kvm-clock" in text and "from-the-disk" in text


def test_memtest86_tests_memory(nest: Nest) -> None:
    need("memtest")
    folder = "/run/memtest"
    nest.sh(
        f"mkdir -p {folder}; hg-vmm --kernel /nest/memtest --memory 32M --run-dir {folder}"
        " --cmdline 'console=ttyS0,115200 nopause nobench nosm' --daemonize\n"
        f"n=0; until grep -aq 'Address test' {folder}/console.log; do\n"
        "  [ $n -gt 600 ] && exit 1; n=$((n + 1)); sleep 0.1; done",
        90,
    )
    screen = nest.sh(f"cat {folder}/console.log")
    assert "32MB" in screen and "Errors: 0" in screen
    nest.sh(f'/nest/bin/qmp {folder}/control.sock \'{{"execute":"quit"}}\'')


@pytest.mark.parametrize("kernel", [KERNEL, BZIMAGE])
@pytest.mark.parametrize("method", ["auto", "linux64"])
def test_linux_boots_by_each_entry(nest: Nest, kernel: str, method: str) -> None:
    text = nest.guest("uname -r", kernel=kernel, options=["--boot", method]).console()
    assert "hypergen-guest" in text


def test_the_pvh_entry_of_a_vmlinux(nest: Nest) -> None:
    vm = nest.guest("uname -r; sleep 1000", options=["--boot", "pvh"], wait=False)
    vm.expect("hypergen-guest")
    assert vm.qmp("x-hypergen-info")["boot"] == "pvh"


def test_without_acpi_the_mp_table_and_the_command_line_tell_all(nest: Nest) -> None:
    nest.sh(
        "busybox truncate -s 4M /host/test/disk; printf payload | "
        "busybox dd of=/host/test/disk conv=notrunc 2>/dev/null"
    )
    vm = nest.guest(
        "nproc; ls /sys/firmware | grep -c acpi; head -c 7 /dev/vda; echo; sleep 1000",
        cpus=3,
        append="acpi=off",
        options=["--acpi", "off", "--disk", "/host/test/disk,readonly"],
        wait=False,
    )
    text = vm.expect("payload")
    assert "3\n0\npayload" in text
    assert vm.qmp("query-status")["running"] is True
