# SPDX-License-Identifier: Apache-2.0
"""Isles: guests on CPUs of their own, with an address on the network of all isles."""

from __future__ import annotations

from typing import Any

import pytest

from hypergen.config import BuildConfig
from tests.bench.overlay import Overlay
from tests.nested import unikernels
from tests.nested.nest import Guest, Nest

NEST_CPUS = 4
ISLES = "/run/hypergen/isle"
CGROUP = "/sys/fs/cgroup"
SPINS = "echo here; while :; do :; done"
WAITS = "echo here; read -r _"
# Both: the one that is second may be gone by then, as it ends with the other.
KILL = "kill -9 $(pidof hg-vmm-keeper hg-vmm) || true; while pidof hg-vmm; do sleep 0.1; done"
UP = "ip link set eth0 up; ip addr add 192.168.28.{}/24 dev eth0; "


def nest_overlay(files: Overlay, cfg: BuildConfig) -> None:
    """Unikernels: one that exits with 42, and the demo, at ``/nest/guests/isle-*``."""
    (folder := cfg.out / "nested" / "guests").mkdir(parents=True, exist_ok=True)
    for name, (source, abi) in {
        "isle-core": ("calls", unikernels.CORE),
        "isle-web-core": ("web_hello", unikernels.CORE),
        "isle-web-v2": ("web_hello", unikernels.V2),
    }.items():
        files.copy(f"nest/guests/{name}", unikernels.build(source, abi, folder / name))


def isle(nest: Nest, number: int, cpus: str, script: str) -> Guest:
    """A Linux guest in an isle; its script runs."""
    options = ["--isle", str(number), "--cpu-affinity", cpus]
    vm = nest.guest(script, options=options, cpus=2 if "-" in cpus else 1, wait=False)
    vm.expect("here")
    return vm


def shared(nest: Nest) -> str:
    """The CPUs that the host has for itself."""
    return nest.sh(f"cat {CGROUP}/cpuset.cpus.effective").strip()


def irqs_of(nest: Nest) -> str:
    return nest.sh("cat /proc/irq/default_smp_affinity /proc/irq/*/smp_affinity")


def gone(nest: Nest) -> None:
    """Wait until no isle is left, and see that nothing of one is."""
    nest.sh(
        f'n=0; while [ -n "$(ls {ISLES} | grep -v lock)" ]; do\n'
        f"[ $n -gt 300 ] && {{ ls -R {ISLES}; exit 1; }}; n=$((n + 1)); sleep 0.1; done"
    )
    assert shared(nest) == "0-3"
    assert "isle" not in nest.sh(f"ls {CGROUP}")


def vcpu_stats(vm: Guest) -> list[dict[str, Any]]:
    return [
        {one["name"]: one["value"] for one in vcpu["stats"]}
        for vcpu in vm.qmp("query-stats", target="vcpu")
    ]


def test_cpus_of_its_own(nest: Nest) -> None:
    before = irqs_of(nest)
    vm = isle(nest, 1, "2-3", UP.format(3) + "ping -c 1 192.168.28.1 && echo here; read -r _")
    assert shared(nest) == "0-1"
    assert nest.sh(f"cat {CGROUP}/cpuset.cpus.isolated").strip() == "2-3"
    threads = nest.sh(f"grep -h Cpus_allowed_list /proc/{vm.pid}/task/*/status | cut -f2").split()
    assert sorted(threads)[-2:] == ["2", "3"]  # one vCPU each
    assert set(threads) == {"0-1", "2", "3"}  # the event loop and vhost are the host's
    # Nothing else runs there but the kernel's own threads of that CPU.
    others = nest.sh(
        "for s in /proc/[0-9]*/status; do grep -q '^VmSize' $s || continue\n"
        "grep Cpus_allowed_list $s; done 2>/dev/null | cut -f2 | sort -u"
    )
    assert others.split() == ["0-1"]
    assert nest.sh("cat /proc/irq/default_smp_affinity").strip() == "3"
    masks = nest.sh("cat /proc/irq/[0-9]*/smp_affinity").split()
    assert masks.count("3") > 10 and masks.count("f") <= 2  # the timer's cannot be moved
    nest.sh("ping -c 1 192.168.28.3")
    files = nest.sh(f"cd {ISLES}/1; cat path cpus; readlink log; ls")
    assert files.split() == [
        *("/nest/vmlinux", "2-3", f"{vm.folder}/console.log"),
        *("cpus", "log", "path"),
    ]
    # All of its memory is there, and of one node.
    rss = nest.sh(f"grep VmRSS /proc/{vm.pid}/status").split()[1]
    assert int(rss) > 128 << 10
    assert " bind:0 " in nest.sh(f"cat /proc/{vm.pid}/numa_maps")
    # Both vCPUs wait for a line, in HLT, and stay in the guest while they do.
    assert [one["halt_exits"] for one in vcpu_stats(vm)] == [0, 0]
    vm.qmp("system_reset")  # the new machine's vCPUs are new threads
    nest.sh(f"until [ $(wc -l <{CGROUP}/isle-1/cgroup.threads) = 2 ]; do sleep 0.1; done")
    threads = nest.sh(f"grep -h Cpus_allowed_list /proc/{vm.pid}/task/*/status | cut -f2").split()
    assert sorted(threads)[-2:] == ["2", "3"]
    vm.qmp("quit")
    gone(nest)
    assert irqs_of(nest) == before


