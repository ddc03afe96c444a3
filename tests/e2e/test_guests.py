# SPDX-License-Identifier: Apache-2.0
"""What a guest gets from the VMM: CPUs, memory, time, its way to boot and to end."""

from __future__ import annotations

import re
import time

import pytest

from tests.e2e.files import FILES
from tests.e2e.host import Host
from tests.e2e.test_serial import attach, detach


@pytest.mark.parametrize(
    ("kernel", "cpus"), [(FILES.vmlinux, 1), (FILES.bzimage, 2), (FILES.vmlinux, 4)]
)
def test_guest_has_its_cpus_memory_and_time(host: Host, kernel: str, cpus: int) -> None:
    vm = host.create(f"{kernel} {FILES.busybox} --cpus {cpus} --memory 256M")
    guest = attach(host, vm)
    assert guest.run("nproc") == [str(cpus)]
    (line,) = guest.run("grep MemTotal /proc/meminfo")
    assert 200_000 < int(line.split()[1]) <= 256 * 1024
    (now,) = guest.run("date +%s")
    assert abs(int(now) - time.time()) < 60
    # One flow of interrupts each; that the others work is seen by what they ran.
    (busy,) = guest.run("grep -c ^processor /proc/cpuinfo")
    assert busy == str(cpus)
    detach(host)


def test_bzimage_with_an_initrd_runs_its_init(host: Host) -> None:
    vm = host.create(f"{FILES.bzimage} {FILES.blank} --initrd {FILES.initrd}")
    before = len(host.machine.serial.raw)
    host.serial.enter(f"vm_console {vm}")
    host.machine.serial.expect("bench-guest-init", 60, before)
    detach(host)


def test_reboot_starts_the_guest_anew_and_poweroff_ends_it(host: Host) -> None:
    vm = host.create(f"{FILES.vmlinux} {FILES.busybox}")
    guest = attach(host, vm)
    (first,) = guest.run("cat /proc/sys/kernel/random/boot_id")
    before = len(host.machine.serial.raw)
    guest.terminal.press("reboot\r")
    host.machine.serial.expect("reboot(.|\n)*login:", 120, before)
    guest.login(120)
    (second,) = guest.run("cat /proc/sys/kernel/random/boot_id")
    assert second != first
    assert host.vms()[0]["state"] == "running"
    guest.terminal.press("poweroff\r")
    host.serial.see("guest-shutdown", 120)
    (record,) = host.vms()
    assert (record["state"], record["reason"]) == ("stopped", "guest-shutdown")


def test_a_read_only_image_can_be_shared_and_not_written(host: Host) -> None:
    common = f"{FILES.vmlinux} {FILES.busybox} --read-only"
    one, two = host.create(common), host.create(common)
    guest = attach(host, one)
    assert "1" in guest.run("cat /sys/block/vda/ro")
    detach(host)
    assert {vm["id"] for vm in host.vms() if vm["state"] == "running"} == {one, two}
    assert "in use" in host.command(f"vm_create {FILES.vmlinux} {FILES.busybox}", 2)


def test_memory_past_the_hole_below_4_gib(host: Host) -> None:
    """5 GiB on a host of 3: a guest's memory is taken when it is touched."""
    run = "/run/e2e-large"
    host.rescue.run(f"mkdir -p {run}")
    append = "earlyprintk=ttyS0 console=hvc0 root=/dev/vda rw"  # early: the memory map too
    host.rescue.run(
        f"hg-vmm --daemonize --name large --memory 5G --cmdline '{append}'"
        f" --kernel /run/hypergen/guest_kernel/{FILES.vmlinux}"
        f" --disk /run/hypergen/guest_image/{FILES.second} --run-dir {run}"
    )
    try:
        host.rescue.run(f"until grep -q login: {run}/console.log; do sleep 1; done", 120)
        log = host.rescue.run(f"cat {run}/console.log")
        found = re.search(r"Memory: \d+K/(\d+)K available", log)
        assert found, log
        assert 5 * 1024 * 1024 * 0.98 < int(found[1]) <= 5 * 1024 * 1024
        assert re.search(r"0x0*100000000-", log), "nothing above 4 GiB in the memory map"
    finally:
        host.kill("e2e-large")


def test_network_through_the_bridge(host: Host) -> None:
    vm = host.create(f"{FILES.vmlinux} {FILES.busybox} --net bridge")
    guest = attach(host, vm)
    # The image may have an address already; to ask again does no harm.
    guest.run("udhcpc -i eth0 -n -q -t 10", 120)
    assert any("inet 10.0.2." in line for line in guest.run("ip -4 addr show eth0"))
    guest.run("ping -c 1 -W 10 10.0.2.2", 60)
    detach(host)
    assert "hg" in host.rescue.run("ls /sys/class/net/br0/brif")


def test_a_flood_of_output_does_not_stop_the_guest(host: Host) -> None:
    """Nobody attached: output goes to console.log, which stays bounded."""
    vm = host.create(f"{FILES.vmlinux} {FILES.busybox}")
    guest = attach(host, vm)
    guest.terminal.press("(sleep 2; yes flooding | head -n 300000; touch /root/done) &\r")
    guest.prompt()
    detach(host)
    folder = f"/run/hypergen/vm/{vm}"
    host.rescue.run(f"until [ -e {folder}/console.log.1 ]; do sleep 1; done", 180)
    size = int(host.rescue.run(f"cat {folder}/console.log* | wc -c"))
    assert size <= 2 * (1 << 20) + 65536
    assert host.vms()[0]["state"] == "running"
