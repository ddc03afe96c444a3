# SPDX-License-Identifier: Apache-2.0
"""The shell's verbs with the real VMM and real guests; a power cut in the midst of definitions."""

from __future__ import annotations

import itertools
import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from hypergen import run
from hypergen.config import BuildConfig
from tests.nested import nest as nests
from tests.nested.nest import ENV, IMAGES, KERNELS, SERVER, Guest, Nest

VM = "/run/hypergen/vm/{}"

numbers = itertools.count(1)


class Shell:
    """Commands of the shell in the host, on folders of the test's own."""

    def __init__(self, nest: Nest) -> None:
        self.nest = nest
        nest.sh(
            f"mkdir -p {KERNELS} {IMAGES}; ln -sf /nest/vmlinux {KERNELS}/vmlinux\n"
            f"truncate -s 16M {IMAGES}/a.img\n"
        )

    def ok(self, line: str, seconds: float = 60) -> str:
        done = self.nest.hypershell(line, seconds)
        assert done.status == 0, done.output
        return done.output

    def fails(self, line: str) -> str:
        done = self.nest.hypershell(line)
        assert done.status in (1, 2), done.output
        return done.output

    def json(self, line: str) -> Any:
        return json.loads(self.ok(f"{line} --json"))

    def create(self, *options: str) -> int:
        """A VM whose guest does what it is told on its console; its id."""
        number = next(numbers)
        initrd = self.nest.initrd(SERVER, f"/run/nest/shell{number}")
        words = ["vm_create", "vmlinux", "a.img", "--memory", "128M", "--initrd", initrd]
        made = self.ok(shlex.join([*words, "--net", "none", "-q", *options]))
        self.guest(int(made)).expect("ready")
        return int(made)

    def guest(self, vm: int) -> Guest:
        """Its console and sockets."""
        return Guest(self.nest, vm, VM.format(vm))

    def ask(self, vm: int, command: str) -> str:
        """What a command prints in the guest."""
        return self.guest(vm).ask(command)


@pytest.fixture
def shell(nest: Nest) -> Shell:
    return Shell(nest)


def test_a_vm_is_watched_changed_stopped_and_started(shell: Shell) -> None:
    vm = shell.create("--name", "web", "--vmm", "--balloon")
    assert "paused" in shell.ok("vm_pause web")
    assert shell.json("vm_list")[0]["state"] == "paused"
    shell.ok("vm_resume web")
    info = shell.json("vm_info web")
    assert info["pid"] and info["cpu_seconds"] > 0 and info["resident"] > 1 << 20
    assert {one["type"] for one in info["devices"]} >= {"blk", "console", "balloon"}
    assert "ready" in shell.ok("vm_log web -t --grep ready")
    shell.ok("vm_set web --cpu-affinity 1 --disk-bps 1M --disk-iops 100")
    allowed = shell.nest.sh(f"grep -h Cpus_allowed_list /proc/{info['pid']}/task/*/status")
    assert "1" in [line.split()[1] for line in allowed.splitlines()]
    before = int(shell.ask(vm, "awk '/MemFree/ { print $2 }' /proc/meminfo"))
    shell.ok("vm_set web --balloon 96M")
    shell.ask(vm, f"until [ $(awk '/MemFree/ {{ print $2 }}' /proc/meminfo) -lt {before - 20000} ];"
                  " do sleep 0.1; done")  # fmt: skip
    shell.ok("vm_rename web shop")
    # Nobody listens to the power button in this guest.
    assert "--force ends it" in shell.fails("vm_stop shop --timeout 1")
    assert "stopped" in shell.ok("vm_stop shop --timeout 1 --force")
    shell.ok("vm_start shop")
    shell.guest(vm).expect("ready")
    assert shell.ask(vm, "cat /proc/cmdline").count("root=/dev/vda") == 1
    assert "killed" in shell.ok("vm_kill shop")
    assert "destroyed" in shell.ok("vm_destroy shop")


def test_a_debugger_is_let_in_and_leaves(shell: Shell) -> None:
    vm = shell.create("--name", "web")
    shell.nest.sh(f"{ENV} hypershell -c 'vm_debug web --port 6677' >/run/nest/debug 2>&1 &")
    answer = shell.nest.sh(
        "n=0; until grep -q 'target remote' /run/nest/debug; do [ $n -gt 300 ] && exit 1\n"
        "n=$((n + 1)); sleep 0.1; done\n"
        "(printf '$?#3f'; sleep 2) | busybox nc 127.0.0.1 6677 | head -c 6; echo"
    )
    assert answer.startswith("+$T05")
    assert shell.ask(vm, "echo alive") == "alive"
    shell.ok("vm_destroy all")


