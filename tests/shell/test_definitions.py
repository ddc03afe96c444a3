# SPDX-License-Identifier: Apache-2.0
"""Definitions that last, and snapshots: with the fake VMM, on any file system."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import tomllib

import pytest
from hypershell import definitions

from .conftest import Host
from .terminal import Terminal


@pytest.fixture
def host(host: Host) -> Host:
    """A host whose folders are empty."""
    for path in (*host.images.iterdir(), *host.kernels.iterdir()):
        path.unlink()
    return host


@pytest.fixture
def ready(host: Host) -> Host:
    """A host with a kernel and an image, and a folder for what lasts."""
    host.env["HYPERGEN_STATE"] = str(host.base / "state")
    host.add_vmlinux("vmlinux")
    host.add_image("a.img")
    host.add_image("b.img")
    return host


def test_a_definition_is_started_by_its_name(ready: Host) -> None:
    line = "vm_define web 1 a.img --cpus 2 --memory 256M --cmdline 'quiet debug' --autostart"
    assert "web defined; vm_start web" in ready.ok(line)
    stored = tomllib.loads((ready.base / "state/vm/web.toml").read_text())
    assert stored["kernel"] == "vmlinux" and stored["image"] == "a.img"  # ids do not last
    assert stored["autostart"] is True and stored["cmdline"] == "quiet debug"
    assert ready.json("definition_list")[0]["state"] is None
    assert "VM 1 (web) runs" in ready.ok("vm_start web")
    vm = ready.json("vm_list")[0]
    assert vm["cpus"] == 2 and vm["memory"] == 256 << 20 and "quiet debug" in str(vm["cmdline"])
    assert ready.json("definition_list")[0]["vm"] == 1
    assert "web is no longer defined; VM 1 (web) stays" in ready.ok("vm_undefine web")


def test_a_file_defines_as_well(ready: Host) -> None:
    path = ready.base / "x.toml"
    path.write_text('kernel = "vmlinux"\nimage = "a.img"\ncpus = 4\nread_only = true\n')
    ready.ok(f"vm_define db --file {path}")
    assert "defined already" in ready.fails(f"vm_define db --file {path}", 2)
    assert "defined anew" in ready.ok(f"vm_define db --file {path} --replace")
    text = ready.ok("definition_show db")
    assert tomllib.loads(text)["cpus"] == "4" and tomllib.loads(text)["read_only"] is True
    ready.ok("vm_start db")
    assert ready.json("vm_list")[0]["read_only"] is True


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("kernel = ", "no TOML"),
        ("cpus = 1", "'kernel' is missing"),
        ('kernel = "vmlinux"\nimage = "a.img"\nspeed = 9', "unknown setting 'speed'"),
        ('kernel = "vmlinux"\nread_only = "yes"', "true or false"),
        ('kernel = "vmlinux"\ncpus = [1]', "a text in quotes"),
        ('kernel = "vmlinux"\nimage = "a.img"\ncpus = 99', "1 to 64"),
        ('kernel = "nope"\nimage = "a.img"', "unknown kernel"),
    ],
)
def test_a_bad_definition_is_not_kept(ready: Host, text: str, part: str) -> None:
    path = ready.base / "x.toml"
    path.write_text(text)
    assert part in ready.fails(f"vm_define db --file {path}", 2)
    assert ready.json("definition_list") == []


def test_what_has_no_name_or_too_much(ready: Host) -> None:
    assert "begin with a letter" in ready.fails("vm_define 1 vmlinux a.img", 2)
    assert "not both" in ready.fails("vm_define a vmlinux a.img --file x", 2)
    assert "a kernel is missing" in ready.fails("vm_define a", 2)
    assert (
        "needs a terminal"
        in (ready.ok("vm_define a vmlinux a.img"), ready.fails("vm_edit a", 2))[1]
    )
    assert "unknown definition" in ready.fails("vm_undefine nope", 2)


def test_autostart(ready: Host) -> None:
    ready.ok("vm_define one vmlinux a.img --autostart")
    ready.ok("vm_define two vmlinux b.img")
    assert ready.ok("vm_autostart") == "one\n"
    assert ready.ok("vm_autostart two") == "two: off\n"
    ready.ok("vm_autostart two on")
    ready.ok("vm_autostart one off")
    assert ready.ok("vm_autostart") == "two\n"
    ready.ok("vm_autostart --now")
    assert [vm["name"] for vm in ready.json("vm_list")] == ["two"]
    assert ready.ok("vm_autostart --now") == ""


def test_a_damaged_definition_says_so_and_harms_no_other(ready: Host) -> None:
    ready.ok("vm_define good vmlinux a.img --autostart")
    (ready.base / "state/vm/bad.toml").write_bytes(b"\xff\0kernel")
    rows = {row["name"]: row["problem"] for row in ready.json("definition_list")}
    assert rows["good"] is None and "no TOML" in str(rows["bad"])
    assert "vm_edit bad mends it" in ready.fails("vm_start bad", 2)
    done = ready.run("vm_autostart --now")
    assert "VM 1 (good) runs" in done.stdout and "bad" in done.stderr


def test_an_edit_is_checked_before_it_is_kept(ready: Host) -> None:
    ready.ok("vm_define web vmlinux a.img")
    change = ready.base / "editor"
    change.write_text('#!/bin/sh\necho "cpus = 3" >>"$1"\n')
    change.chmod(0o755)
    terminal = Terminal(ready, "vm_edit web", env={"EDITOR": str(change)})
    try:
        terminal.expect("web changed")
        assert terminal.wait() == 0
    finally:
        terminal.close()
    assert tomllib.loads(ready.ok("definition_show web"))["cpus"] == "3"


def test_render_and_parse_agree() -> None:
    odd = {"kernel": 'a "b" \\ c', "cmdline": "ü \x7f \U0001f600 #", "read_only": True}
    assert definitions.parse(definitions.render(odd)) == odd


def test_killed_in_the_midst_leaves_the_old_or_the_new(ready: Host) -> None:
    ready.ok("vm_define web vmlinux a.img --cpus 1")
    for delay in (0.02, 0.05, 0.1, 0.15, 0.2, 0.25):
        writer = subprocess.Popen(
            [*ready.argv],
            env=ready.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        assert writer.stdin is not None
        lines = (f"vm_define web vmlinux a.img --replace --cpus {n % 8 + 1}\n" for n in range(20))
        writer.stdin.write("".join(lines))
        writer.stdin.flush()
        time.sleep(delay)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdin.close() if not writer.stdin.closed else None
        stored = tomllib.loads(ready.ok("definition_show web"))
        assert 1 <= int(stored.get("cpus", "1")) <= 8


# --- snapshots ----------------------------------------------------------------------------------


def test_a_snapshot_is_restored_as_often_as_one_likes(ready: Host) -> None:
    ready.ok("vm_create 1 a.img --name web")
    with (ready.images / "a.img").open("r+b") as image:
        image.seek(65536)
        image.write(b"as it was")
    assert "VM 1 (web) saved as first" in ready.ok("vm_snapshot web first")
    assert ready.states() == {1: "running"}
    folder = ready.base / "state/snapshots/first"
    assert b"as it was" in (folder / "disk.img").read_bytes() and (folder / "vm/state").exists()
    assert "exists already" in ready.fails("vm_snapshot web first", 2)
    ready.ok("vm_restore first --count 2")
    argv = json.loads((ready.run_dir / "vm/2/argv").read_text())
    assert argv[argv.index("--restore") + 1] == f"{folder}/vm" and "--cpus" not in argv
    assert f"overlay={folder}/overlay.2." in argv[argv.index("--disk") + 1]
    listed = ready.json("snapshot_list")[0]
    assert listed["used_by"] == [2, 3] and listed["of"] == "web"
    assert "lives on its files" in ready.fails("snapshot_rm first", 2)
    # Stopped and started again it boots anew, on what it has written.
    ready.ok("vm_stop 2")
    ready.ok("vm_start 2")
    argv = json.loads((ready.run_dir / "vm/2/argv").read_text())
    assert "--restore" not in argv and "overlay=" in argv[argv.index("--disk") + 1]
    ready.ok("vm_destroy 2 3")
    assert not [name for name in os.listdir(folder) if name.startswith("overlay")]  # noqa: PTH208
    ready.ok("snapshot_rm first")
    assert ready.json("snapshot_list") == []


def test_a_clone_and_what_cannot_be_saved(ready: Host) -> None:
    ready.ok("vm_create 1 a.img --name web --read-only")
    ready.ok("vm_clone web --name web2")
    ready.ok("vm_clone web --name web3")  # in the same second, perhaps
    assert ready.states() == {1: "running", 2: "running", 3: "running"}
    ready.ok("vm_stop web")
    assert "only a VM that runs" in ready.fails("vm_snapshot web", 2)
    assert "unknown snapshot" in ready.fails("vm_restore nope", 2)
    first = ready.json("snapshot_list")[0]["name"]
    assert "from 1 to 1000" in ready.fails(f"vm_restore {first} --count 0", 2)
    ready.ok("vm_start web")
    assert "a name has letters" in ready.fails("vm_snapshot web a/b", 2)
