# SPDX-License-Identifier: Apache-2.0
"""Many VMs, and shells that get in each other's way."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import HERE, Host, scale

pytestmark = pytest.mark.slow

SECONDS = 10.0  # of random commands
SEED = int(os.environ.get("HYPERGEN_SEED") or time.time())


@pytest.fixture
def crowd(host: Host) -> Iterator[Host]:
    """A host with 500 VMs, which one process plays."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    player = subprocess.Popen(
        [sys.executable, str(HERE / "many_vms.py"), str(host.run_dir), "500"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert player.stdout is not None and player.stdout.readline() == "ready\n"
    yield host
    player.kill()
    player.wait()
    player.stdout.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def cpu_seconds(host: Host, line: str) -> float:
    """CPU time of one command, the interpreter's start left out."""

    def spent() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    # Started anew, as only what is our own child is counted.
    begun = spent()
    assert host.run("help exit", fresh=True).returncode == 0
    between = spent()
    assert host.run(line, fresh=True).returncode == 0
    assert spent() > between > begun
    return max(spent() - between - (between - begun), 0.0)


def test_five_hundred_vms_are_listed_in_no_time(crowd: Host) -> None:
    rows = crowd.ok("vm_list").splitlines()
    assert len(rows) == 501 and all("running" in row for row in rows[1:])
    # The best of three: what else the machine does must not count.
    assert min(cpu_seconds(crowd, "vm_list") for _ in range(3)) < 0.3 * scale()
    assert crowd.ok("vm_info 250").startswith("id            250")


def play(host: Host, seed: int, until: float, said: list[str]) -> None:
    """One shell, in which somebody types at random."""
    chance = random.Random(seed)
    names = [f"n{number}" for number in range(6)]
    while time.monotonic() < until:
        lines = []
        for _ in range(8):
            name = chance.choice(names)
            lines.append(
                chance.choice(
                    [
                        f"vm_create 1 1 --read-only --name {name}",
                        f"vm_create 1 2 --read-only --name {name} -q",
                        f"vm_destroy {name}",
                        f"vm_rename {name} {chance.choice(names)}",
                        f"vm_stop {name} --timeout 1 --force",
                        f"vm_start {name}",
                        f"vm_kill {name}",
                        "vm_list",
                        "vm_list --json",
                    ]
                )
            )
        done = subprocess.run(
            host.argv,
            env=host.env,
            input="\n".join(lines) + "\n",
            capture_output=True,
            text=True,
            check=False,
            timeout=120 * scale(),
        )
        said.append(done.stderr)


def players(host: Host) -> list[str]:
    """The run folders of the fakes that live."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            folder = next((w for w in words if w.startswith(str(host.run_dir).encode())), b"")
            if folder and b"--run-dir" in words:
                found.append(folder.decode())
    return sorted(found)


def test_two_shells_in_each_others_way_leave_nothing(host: Host) -> None:
    print(f"HYPERGEN_SEED={SEED}")
    until = time.monotonic() + SECONDS
    said: list[list[str]] = [[], []]
    threads = [
        threading.Thread(target=play, args=(host, SEED + number, until, said[number]))
        for number in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for text in said[0] + said[1]:
        assert "Traceback" not in text and "Error" not in text, text
        assert "does not end" not in text, text
    states = host.states()
    folders = sorted(str(path) for path in (host.run_dir / "vm").iterdir())
    assert folders == sorted(f"{host.run_dir}/vm/{number}" for number in states)
    alive = [
        f"{host.run_dir}/vm/{number}" for number, state in states.items() if state == "running"
    ]
    assert players(host) == sorted(alive), states
    names = [vm["name"] for vm in host.json("vm_list")]
    assert len(names) == len(set(names))
    host.ok("vm_destroy all")
    assert host.states() == {} and players(host) == []
    assert list((host.run_dir / "vm").iterdir()) == []
    left = {path.name for path in host.run_dir.iterdir()}
    assert left <= {"vm", "lock", "catalog.json", "isle"}, left
