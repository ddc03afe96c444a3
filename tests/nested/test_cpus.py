# SPDX-License-Identifier: Apache-2.0
"""vCPUs as a guest sees them: number, topology, models, time, and where they run in the host."""

from __future__ import annotations

import re

import pytest

from tests.nested.nest import Nest

TOPOLOGY = """
cd /sys/devices/system/cpu
for c in $(seq 0 $(($(nproc) - 1))); do
  t=cpu$c/topology
  echo "cpu $c: $(cat $t/physical_package_id) $(cat $t/core_id) $(cat $t/thread_siblings_list)"
done
"""

# The bits of KVM_FEATURE (Documentation/virt/kvm/x86/cpuid.rst) that a guest lives better with.
KVM_FEATURES = {
    "kvmclock": 3,
    "async page fault": 4,
    "steal time": 5,
    "PV EOI": 6,
    "PV TLB flush": 9,
    "PV IPI": 11,
    "kvmclock is stable": 24,
}


def cpuid(text: str) -> dict[tuple[int, str], tuple[int, ...]]:
    """What programs/cpuid.c printed: registers by CPU and leaf."""
    found = re.findall(r"^(\d+) (\w+\.\w+) (\w{8}) (\w{8}) (\w{8}) (\w{8})$", text, re.MULTILINE)
    return {(int(cpu), leaf): tuple(int(r, 16) for r in regs) for cpu, leaf, *regs in found}


@pytest.mark.parametrize(
    ("cpus", "packages", "cores", "threads"),
    [
        ("3", 1, 3, 1),
        ("12,sockets=2,threads=2", 2, 3, 2),  # three cores: IDs with gaps
        ("4,sockets=4", 4, 1, 1),
    ],
)
def test_the_topology_is_the_one_asked_for(
    nest: Nest, cpus: str, packages: int, cores: int, threads: int
) -> None:
    total = packages * cores * threads
    text = nest.guest(
        f"nproc; {TOPOLOGY} cpuid 1 b.1; dmesg | grep -i 'firmware bug' || true",
        cpus=cpus,
        programs=["cpuid"],
        seconds=120,
    ).console()
    assert text.splitlines()[0] == str(total)
    assert "firmware bug" not in text.lower(), "the kernel found the tables at odds"
    seen = re.findall(r"^cpu (\d+): (\d+) (\d+) (\S+)$", text, re.MULTILINE)
    assert len(seen) == total
    assert len({package for _, package, _, _ in seen}) == packages
    assert len({(package, core) for _, package, core, _ in seen}) == packages * cores
    for cpu, _, _, siblings in seen:
        first = int(cpu) - int(cpu) % threads
        assert siblings in {f"{first}-{first + threads - 1}", str(cpu)}
        assert (siblings == str(cpu)) == (threads == 1)
    leaves = cpuid(text)
    ids = [leaves[cpu, "b.1"][3] for cpu in range(total)]
    assert len(set(ids)) == total
    assert all(leaves[cpu, "1.0"][1] >> 24 == ids[cpu] for cpu in range(total))


def test_time_needs_no_calibration(nest: Nest) -> None:
    text = nest.guest(
        "cat /sys/devices/system/clocksource/clocksource0/current_clocksource\n"
        "dmesg | grep -i -e tsc -e kvm-clock -e lapic -e calibrat\n"
        "cat /proc/timer_list | grep 'Clock Event Device' | sort -u\n"
        "cat /proc/cmdline; cpuid 1 40000001 40000010 80000007",
        programs=["cpuid"],
    ).console()
    leaves = cpuid(text)
    assert text.splitlines()[0] in {"kvm-clock", "tsc"}
    assert "Clock Event Device: lapic-deadline" in text
    assert not re.search(r"Fast TSC calibration|PIT calibration|unable to calibrate", text)
    assert leaves[0, "1.0"][2] >> 24 & 1, "no TSC deadline timer"
    # A TSC that is not the clock is not watched: an idle guest would wake up for it.
    invariant = leaves[0, "80000007.0"][3] >> 8 & 1
    assert bool(invariant) == ("tsc=nowatchdog" not in text)
    assert leaves[0, "40000010.0"][0] > 0
    for name, bit in KVM_FEATURES.items():
        assert leaves[0, "40000001.0"][0] >> bit & 1, f"{name} is not offered"


