# SPDX-License-Identifier: Apache-2.0
"""What the host puts behind a guest's RAM: pages, sharing, binding, and how much of it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.nested.nest import Guest, Nest

MIB = 1024  # KiB
POOL = "/sys/kernel/mm/hugepages/hugepages-{}kB"
KSM = "/sys/kernel/mm/ksm"


def ram(vm: Guest, mib: int) -> dict[str, int]:
    """The fields (KiB) of the mapping in /proc/PID/smaps that is as large as the guest's RAM."""
    text = vm.nest.sh(f"cat /proc/{vm.pid}/smaps")
    for block in re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", text):
        fields = {k: int(v) for k, v in re.findall(r"(?m)^(\w+):\s+(\d+) kB", block)}
        if fields.get("Size") == mib * MIB:
            fields["memfd"] = int("memfd:guest-ram" in block.splitlines()[0])
            return fields
    raise AssertionError(f"no mapping of {mib} MiB in\n{text[:4000]}")


def sleeper(nest: Nest, memory: str, *options: str, script: str = "") -> Guest:
    """A guest that has run `script` and stays."""
    vm = nest.guest(
        f"{script}\necho settled; sleep 1000", memory=memory, options=options, wait=False
    )
    vm.expect("settled")
    return vm


@pytest.fixture
def pool(nest: Nest) -> Iterator[str]:
    """96 reserved huge pages of 2 MiB, for as long as the test runs."""
    folder = POOL.format(2048)
    nest.sh(f"echo 96 >{folder}/nr_hugepages; [ $(cat {folder}/nr_hugepages) = 96 ]")
    yield folder
    nest.clean()
    nest.sh(f"echo 0 >{folder}/nr_hugepages")


def count(nest: Nest, pool: str, name: str) -> int:
    return int(nest.sh(f"cat {pool}/{name}"))


def test_ram_is_taken_when_it_is_touched(nest: Nest) -> None:
    vm = sleeper(nest, "512M,hugepages=off", script="dd if=/dev/zero of=/dev/null bs=1M count=1")
    before = ram(vm, 512)
    assert before["AnonHugePages"] == 0
    assert before["Rss"] < 96 * MIB
    assert not before["memfd"]


def test_transparent_huge_pages_are_the_default(nest: Nest) -> None:
    assert ram(sleeper(nest, "128M"), 128)["AnonHugePages"] > 16 * MIB


def test_prefaulted_ram_is_all_there_and_of_the_node_asked_for(nest: Nest) -> None:
    vm = sleeper(nest, "160M,prefault,hugepages=off,node=0")
    assert ram(vm, 160)["Rss"] == 160 * MIB
    assert re.search(r"bind:0 anon=\d+", nest.sh(f"cat /proc/{vm.pid}/numa_maps"))
    done = nest.vmm("--kernel", "/nest/vmlinux", "--memory", "128M,node=7")
    assert done.status == 2
    assert "this host has no NUMA node 7" in done.output


def test_huge_pages_of_the_pool(nest: Nest, pool: str) -> None:
    vm = sleeper(nest, "128M,hugepages=2M")
    fields = ram(vm, 128)
    assert fields["KernelPageSize"] == 2 * MIB and fields["memfd"]
    assert count(nest, pool, "nr_hugepages") == 96
    assert count(nest, pool, "free_hugepages") - count(nest, pool, "resv_hugepages") == 96 - 64
    # A second guest is told before it runs, rather than killed when the pool is empty.
    done = nest.vmm("--kernel", "/nest/vmlinux", "--memory", "128M,hugepages=2M")
    assert done.status == 1
    assert "64 huge pages of 2M are needed, 32 are free" in done.output
    assert f"echo 128 > {pool}/nr_hugepages" in done.output
    # A reset clears them and keeps them promised.
    vm.qmp("system_reset")
    vm.expect("settled", count=2)
    assert count(nest, pool, "free_hugepages") - count(nest, pool, "resv_hugepages") == 96 - 64
    vm.qmp("quit")
    vm.ended()
    nest.sh(f"n=0; until [ $(cat {pool}/free_hugepages) = 96 ]; do\n"
            "  [ $n -gt 100 ] && exit 1; n=$((n + 1)); sleep 0.1; done")  # fmt: skip


def test_a_page_of_a_gibibyte(nest: Nest) -> None:
    vm = sleeper(nest, "1G,hugepages=1G")
    assert ram(vm, 1024)["KernelPageSize"] == 1024 * MIB
    done = nest.vmm("--kernel", "/nest/vmlinux", "--memory", "1G,hugepages=1G")
    assert done.status == 1
    assert "1 huge pages of 1G are needed, 0 are free" in done.output


def test_shared_ram_is_a_memfd(nest: Nest) -> None:
    vm = sleeper(nest, "128M,shared")
    assert ram(vm, 128)["memfd"]
    assert "seals" not in nest.sh(f"ls -l /proc/{vm.pid}/fd | grep guest-ram")
    vm.qmp("system_reset")
    vm.expect("settled", count=2)


def test_equal_pages_of_guests_are_merged(nest: Nest) -> None:
    if nest.run(f"[ -d {KSM} ]").status:
        done = nest.vmm("--kernel", "/nest/vmlinux", "--memory", "64M,mergeable")
        assert done.status == 1 and "has no KSM" in done.output
        return
    for _ in range(2):
        sleeper(nest, "64M,mergeable,hugepages=off")
    nest.sh(f"echo 20000 >{KSM}/pages_to_scan; echo 10 >{KSM}/sleep_millisecs; echo 1 >{KSM}/run")
    try:
        # Both have the same kernel: 9 MiB of it that neither writes.
        nest.sh(
            f"n=0; until [ $(cat {KSM}/pages_sharing) -gt 1500 ]; do\n"
            f"  [ $n -gt 600 ] && {{ grep . {KSM}/*; exit 1; }}; n=$((n + 1)); sleep 0.1; done",
            120,
        )
    finally:
        nest.sh(f"echo 2 >{KSM}/run")


def test_a_guest_may_have_more_than_the_host(nest: Nest) -> None:
    total = int(nest.sh("sed -n 's/MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo"))
    assert total < 6 * 1024 * MIB
    vm = sleeper(nest, "6G", script="grep MemTotal /proc/meminfo")
    match = re.search(r"MemTotal:\s+(\d+) kB", vm.console())
    assert match and int(match[1]) > 5.5 * 1024 * MIB
    assert ram(vm, 6144)["Rss"] < 400 * MIB


def test_ram_that_the_cpu_cannot_address_is_refused(nest: Nest) -> None:
    # The emulated CPU has 40 bits, and 1 GiB of the first 4 is not RAM.
    done = nest.vmm("--kernel", "/nest/vmlinux", "--memory", "1024G")
    assert done.status == 2
    assert "40-bit addresses, which is 1023G of RAM at most" in done.output
    done = nest.vmm("--kernel", "/nest/vmlinux", "--memory", "600G", "--cpu-model", "baseline")
    assert done.status == 2
    assert "39-bit addresses, which is 511G of RAM at most" in done.output


def test_linux_in_32_mib(nest: Nest) -> None:
    # The shipped kernel lies between 16 and 28 MiB; a kernel for less has to be built for it.
    text = nest.guest("grep MemTotal /proc/meminfo", memory="36M").console()
    match = re.search(r"MemTotal:\s+(\d+) kB", text)
    assert match and int(match[1]) < 36 * MIB
    done = nest.vmm("--kernel", "/nest/vmlinux", "--memory", "16M")
    assert done.status == 2
    assert "past guest RAM; give more --memory" in done.output
