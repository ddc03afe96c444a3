# SPDX-License-Identifier: Apache-2.0
"""What goes wrong says what it is and what to do, and harms nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from hypergen.config import BuildConfig
from tests.e2e import host as hosts
from tests.e2e.files import FILES
from tests.e2e.host import Host
from tests.e2e.test_serial import attach, detach

FOLDERS = "guest_kernel=/var/lib/hypergen/kernels guest_image=/var/lib/hypergen/images"
ROOT = f"root=LABEL=hypergen rw {FOLDERS}"


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


def test_an_error_is_shown_at_the_prompt(host: Host) -> None:
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
    host.rescue.run("dd if=/dev/zero of=/host/fill bs=1M; dd if=/dev/zero of=/host/fill2", 180, 1)
    try:
        guest.run("dd if=/dev/urandom of=/root/big bs=64k count=256; sync", 120, None)
        messages = " ".join(guest.run("dmesg | tail -n 20", 60))
        assert "I/O error" in messages
    finally:
        host.rescue.run("rm -f /host/fill /host/fill2; sync")
    assert host.vms()[0]["state"] == "running"
    detach(host)


def test_without_virtualisation_a_vm_says_why_it_cannot_start(
    built: BuildConfig, test_disk: Path, logs: Path
) -> None:
    with hosts.direct(built, test_disk, logs, "nokvm", ROOT, accel="none") as host:
        wrong = f"vm_create {FILES.vmlinux} {FILES.busybox}"
        printed = " ".join(host.serial.run(wrong))
        assert "/dev/kvm" in printed
        assert "neither svm nor vmx" in printed
        info = "\n".join(host.serial.run("host_info"))
        assert "VMs cannot start" in info


def test_a_host_without_its_root_still_has_a_shell(
    built: BuildConfig, test_disk: Path, logs: Path
) -> None:
    append = f"root=LABEL=nowhere {FOLDERS}"
    with hosts.direct(built, test_disk, logs, "noroot", append) as host:
        info = "\n".join(host.serial.run("host_info"))
        assert "LABEL=nowhere" in info
        assert "image_list" in "\n".join(host.serial.run("image_list"))
        assert any("LABEL=nowhere" in line for line in _console(host))


def test_missing_guest_folders_are_named(built: BuildConfig, test_disk: Path, logs: Path) -> None:
    append = "root=LABEL=hypergen guest_kernel=/no/kernels guest_image=/var/lib/hypergen/images"
    with hosts.direct(built, test_disk, logs, "nofolder", append) as host:
        assert "/no/kernels" in "\n".join(host.serial.run("host_info"))
        assert "/no/kernels" in " ".join(host.serial.run("kernel_list"))
        assert FILES.busybox in "\n".join(host.serial.run("image_list"))


def _console(host: Host) -> list[str]:
    """What tty1 shows."""
    host.machine.press("alt-f1")
    return host.machine.see("LABEL=nowhere", 60)
