# SPDX-License-Identifier: Apache-2.0
"""The jail around a VM that runs: what it takes away, seen from the host and from inside."""

from __future__ import annotations

import re

from hypergen import run, vmm
from hypergen.config import BuildConfig
from tests.bench.overlay import Overlay
from tests.nested.nest import KERNEL, Nest

ATTACKER = "/nest/bin/hg-attack"


def nest_overlay(files: Overlay, cfg: BuildConfig) -> None:
    """hg-vmm with the attacks of tests/vmm/attack.c, of which each thread makes one."""
    build = cfg.out / "nested" / "vmm"
    log = cfg.logs / "nested-attack.log"
    vmm.compile_in(cfg, build, "attack", log=log)
    run.run(["strip", "-s", "-o", build / "hg-attack.stripped", build / "hg-attack"], log=log)
    files.copy(ATTACKER.lstrip("/"), build / "hg-attack.stripped")


def test_a_vm_of_root_has_nothing_of_the_hosts(nest: Nest) -> None:
    vm = nest.guest("echo up; sleep 1000", wait=False, cpus=2)
    vm.expect("up")
    status = nest.sh(f"cat /proc/{vm.pid}/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    uids = set(fields["Uid"].split())
    assert uids == {str(0x70000000 + vm.pid)} == set(fields["Gid"].split())
    assert fields.get("Groups", "").strip() == ""
    assert fields["NoNewPrivs"] == "1" and fields["NSpid"].split() == [str(vm.pid), "1"]
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(fields[kind], 16) == 0, kind
    for kind in ("mnt", "pid", "net", "ipc", "uts", "cgroup"):
        links = [f"readlink /proc/{pid}/ns/{kind}" for pid in (vm.pid, 1)]
        inside, outside = nest.sh("\n".join(links)).split()
        assert inside != outside, kind
    # All that is there is the run directory, and it is the VM's own.
    assert "vmm.log" in nest.sh(f"ls /proc/{vm.pid}/root/")
    assert nest.sh(f"stat -c %u {vm.folder}").strip() in uids
    assert "refuses" not in vm.log()
    # The loop has one filter, each vCPU two.
    filters = nest.sh(f"grep -h Seccomp_filters /proc/{vm.pid}/task/*/status")
    assert sorted(int(line.split()[1]) for line in filters.splitlines()) == [1, 2, 2]


def test_two_vms_are_two_users(nest: Nest) -> None:
    one, two = (nest.guest("echo up; sleep 1000", wait=False) for _ in range(2))
    owners = nest.sh(f"stat -c %u {one.folder} {two.folder}").split()
    assert len(set(owners)) == 2


def test_attacks_from_a_vm_that_runs_are_refused(nest: Nest) -> None:
    """Each in a VM of its own, with KVM: from the loop's thread and from a vCPU's."""
    names = "open execve ptrace connect mount fork kill map-code bpf io-uring"
    output = nest.sh(
        f"for who in loop vcpu; do for name in {names}; do\n"
        f"  echo; echo == $who $name\n"
        f"  HG_ATTACK=$who:$name {ATTACKER} --kernel {KERNEL} --memory 32M 2>&1 || echo status=$?\n"
        "done; done",
        120,
    )
    parts = output.split("\n== ")[1:]
    assert len(parts) == 2 * len(names.split())
    for part in parts:
        assert "begins" in part and "status=159" in part, part
        assert "SUCCEEDED" not in part and "refused" not in part, part


def test_the_other_layers_refuse_without_the_filter(nest: Nest) -> None:
    """As root of a host with namespaces and Landlock; seccomp is left out on purpose."""
    output = nest.sh(
        "mkdir -p /run/nest/attack && cd /run/nest/attack\n"
        "export HG_ATTACK_BARE=1 HG_ATTACK_NO_SECCOMP=1\n"
        f"{ATTACKER} --list | while read name classes layers; do\n"
        "  [ $layers = layered ] || [ $name = create ] || [ $name = link ] || continue\n"
        f"  HG_ATTACK=loop:$name {ATTACKER} --kernel /etc/passwd --run-dir . 2>&1 </dev/null\n"
        "done; ls -A; cat vmm.log",
        120,
    )
    assert len(re.findall(": begins", output)) > 20
    assert len(re.findall(": refused: ", output)) == len(re.findall(": begins", output)), output
    assert "this system refuses" not in output


def test_who_is_not_root_gets_a_jail_as_well(nest: Nest) -> None:
    """By a user namespace: the guest runs, and the log has nothing to say."""
    output = nest.sh(
        "chmod 666 /dev/kvm; mkdir -p /run/nest/u && chown 1000:1000 /run/nest/u\n"
        f"/nest/bin/as_user 1000 hg-vmm --kernel {KERNEL} --initrd /nest/guest.cpio \\\n"
        "  --cmdline 'console=hvc0 quiet panic=-1' --memory 64M --run-dir /run/nest/u --daemonize\n"
        "n=0; until [ -e /run/nest/u/exit.json ]; do\n"
        "  [ $n -lt 300 ]; n=$((n + 1)); sleep 0.1; done; chmod 600 /dev/kvm\n"
        "cat /run/nest/u/vmm.log /run/nest/u/exit.json; stat -c owner=%u /run/nest/u/exit.json"
    )
    assert "running: kernel" in output and "refuses" not in output, output
    assert '"guest-shutdown"' in output and "owner=1000" in output, output


def test_limits_are_a_group_of_the_vms_own_that_goes_with_it(nest: Nest) -> None:
    vm = nest.guest(
        "while :; do :; done",
        wait=False,
        options=["--cgroup", "nest/limited", "--limit", "cpu=0.5,memory=256M"],
    )
    group = "/sys/fs/cgroup/nest/limited"
    assert nest.sh(f"cat {group}/cpu.max {group}/memory.max").split() == [
        *("50000", "100000"),
        str(256 << 20),
    ]
    assert str(vm.pid) in nest.sh(f"cat {group}/cgroup.procs").split()
    nest.sh(f"n=0; until grep -q 'nr_throttled [1-9]' {group}/cpu.stat; do sleep 0.2; done", 60)
    nest.sh(f"kill -9 {vm.pid}")
    nest.sh(f"n=0; while [ -e {group} ]; do [ $n -lt 100 ]; n=$((n + 1)); sleep 0.1; done", 60)