def test_what_cannot_be_an_isle(nest: Nest) -> None:
    vm = isle(nest, 1, "3", WAITS)
    for options, says in {
        "--isle 1 --cpu-affinity 2": "isle 1 is there already: /nest/vmlinux",
        "--isle 2 --cpu-affinity 2-3": "isle 2: CPU 3 is isle 1's",
        "--isle 2 --cpu-affinity 2,9": "isle 2: there is no CPU 9; there are 0-3",
        "--isle 2 --cpu-affinity 0-2": "one core has to stay with the host, which has 0-2 left",
        "--isle 252 --cpu-affinity 2": "--isle 252: give a number from 0 to 251",
        "--isle 2": "--isle 2 needs CPUs",
        "--isle 2 --cpu-affinity 2 --cpus 2": "2 vCPUs on 1 CPUs",
        "--isle 2 --cpu-affinity 0=1-2": "a plain list",
        "--isle 2 --cpu-affinity 1 --limit cpu=1": "leave --cgroup and --limit out",
    }.items():
        done = nest.vmm(*options.split(), "--kernel", "/nest/vmlinux")
        assert done.status == 2 and says in done.output, done.output
        assert done.output.count("\n") == 1
    for variables, says in {
        "HERMIT_ISLE=2": "--isle 2 needs CPUs: --cpu-affinity 2-3 or HERMIT_CPUS=2-3",
        "HERMIT_ISLE=x": "HERMIT_ISLE=x: give a number from 0 to 251, or uhyve",
        "HERMIT_ISLE=2 HERMIT_CPUS=a": "HERMIT_CPUS=a: give the isle's CPUs",
        "HERMIT_CPUS=1-2": "HERMIT_CPUS=1-2: give a number from 1 to 64; a range is for HERMIT_",
    }.items():
        done = nest.run(f"{variables} hg-vmm /nest/guests/isle-core")
        assert done.status == 2 and says in done.output, done.output
    done = nest.vmm("--isle", "2", "--cpu-affinity", "2", "--kernel", "/nest/guest.cpio")
    assert done.status == 2 and "guest.cpio: not a usable kernel" in done.output, done.output
    # None of them has left anything behind.
    assert nest.sh(f"ls {ISLES}").split() == ["1", "irqs", "lock"]
    assert shared(nest) == "0-2"
    vm.qmp("quit")
    gone(nest)


def test_killed_isles_are_taken_back(nest: Nest) -> None:
    vm = isle(nest, 1, "1", SPINS)
    nest.sh(f"kill -9 {vm.pid}")  # the keeper lives, and sees to it at once
    gone(nest)
    isle(nest, 1, "2", WAITS)
    nest.sh(KILL)
    assert nest.sh(f"ls {ISLES}").split() == ["1", "irqs", "lock"]
    assert shared(nest) == "0-1,3"
    # The next isle takes its number and its CPU; and without a VM there is a way, too.
    isle(nest, 1, "2", SPINS)
    nest.sh(KILL)
    assert nest.vmm("--sweep-isles").status == 0
    gone(nest)


def test_isles_reach_each_other(nest: Nest) -> None:
    one = isle(nest, 0, "2", UP.format(2) + "echo here; read -r _")
    two = isle(nest, 7, "3", UP.format(9) + "echo here; ping -c 1 192.168.28.2")
    two.finish()
    one.type("\n")
    one.finish()
    gone(nest)


@pytest.mark.parametrize("cpus", ["2-3", "3"])
def test_a_unikernel_by_hermitcores_variables(nest: Nest, cpus: str) -> None:
    nest.sh("cd /host/test; mkdir -p data ro; printf 'read only' >ro/file; echo no >secret")
    nest.sh("cd /host/test; ln -sf ../secret data/link; ln -sf /etc/passwd data/absolute")
    done = nest.run(
        f"echo typed | HERMIT_ISLE=3 HERMIT_CPUS={cpus} hg-vmm --file-mapping "
        "/host/test/data:/data --file-mapping /host/test/data:/unilibfs "
        "--file-mapping /host/test/ro:/ro:ro /nest/guests/isle-core"
    )
    assert done.output.endswith("typed\nall is well\n"), done.output
    assert done.status == 42
    gone(nest)


def test_web_servers_on_isles(nest: Nest) -> None:
    """The demo, by both kinds of network card: it is told its address, and the host reaches it."""
    nest.sh(
        "cd /tmp; for k in core:1:2 v2:2:3; do IFS=:; set -- $k; unset IFS\n"
        "  HERMIT_MEM=64M HERMIT_ISLE=$2 HERMIT_CPUS=$3 /nest/guests/isle-web-$1 >web-$1 2>&1 &\n"
        "  echo $! >web-$1.pid\n"
        "done; n=0\n"
        "until grep -q http web-core && grep -q http web-v2; do\n"
        "  n=$((n + 1)); [ $n -lt 300 ] || { cat web-core web-v2; exit 1; }; sleep 0.2\n"
        "done",
        120,
    )
    assert shared(nest) == "0-1"
    for address in ("192.168.28.3", "192.168.28.4"):
        assert "Hello" in nest.sh(f"timeout 20 wget -qO- http://{address}/")
    nest.sh("kill $(cat /tmp/web-*.pid)")
    gone(nest)