def test_a_snapshot_is_many_vms(shell: Shell) -> None:
    vm = shell.create("--name", "web")
    shell.ask(vm, "x=kept; echo disk >/dev/vda; sync")
    shell.ok("vm_snapshot web first", 120)
    shell.ask(vm, "x=later; echo other >/dev/vda; sync")
    shell.ok("vm_restore first --count 2", 120)
    shell.ok("vm_clone web --name copy", 120)
    ids = [one["id"] for one in shell.json("vm_list")]
    assert len(ids) == 4
    for number, (kept, disk) in zip(
        ids,
        [("later", "other"), ("kept", "disk"), ("kept", "disk"), ("later", "other")],
        strict=True,
    ):
        shell.nest.sh(f": >{VM.format(number)}/console.log")
        assert shell.ask(number, "echo $x; head -n 1 /dev/vda").split() == [kept, disk]
    assert shell.json("snapshot_list")[0]["used_by"]
    shell.ok("vm_destroy all")
    assert shell.nest.sh("ls /host/test/hypergen/snapshots/first").split() == [
        *("disk.img", "snapshot.json", "vm")
    ]


def test_somebody_without_rights_has_vms_of_their_own(shell: Shell) -> None:
    """As on an ordinary Linux: a user who may open /dev/kvm, and nothing else."""
    initrd = shell.nest.initrd(SERVER, "/run/nest/theirs")
    shell.nest.sh("mkdir -p -m 777 /run/theirs; chown 1000 /host/test/images/a.img")
    become = "import os; os.setgroups([]); os.setgid(1000); os.setuid(1000)"
    words = ["hypershell", "--guest-kernel", KERNELS, "--guest-image", IMAGES, "-c"]

    def run(line: str) -> str:
        code = f"{become}; os.execvp('hypershell', {[*words, line]!r})"
        python = f"HOME=/run/theirs python3.11 -I -S -c {shlex.quote(code)}"
        return shell.nest.run(python, 90).output

    make = f"vm_create vmlinux a.img --memory 128M --initrd {initrd} --name mine"
    shell.nest.sh("chmod 600 /dev/kvm")
    refused = run(make)
    assert refused.count("\n") == 1 and "/dev/kvm" in refused, refused
    shell.nest.sh("chown 1000 /dev/kvm")
    try:
        assert "VM 1 (mine) runs" in run(make)
        Guest(shell.nest, 1, "/run/theirs/.cache/hypergen/vm/1").expect("ready")
        told = json.loads(run("vm_info mine --json"))
        assert told["state"] == "running" and told["pid"]
        status = shell.nest.sh(f"cat /proc/{told['pid']}/status")
        for fact in ("Uid:\t1000", "NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000"):
            assert fact in status, status
        assert "destroyed" in run("vm_destroy mine")
    finally:
        shell.nest.sh("chown 0 /dev/kvm; rm -rf /run/theirs")


def test_a_power_cut_leaves_every_definition_whole(
    cfg: BuildConfig, overlay: Path, scratch: Path, tmp_path: Path
) -> None:
    """Definitions are written again and again while the power goes: old or new, never less."""
    disk = tmp_path / "disk.img"
    run.capture(["cp", "--sparse=always", scratch, disk])
    with nests.boot(cfg, overlay, disk, "powercut", memory=1024, cpus=1, keep=True) as nest:
        shell = Shell(nest)
        for name in ("one", "two"):
            shell.ok(f"vm_define {name} vmlinux a.img --cmdline round=0")
        nest.sh(
            "n=0; while :; do n=$((n + 1)); for name in one two; do\n"
            'echo "vm_define $name vmlinux a.img --replace --cmdline round=$n"; done; done |\n'
            f"{ENV} hypershell >/run/rounds 2>&1 &"
        )
        nest.sh("n=0; until [ $(wc -l </run/rounds) -gt 9 ]; do [ $n -gt 600 ] && exit 1\n"
                "n=$((n + 1)); sleep 0.1; done", 90)  # fmt: skip
    # Leaving the block has killed QEMU: what the host had not flushed is gone.
    with nests.boot(cfg, overlay, disk, "powercut2", memory=1024, cpus=1, keep=True) as nest:
        rows = {row["name"]: row for row in Shell(nest).json("definition_list")}
    assert set(rows) == {"one", "two"}
    rounds = []
    for row in rows.values():
        assert row["problem"] is None, row
        rounds.append(int(row["definition"]["cmdline"].removeprefix("round=")))
    assert min(rounds) >= 4 and abs(rounds[0] - rounds[1]) <= 1
