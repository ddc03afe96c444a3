# SPDX-License-Identifier: Apache-2.0
"""Unikernels like programs: by their path in the host's shell, and by hypershell's verbs."""

from __future__ import annotations

import json

import pytest

from hypergen.config import BuildConfig
from tests.bench.overlay import Overlay
from tests.nested import unikernels
from tests.nested.nest import KERNELS, Nest

NEST_CPUS = 4


def nest_overlay(files: Overlay, cfg: BuildConfig) -> None:
    """``tests/guests/program.c`` for each interface, at ``/nest/guests``."""
    unikernels.lay(files, cfg.out, "program")


@pytest.mark.parametrize("abi", unikernels.ABIS)
def test_a_unikernel_is_run_by_its_path(nest: Nest, abi: str) -> None:
    program = f"/nest/guests/program-{abi}"
    done = nest.run(f"cd /nest/guests; ./program-{abi} 42 one two < /etc/passwd > /tmp/out")
    assert (done.status, done.output) == (42, "")
    assert nest.sh("cat /tmp/out") == "arguments 42 one two\n" + nest.sh("cat /etc/passwd")
    assert nest.sh(f'seq 5 | {program} | tail -n 1; test -z "$(pidof hg-vmm)"') == "5\n"
    # A signal to what the shell has started ends the guest.
    done = nest.run(f"{program} </dev/zero >/dev/null & sleep 0.5; kill $!; wait $!")
    assert done.status == 128 + 15
    nest.sh('test -z "$(pidof hg-vmm)"')


def test_what_is_no_unikernel_is_told(nest: Nest) -> None:
    mark = r"printf '\377' | dd of={0} bs=1 seek=7 conv=notrunc 2>/dev/null; chmod +x {0}"
    nest.sh("cp /nest/bin/numbered /tmp/static; " + mark.format("/tmp/static"))
    nest.sh("printf 'not much' | dd of=/tmp/cut 2>/dev/null bs=1")
    nest.sh("head -c 200 /nest/guests/program-v1 > /tmp/cut; chmod +x /tmp/cut")
    nest.sh("cp /nest/guests/program-v1 /tmp/arm")
    nest.sh(r"printf '\267' | dd of=/tmp/arm bs=1 seek=18 conv=notrunc 2>/dev/null")
    for path, says in {
        "/tmp/static": "no unikernel but a program for Linux",
        "/tmp/arm": "image for aarch64; this host is x86_64",
        "/tmp/cut": "/tmp/cut: ",
    }.items():
        done = nest.run(path)
        assert done.status == 2 and says in done.output, done.output
        assert done.output.count("\n") == 1 and done.output.startswith("hg-vmm: ")


def test_the_shell_runs_lists_and_makes_them(nest: Nest) -> None:
    nest.sh(f"mkdir -p {KERNELS}; cp /nest/guests/program-* /nest/vmlinux {KERNELS}")
    kinds = {one["name"]: one for one in json.loads(nest.hypershell("kernel_list --json").output)}
    assert {name: one["kind"] for name, one in kinds.items()} == {
        "program-core": "hermitcore",
        "program-v1": "hermit",
        "program-v2": "hermit",
        "vmlinux": "vmlinux",
    }
    assert kinds["program-v2"]["version"] == "0.12.0, interface 2"
    done = nest.run(
        f"echo typed | HYPERGEN_KERNELS={KERNELS} hypershell -c 'run program-v1 7 --help'", 120
    )
    assert (done.status, done.output) == (7, "arguments 7 --help\ntyped\n")
    done = nest.hypershell('vm_create program-v2 --memory 64M --args "3 x"')
    assert done.status == 0 and "VM 1 (vm1) runs" in done.output, done.output
    record = json.loads(nest.hypershell("vm_list --json").output)[0]
    assert (record["image"], record["state"]) == (None, "running")
    nest.sh("grep -q '^arguments 3 x' /run/hypergen/vm/1/console.log")
    assert "VM 1 (vm1) destroyed" in nest.hypershell("vm_destroy 1").output


def test_isles_by_the_shell(nest: Nest) -> None:
    nest.sh(f"mkdir -p {KERNELS}; cp /nest/guests/program-v1 {KERNELS}/hello")
    done = nest.hypershell("isle_create hello --cpus 2-3 --memory 64M -- 9 --x")
    assert done.status == 0, done.output
    assert "isle 0 (" in done.output and ") runs on CPUs 2,3 at 192.168.28.2;" in done.output
    (one,) = json.loads(nest.hypershell("isle_list --json").output)
    expected = (0, "2-3", f"{KERNELS}/hello", "running", "192.168.28.2")
    assert tuple(one[k] for k in ("isle", "cpus", "path", "state", "address")) == expected
    assert nest.sh(f"cat {one['log']} /run/hypergen/isle/0/log").count("arguments 9 --x") == 2
    done = nest.hypershell("isle_create hello --cpus 3 --memory 64M")
    assert done.status == 2
    assert done.output == "isle_create: isle 1: CPU 3 is isle 0's; choose others\n"
    # One that was started by hand is known, too.
    nest.sh("HERMIT_ISLE=5 HERMIT_CPUS=1 /nest/guests/program-core </dev/zero >/dev/null &")
    nest.sh("until grep -q . /sys/fs/cgroup/isle-5/cgroup.threads; do sleep 0.1; done 2>/dev/null")
    second = json.loads(nest.hypershell("isle_list --json").output)[1]
    assert (second["isle"], second["cpus"], second["vm"]) == (5, "1", None)
    done = nest.hypershell("isle_destroy all")
    assert "isle 0 destroyed" in done.output and "isle 5 destroyed" in done.output, done.output
    assert nest.sh("cat /sys/fs/cgroup/cpuset.cpus.effective").strip() == "0-3"
    assert nest.sh("ls /run/hypergen/isle") == "lock\n"
    assert json.loads(nest.hypershell("vm_list --json").output) == []
