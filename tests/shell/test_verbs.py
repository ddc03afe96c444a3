# SPDX-License-Identifier: Apache-2.0
"""What can be done to a VM besides making and ending it; each with its ways to fail."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from .conftest import Host, scale


@pytest.fixture
def web(host: Host) -> Host:
    """A host with one VM, called web."""
    host.add_vmlinux("vmlinux")
    host.add_image("a.img")
    host.ok("vm_create 1 1 --name web")
    return host


def test_stop_and_start_keep_the_vm(web: Host) -> None:
    assert web.ok("vm_stop web") == "VM 1 (web) stopped (guest-shutdown)\n"
    assert web.states() == {1: "stopped"}
    assert web.ok("vm_stop 1") == "VM 1 (web) is stopped already\n"
    assert web.ok("vm_start w").startswith("VM 1 (web) runs;")
    assert web.states() == {1: "running"}
    assert "runs already (running)" in web.ok("vm_start web")
    argv = json.loads((web.run_dir / "vm/1/argv").read_text())
    assert argv[argv.index("--name") + 1] == "web" and "--disk" in argv


def test_stop_of_a_deaf_guest_needs_force(host: Host) -> None:
    host.add_vmlinux("vmlinux")
    host.add_image("a.img")
    host.ok("vm_create 1 1", env={"FAKE_DEAF": "1"})
    line = host.fails("vm_stop 1 --timeout 0.3", 1)
    assert "has not shut down" in line and "--force ends it" in line
    assert host.states() == {1: "running"}
    assert host.ok("vm_stop 1 --timeout 0.3 --force") == "VM 1 (vm1) stopped (quit)\n"


def test_kill_and_restart(web: Host) -> None:
    first = web.vmm_pid(1)
    assert "runs again" in web.ok("vm_restart web")
    second = web.vmm_pid(1)
    assert first != second and second
    assert web.ok("vm_kill web") == "VM 1 (web) killed\n"
    assert web.ok("vm_kill web") == "VM 1 (web) is stopped already\n"
    assert web.states() == {1: "stopped"} and not web.vmm_pid(1)
    assert "runs again" in web.ok("vm_restart web")


def test_a_vm_that_cannot_start_again_says_why_and_stays(web: Host) -> None:
    web.ok("vm_stop web")
    assert "no more" in web.fails("vm_start web", 1, env={"FAKE_FAIL": "1:no more"})
    assert web.json("vm_list")[0]["reason"] == "error: no more"
    (web.images / "a.img").unlink()
    assert "its image" in web.fails("vm_start web", 2)


def test_pause_and_resume(web: Host) -> None:
    assert "paused;" in web.ok("vm_pause web")
    assert web.ok("vm_pause web") == "VM 1 (web) is paused already\n"
    assert web.states() == {1: "paused"}
    assert web.ok("vm_resume all") == "VM 1 (web) goes on\n"
    assert web.ok("vm_resume web") == "VM 1 (web) runs already\n"
    web.ok("vm_kill web")
    assert "vm_start 1 starts it" in web.fails("vm_pause web", 2)


def test_wait_ends_when_the_state_comes_or_cannot(web: Host) -> None:
    assert "not stopped, after 0.2" in web.fails("vm_wait web --timeout 0.2", 1)
    assert web.ok("vm_wait web --for running") == "VM 1 (web) running\n"
    later = threading.Timer(0.5, lambda: web.run("vm_stop web"))
    later.start()
    assert web.ok("vm_wait web --timeout 60") == "VM 1 (web) stopped (guest-shutdown)\n"
    later.join()
    assert "without having been paused" in web.fails("vm_wait web --for paused", 1)
    assert "type stopped, running, paused or panicked" in web.fails("vm_wait web --for off", 2)


def test_info_log_and_stats(web: Host) -> None:
    info = web.ok("vm_info web")
    assert re.search(r"^name +web$", info, re.M) and "device 1" in info
    record = json.loads(web.ok("vm_info 1 --json"))
    assert record["name"] == "web" and record["exits"] == {"io": 12, "mmio": 34}
    assert web.ok("vm_log web -n 1") == "fake login: \n"
    assert web.ok("vm_log web --grep boots") == "fake guest boots\n"
    assert web.run("vm_log web --grep nothing").returncode == 1
    assert "written nothing" in web.fails("vm_log web --vmm", 1)
    assert "type a number, or all" in web.fails("vm_log web -n few", 2)
    csv = web.ok("vm_stats --format csv").splitlines()
    assert csv[0].startswith("id,name,state,") and csv[1].startswith("1,web,running,")
    assert web.json("vm_stats")[0]["disk_read"] == 512
    assert web.ok("vm_stats -q") == "1\n"
    assert "type table, csv or json" in web.fails("vm_stats --format xml", 2)


def test_a_log_is_followed_until_the_vm_ends(web: Host) -> None:
    (web.run_dir / "vm/1/console.log.1").write_bytes(b"older\r\n\x1b[31mred\x1b[0m\r\n")
    later = threading.Timer(0.5, lambda: web.run("vm_stop web"))
    with (web.run_dir / "vm/1/console.log").open("ab") as log:
        later.start()
        log.write(b"and more\r\n")
    text = web.ok("vm_log web -n all -f")
    later.join()
    assert text.startswith("older\nred\nfake guest boots\n") and "and more\n" in text


def test_events_are_told_as_they_happen(web: Host) -> None:
    listener = subprocess.Popen(
        [*web.argv, "-c", "vm_events --count 2 --timeout 60 --json"],
        env=web.env,
        stdout=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60 * scale()
    while listener.poll() is None and time.monotonic() < deadline:
        web.ok("vm_pause web")
        web.ok("vm_resume web")
    assert listener.stdout is not None
    with listener.stdout as pipe:
        told = [json.loads(line) for line in pipe]
    assert listener.wait() == 0
    assert {one["event"] for one in told} <= {"STOP", "RESUME"} and len(told) == 2
    assert told[0]["name"] == "web"
    assert web.run("vm_events --count 1 --timeout 0.2").returncode == 1


def test_top_draws_once(web: Host) -> None:
    table = web.ok("vm_top --once --every 0.1").splitlines()
    assert table[0].split()[:3] == ["ID", "NAME", "STATE"] and table[1].split()[1] == "web"
    assert json.loads(web.ok("vm_top --json --every 0.1"))[0]["state"] == "running"
    assert "memory" in web.ok("host_top --once --every 0.1")
    assert len(json.loads(web.ok("host_top --json --every 0.1"))["cpu_percent"]) >= 1


def test_what_is_set_reaches_the_vm(web: Host) -> None:
    line = web.ok("vm_set web --balloon 128M --disk-bps 1M --disk-iops none --log-level debug")
    assert "128 MiB" in line and "1048576 bytes a second" in line and "no limit" in line
    told = (web.run_dir / "vm/1/told").read_text().splitlines()
    asked = [(one["execute"], one["arguments"]) for one in map(json.loads, told)]
    assert asked == [
        ("balloon", {"value": 128 << 20}),
        ("block_set_io_throttle", {"device": "disk0", "bps": 1 << 20}),
        ("block_set_io_throttle", {"device": "disk0", "iops": 0}),
    ]
    assert "nothing to set" in web.fails("vm_set web", 2)
    assert "up to its 512 MiB" in web.fails("vm_set web --balloon 1G", 2)
    assert "runs backwards" in web.fails("vm_set web --cpu-affinity 3-1", 2)
    assert "is no list of CPUs" in web.fails("vm_set web --cpu-affinity x", 2)


def test_affinity_is_the_threads(web: Host) -> None:
    first = min(os.sched_getaffinity(0))
    web.ok(f"vm_set web --cpu-affinity {first}")
    assert os.sched_getaffinity(web.vmm_pid(1)) == {first}
    assert "this host has CPUs 0 to" in web.fails("vm_set web --cpu-affinity 4000", 2)


def test_rename(web: Host) -> None:
    assert web.ok("vm_rename web shop") == "VM 1 (web) is called shop now\n"
    assert "this name already" in web.ok("vm_rename shop shop")
    assert "begin with a letter" in web.fails("vm_rename shop 1", 2)
    assert web.json("vm_list")[0]["name"] == "shop"


def test_a_screen_is_not_there(web: Host) -> None:
    assert "has no screen" in web.fails("vm_screenshot web", 2)
    assert "1 to 65535" in web.fails("vm_debug web --port no", 2)
    web.ok("vm_stop web")
    assert "vm_start 1 starts it" in web.fails("vm_debug web", 2)


def test_aliases_and_words(web: Host) -> None:
    assert web.ok("list -q") == "1\n"
    assert web.ok("stop web").startswith("VM 1 (web) stopped")
    assert web.ok("start web").startswith("VM 1 (web) runs")
    assert web.ok("ls -d /") == "/\n"
    folder = web.base / "made"
    web.ok(f"mkdir {folder}")
    assert folder.is_dir()
    (folder / "file").write_text("text\n")
    assert web.ok(f"cat {folder}/file") == "text\n"
    assert "Mem" in web.ok("free") and "PID" in web.ok("ps")
    sleeper = subprocess.Popen(["sleep", "1000"])
    web.ok(f"kill {sleeper.pid}")
    assert sleeper.wait() == -signal.SIGTERM
    assert web.run(f"cat {folder}/gone").returncode == 1


def test_help_fits_a_screen_and_knows_nouns(host: Host) -> None:
    lines = host.ok("help").splitlines()
    assert len(lines) <= 24 and max(map(len, lines)) <= 80
    assert "image_clone" in host.ok("help image") and "vm_create" not in host.ok("help image")
    assert "Examples:" in host.ok("help stop")


def test_version_and_watch(host: Host) -> None:
    assert json.loads(host.ok("version --json"))["hg-vmm"] == "9.9"
    assert host.ok("watch --once vm_list -q").startswith("every 2s: vm_list -q")
    assert "watch what" in host.fails("watch", 2)


def test_networks_are_the_kernels(host: Host) -> None:
    names = [str(one["name"]) for one in host.json("net_list")]
    there = {path.name for path in Path("/sys/class/net").iterdir()}
    assert set(names) == there - {"lo"} and names == sorted(names)
    info = json.loads(host.ok("net_info lo --json"))
    assert info["kind"] == "loopback" and info["mtu"] > 0
    assert "unknown network 'nope'" in host.fails("net_info nope", 2)
    assert "routes" in json.loads(host.ok("host_net --json"))