def test_paravirtual_features_are_used_by_the_guest(nest: Nest) -> None:
    text = nest.guest("dmesg | grep -i kvm", cpus=4).console()
    assert "KVM setup pv remote TLB flush" in text
    assert re.search(r"kvm-guest: (setup PV IPIs|KVM setup async PF|setup async PF)", text)


def test_time_that_the_host_took_is_told(nest: Nest) -> None:
    # Two vCPUs that never rest share one CPU: about half of the time is stolen from each.
    text = nest.guest(
        "busy() { n=0; while [ $n -lt 40000 ]; do n=$((n + 1)); done; }\n"
        "busy & busy & wait; grep '^cpu ' /proc/stat",
        cpus=2,
        options=["--cpu-affinity", "0,0"],
        seconds=120,
    ).console()
    match = re.search(r"^cpu +(\d+) \d+ \d+ \d+ \d+ \d+ \d+ (\d+)", text, re.MULTILINE)
    assert match, text
    user, stolen = map(int, match.groups())
    assert stolen > user / 5


def test_the_baseline_is_one_cpu_everywhere(nest: Nest) -> None:
    text = nest.guest(
        "grep -m1 flags /proc/cpuinfo; grep -m1 'model name' /proc/cpuinfo; cpuid 1 7 80000008",
        options=["--cpu-model", "baseline"],
        programs=["cpuid"],
        cpus=2,
    ).console()
    flags = set(re.findall(r"flags\s*: (.*)", text)[0].split())
    assert {"sse4_2", "popcnt", "cx16", "lahf_lm", "nx", "rdtscp"} <= flags
    assert not flags & {"avx", "avx2", "xsave", "aes", "bmi1", "smep", "rdrand", "sha_ni", "abm"}
    assert "hyper-gen baseline" in text
    leaves = cpuid(text)
    assert leaves[0, "80000008.0"][0] == 48 << 8 | 39
    assert leaves[0, "7.0"] == (0, 0, 0, 0)


def test_a_model_that_the_host_cannot_give_names_the_feature(nest: Nest) -> None:
    # On this emulated CPU no guest may use XSAVE (docs/vmm/machine.md), so there is no AVX.
    done = nest.vmm("--kernel", "/nest/vmlinux", "--cpu-model", "baseline-v3")
    assert done.status == 1
    assert re.search(r"^hg-vmm: --cpu-model baseline-v3: this host has no \w+", done.output)


def test_vcpus_stay_on_their_cpus(nest: Nest) -> None:
    vm = nest.guest(
        "echo ready; sleep 1000",
        cpus=3,
        options=["--cpu-affinity", "1,0-0,2=0-1"],
        wait=False,
    )
    vm.expect("ready")
    threads = nest.sh(
        f"grep -h Cpus_allowed_list /proc/{vm.pid}/task/*/status | sort | uniq -c | sort -n"
    )
    # One vCPU on each of the two, one on both as the main thread is.
    assert sorted(re.findall(r"(\d+)\s+Cpus_allowed_list:\s+(\S+)", threads)) == [
        ("1", "0"),
        ("1", "1"),
        ("2", "0-1"),
    ]
    vm.qmp("system_reset")
    nest.sh("sleep 1")
    assert nest.sh(f"grep -hc 'list:.1$' /proc/{vm.pid}/task/*/status | grep -c 1").strip() == "1"
    done = nest.vmm("--kernel", "/nest/vmlinux", "--cpu-affinity", "5")
    assert done.status == 2
    assert "host CPU 5 may not be used here: 0 to 1 at most" in done.output


def test_64_vcpus(nest: Nest) -> None:
    """All are made and told of; only some are started, which under emulation takes its time."""
    text = nest.guest(
        "cd /sys/devices/system/cpu; cat present; echo 1 >cpu63/online; cat online\n"
        "cat cpu63/topology/physical_package_id cpu63/topology/core_id",
        cpus="64,sockets=2",
        memory="192M",
        append="maxcpus=2",
        seconds=120,
    ).console()
    assert text.splitlines()[:4] == ["0-63", "0-1,63", "1", "31"]
