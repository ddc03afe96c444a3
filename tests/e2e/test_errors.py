# SPDX-License-Identifier: Apache-2.0
"""What goes wrong says what it is and what to do, and harms nothing else."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from hypergen.config import BuildConfig
from tests.e2e import host as hosts
from tests.e2e.far import FOLDERS
from tests.e2e.files import FILES
from tests.e2e.host import Host
from tests.e2e.test_serial import attach, detach

FILL = """
import os
file, size, end = os.open("/host/fill", os.O_CREAT | os.O_WRONLY), 1 << 30, 0
while size >= 1024:
    try:
        os.posix_fallocate(file, end, size)
        end += size
    except OSError:
        size //= 2
"""
"""Takes every free block of the host's root, without writing to them."""


@pytest.mark.parametrize(
    ("command", "status", "message"),
    [
        ("vm_create nosuch busybox", 2, "unknown kernel 'nosuch'"),
        ("vm_create vmlinux 99", 2, "unknown image '99'"),
        ("vm_console 99", 2, "unknown VM '99'"),
        ("vm_destroy 99", 2, "unknown VM '99'"),
        (f"vm_create vmlinux {FILES.zero}", 2, "zero length"),
        (f"vm_create {FILES.corrupt} {FILES.busybox}", 2, "kernel"),
        (f"vm_create {FILES.cut} {FILES.busybox}", 2, "not a usable kernel"),
        (f"vm_create vmlinux {FILES.busybox} --cpus 65", 2, "--cpus 65"),
        (f"vm_create vmlinux {FILES.busybox} --memory 900G", 2, "this host has"),
        (f"vm_create vmlinux {FILES.busybox} --initrd nosuch", 2, "no such file"),
    ],
)
def test_a_wrong_request_is_explained(host: Host, command: str, status: int, message: str) -> None:
    output = host.command(command, status).strip()
    assert message in output
    assert len(output.splitlines()) == 1
    assert host.vms() == []


def test_an_error_is_shown_at_the_prompt_and_by_the_program(host: Host) -> None:
    assert host.program("vm_console 99", 2).startswith("vm_console: unknown VM '99'")
    assert "unknown VM '99'" in "".join(host.serial.run("vm_console 99"))


def test_a_guest_without_its_root_ends_as_panicked(host: Host) -> None:
    vm = host.create(f"{FILES.vmlinux} {FILES.blank}")
    host.state(vm, "panicked", 60)
    assert "panicked" in "\n".join(host.serial.run("vm_list"))
    said = " ".join(host.serial.run(f"vm_console {vm}"))
    assert "Kernel panic" in said
    assert f"vm_destroy {vm}" in said


def test_a_full_run_folder_stops_only_the_new_vm(host: Host) -> None:
    vm = host.create(f"{FILES.vmlinux} {FILES.busybox}")
    attach(host, vm)
    detach(host)
    # /run may be as large as half the memory: make it small for as long as this takes.
    host.rescue.run("mount -o remount,size=1M /run; dd if=/dev/zero of=/run/fill bs=4k", 60, 1)
    try:
        refused = host.command(f"vm_create {FILES.vmlinux} {FILES.second}", 1)
        assert "No space left on device" in refused
        assert [v["state"] for v in host.vms()] == ["running"]
        assert "running" in "\n".join(host.serial.run("vm_list"))
    finally:
        host.rescue.run("rm -f /run/fill; mount -o remount,size=50% /run")
    host.create(f"{FILES.vmlinux} {FILES.second}")


def test_a_full_host_disk_is_an_io_error_in_the_guest(host: Host) -> None:
    vm = host.create(f"{FILES.vmlinux} {FILES.second}")
    guest = attach(host, vm)
    # The image is sparse: new blocks in the guest need room on the host's disk.
    host.rescue.run(f"python3.11 -I -S -c {shlex.quote(FILL)}; sync")
    try:
        # Its root may be gone by then, and messages come behind its prompt: the host looks.
        guest.terminal.press("dd if=/dev/zero of=/root/big bs=64k count=256; sync\r")
        log = f"/run/hypergen/vm/{vm}/console.log"
        host.rescue.run(f"until grep -aq 'I/O error' {log}; do sleep 0.5; done", 120)
    finally:
        host.rescue.run("rm -f /host/fill; sync")
    assert host.vms()[0]["state"] == "running"
    detach(host)


def test_without_virtualisation_or_kernels_a_host_says_what_is_missing(
    built: BuildConfig, test_disk: Path, logs: Path
) -> None:
    """Two mishaps in one boot: they have nothing to do with each other."""
    append = "root=LABEL=hypergen guest_kernel=/no/kernels guest_image=/var/lib/hypergen/images"
    options: dict[str, Any] = {"accel": "none", "cpus": 1}
    with hosts.direct(built, test_disk, logs, "nokvm", append, **options) as host:
        info = "\n".join(host.serial.run("host_info"))
        assert "VMs cannot start" in info
        assert "/no/kernels" in info
        assert "/no/kernels" in " ".join(host.serial.run("kernel_list"))
        assert FILES.busybox in "\n".join(host.serial.run("image_list"))
        kernel = f"/host/var/lib/hypergen/kernels/{FILES.vmlinux}"
        printed = " ".join(host.serial.run(f"vm_create {kernel} {FILES.busybox}"))
        assert "/dev/kvm" in printed
        assert "neither svm nor vmx" in printed


def test_a_host_without_its_root_still_has_a_shell(
    built: BuildConfig, test_disk: Path, logs: Path
) -> None:
    append = f"root=LABEL=nowhere rootwait=3 {FOLDERS}"
    with hosts.direct(built, test_disk, logs, "noroot", append, cpus=1) as host:
        info = "\n".join(host.serial.run("host_info"))
        assert "LABEL=nowhere" in info
        assert "image_list" in "\n".join(host.serial.run("image_list"))
        assert any("LABEL=nowhere" in line for line in _console(host))


def _console(host: Host) -> list[str]:
    """What tty1 shows."""
    host.machine.press("alt-f1")
    return host.machine.see("LABEL=nowhere", 60)
