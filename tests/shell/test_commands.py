# SPDX-License-Identifier: Apache-2.0
"""The commands through ``hypershell -c``, against the fake VMM."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypershell.commands import COMMANDS, load
from hypershell.spec import help_text

from .conftest import Host, scale


def test_lists_tell_kind_version_size_and_content(host: Host) -> None:
    kernels = {k["name"]: k for k in host.json("kernel_list")}
    assert kernels["vmlinux-6.12"]["kind"] == "vmlinux"
    assert kernels["vmlinux-6.12"]["version"] == "6.12.9-guest"
    assert kernels["bzImage-6.12"]["kind"] == "bzImage"
    assert kernels["bzImage-6.12"]["version"] == "6.12.8-boxed"
    image = host.json("image_list")[0]
    assert (image["name"], image["holds"], image["size"]) == ("busybox.img", "ext4", 1 << 20)
    assert image["used_by"] == []
    table = host.ok("image_list").splitlines()
    assert table[0].split() == ["ID", "NAME", "SIZE", "ALLOCATED", "HOLDS", "USED", "BY"]
    assert table[1].split()[:4] == ["1", "busybox.img", "1", "MiB"]


def test_ids_stay_when_files_come_and_go(host: Host) -> None:
    before = {i["name"]: i["id"] for i in host.json("image_list")}
    assert before == {"busybox.img": 1, "debian.img": 2}
    host.add_image("aaa.img")
    (host.images / "busybox.img").unlink()
    assert {i["name"]: i["id"] for i in host.json("image_list")} == {"debian.img": 2, "aaa.img": 3}
    host.add_image("busybox.img")
    assert [i["id"] for i in host.json("image_list")] == [1, 2, 3]
    assert host.ok("image_list -q").split() == ["1", "2", "3"]


def test_create_list_destroy(host: Host) -> None:
    created = host.run("vm_create 2 1 --cpus 2 --memory 64M --name web -q", fresh=True)
    assert (created.returncode, created.stdout, created.stderr) == (0, "1\n", "")
    vm = host.json("vm_list")[0]
    assert (vm["id"], vm["name"], vm["state"], vm["cpus"]) == (1, "web", "running", 2)
    assert vm["memory"] == 64 << 20
    assert vm["cmdline"] == "console=hvc0 root=/dev/vda rw quiet"
    row = host.ok("vm_list").splitlines()[1].split()
    assert row[:7] == ["1", "web", "running", "vmlinux-6.12", "busybox.img", "2", "64"]
    assert host.json("image_list")[0]["used_by"] == [{"id": 1, "name": "web", "read_only": False}]
    assert host.ok("vm_destroy web") == "VM 1 (web) destroyed\n"
    assert host.json("vm_list") == []
    assert not (host.run_dir / "vm/1").exists()
    assert host.ok("vm_destroy 1") == "VM 1 is gone already\n"
    assert host.ok("vm_create 2 1 -q") == "2\n", "an id is not used again"


def test_vmm_gets_the_contract_command_line(host: Host) -> None:
    host.add_image("odd,name.img")
    (host.kernels / "initrd.img").write_bytes(b"x")
    host.ok(
        "vm_create vml odd --read-only --initrd initrd.img --cmdline 'init=/bin/sh quiet=0' "
        "--net none --memory 1G"
    )
    argv = json.loads((host.run_dir / "vm/1/argv").read_text())
    disk = f"{host.images}/odd,,name.img,readonly"
    assert argv[argv.index("--disk") + 1] == disk
    assert argv[argv.index("--initrd") + 1] == f"{host.kernels}/initrd.img"
    assert argv[argv.index("--memory") + 1] == "1024M"
    assert argv[argv.index("--cmdline") + 1].endswith(" ro quiet init=/bin/sh quiet=0")
    assert argv[argv.index("--run-dir") + 1] == f"{host.run_dir}/vm/1"
    assert "--daemonize" in argv and "--net" not in argv


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("vm_create 9 1", "unknown kernel '9'"),
        ("vm_create 1 nope", "unknown image 'nope'; there are 1 (busybox.img), 2 (debian.img)"),
        ("vm_create 1", "needs an image, see image_list"),
        ("vm_create 1 1 --cpus 65", "1 to 64"),
        ("vm_create 1 1 --cpus zwei", "1 to 64"),
        ("vm_create 1 1 --memory 1", "needs 8 MiB"),
        ("vm_create 1 1 --memory 900000G", "this host has"),
        ("vm_create 1 1 --memory many", "not a size"),
        ("vm_create 1 1 --name 3", "begin with a letter"),
        ("vm_create 1 1 --name a/b", "begin with a letter"),
        ("vm_create 1 1 --name all", "means every VM"),
        ("vm_create 1 1 --net wifi", "bridge, passt or none"),
        ("vm_create 1 1 --initrd gone", "no such file"),
        ("vm_destroy 4", "there are no VMs"),
        ("vm_destroy", "required: vm"),
        ("vm_console nope", "unknown VM 'nope'"),
        ("vm_list --wide", "unrecognized arguments: --wide"),
        ("vm_", "did you mean vm_create or vm_list or vm_console or vm_destroy or another of"),
        ("vm_list 'x", "no closing quotation"),
        ("help nope", "unknown command 'nope'"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(host: Host, line: str, part: str) -> None:
    assert part in host.fails(line, 2)
    assert host.states() == {}


def test_ambiguous_words_name_the_candidates(host: Host) -> None:
    host.add_image("debian-two.img")
    assert "ambiguous: 2 (debian-two.img), 3 (debian.img)" in host.fails("vm_create 1 deb", 2)
    host.ok("vm_create 1 1 --name web1")
    host.ok("vm_create 1 2 --name web2")
    assert "VM 'web' is ambiguous: 1 (web1), 2 (web2)" in host.fails("vm_destroy web", 2)
    assert "VM 1 has this name" in host.fails("vm_create 1 3 --name web1", 2)
    host.ok("vm_create 1 3 --name web")
    assert host.ok("vm_destroy web") == "VM 3 (web) destroyed\n", "a whole name beats a prefix"


def test_one_writer_or_many_readers(host: Host) -> None:
    host.ok("vm_create 1 1 --name one")
    assert "in use by VM 1 (one); vm_destroy 1 frees it" in host.fails("vm_create 1 1", 2)
    assert "in use by VM 1 (one)" in host.fails("vm_create 1 1 --read-only", 2)
    host.ok("vm_create 1 2 --read-only")
    host.ok("vm_create 1 2 --read-only")
    assert "add --read-only" in host.fails("vm_create 1 2", 2)
    host.ok("vm_destroy all")
    host.ok("vm_create 1 2")


def test_the_vmms_lock_has_the_last_word(host: Host) -> None:
    """A writer that the shell knows nothing of: hg-vmm's line is passed on."""
    other = host.run_dir / "elsewhere"
    other.mkdir()
    argv = [host.env["HYPERGEN_VMM"], "--run-dir", str(other)]
    argv += ["--kernel", f"{host.kernels}/vmlinux-6.12", "--disk", f"{host.images}/busybox.img"]
    subprocess.run(argv, check=True, env=host.env)
    try:
        assert "busybox.img: in use by another VM (locked)" in host.fails("vm_create 1 1", 2)
        assert not list((host.run_dir / "vm").iterdir())
    finally:
        os.kill(host.process_in(other), signal.SIGKILL)


@pytest.mark.parametrize(("code", "exit_code"), [(2, 2), (1, 1), (77, 1)])
def test_a_failed_start_gives_the_reason_and_leaves_nothing(
    host: Host, code: int, exit_code: int
) -> None:
    line = host.fails("vm_create 1 1", exit_code, {"FAKE_FAIL": f"{code}:no luck today"})
    assert line == "vm_create: no luck today"
    assert list((host.run_dir / "vm").iterdir()) == []
    assert host.ok("vm_create 1 1 -q") == "1\n", "what never ran takes no id"


def test_files_that_cannot_work_are_refused(host: Host) -> None:
    (host.kernels / "aa-broken").write_bytes(b"BAD!" * 200)
    (host.kernels / "ab-empty").touch()
    (host.images / "empty.img").touch()
    (host.images / "q.img").write_bytes(b"QFI\xfb" + bytes(8192))
    assert "not a kernel" in host.fails("vm_create aa-broken 1", 2)
    assert "is empty" in host.fails("vm_create ab-empty 1", 2)
    assert "zero length" in host.fails("vm_create vmlinux empty", 2)
    assert "qcow2, not raw" in host.fails("vm_create vmlinux q.img", 2)


def test_no_vmm_program(host: Host) -> None:
    env = {"HYPERGEN_VMM": "/nonexistent/hg-vmm"}
    assert "cannot run /nonexistent/hg-vmm" in host.fails("vm_create 1 1", 1, env)


def test_destroy_kills_what_ignores_quit(host: Host) -> None:
    host.ok("vm_create 1 1", {"FAKE_STUBBORN": "1", "HYPERGEN_TIMEOUT_SCALE": "1"})
    pid = host.vmm_pid(1)
    assert pid
    assert host.ok("vm_destroy 1", {"HYPERGEN_TIMEOUT_SCALE": "0.1"}) == "VM 1 (vm1) destroyed\n"
    assert host.vmm_pid(1) == 0


def test_a_hung_vm_does_not_block_the_list(host: Host) -> None:
    host.ok("vm_create 1 2")
    host.ok("vm_create 1 1", {"FAKE_HANG": "1"})
    begin = time.monotonic()
    assert host.states() == {1: "running", 2: "unresponsive"}
    assert time.monotonic() - begin < 20 * scale()
    env = {"HYPERGEN_TIMEOUT_SCALE": "0.1"}
    host.ok("vm_destroy all", env)
    assert host.states() == {}


def test_states_of_vms_that_ended(host: Host) -> None:
    host.ok("vm_create 1 1")
    host.ok("vm_create 1 2")
    os.kill(host.vmm_pid(1), signal.SIGKILL)
    os.kill(host.vmm_pid(2), signal.SIGKILL)
    (host.run_dir / "vm/2/exit.json").write_text('{"reason": "error", "message": "disk gone"}')
    deadline = time.monotonic() + 10 * scale()
    while host.states() != {1: "crashed", 2: "stopped"} and time.monotonic() < deadline:
        time.sleep(0.1)
    assert host.states() == {1: "crashed", 2: "stopped"}
    assert "stopped (error: disk gone)" in host.ok("vm_list")
    done = host.run("vm_console 1")
    assert done.returncode == 1 and "fake login:" in done.stdout and "is crashed" in done.stderr
    host.ok("vm_create 1 1")
    host.ok("vm_destroy 1 2")
    assert host.states() == {3: "running"}


def test_damaged_files_are_tolerated(host: Host) -> None:
    host.ok("vm_create 1 1 --name web")
    (host.run_dir / "vm/1/vm.json").write_text('{"name": 7, "kernel": [')
    (host.run_dir / "vm/7").mkdir()
    (host.run_dir / "vm/7/vm.json").write_bytes(b'{"cpus": {}, "memory": "x", "kernel": [1]}')
    (host.run_dir / "vm/rubbish").mkdir()
    (host.run_dir / "catalog.json").write_bytes(b"\xff\xfe{{{")
    (host.run_dir / "host.status").write_bytes(b"\xff\n\n\troot\nroot\tfailed\tno disk\n")
    assert host.states() == {1: "running", 7: "crashed"}
    assert "root" in host.ok("host_info")
    assert [k["id"] for k in host.json("kernel_list")] == [1, 2]
    host.ok("vm_create 1 2 -q")
    assert set(host.states()) == {1, 7, 8}
    assert "VM 1 (?) destroyed" in host.ok("vm_destroy 1")
    host.ok("vm_destroy all")


def test_racing_creates_get_different_ids(host: Host) -> None:
    count = 12
    for number in range(count):
        host.add_image(f"race{number}.img")
    with ThreadPoolExecutor(count) as pool:
        ids = list(pool.map(lambda n: host.ok(f"vm_create 1 race{n}.img -q"), range(count)))
    assert sorted(int(i) for i in ids) == list(range(1, count + 1))
    assert set(host.states().values()) == {"running"}
    host.ok("vm_destroy all")


def test_racing_creates_of_one_image_leave_one(host: Host) -> None:
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: host.run("vm_create 1 1"), range(4)))
    assert sorted(d.returncode for d in done) == [0, 2, 2, 2], [d.stderr for d in done]
    assert len(host.states()) == 1


def test_a_vm_being_started_is_seen_as_starting(host: Host) -> None:
    process = subprocess.Popen(
        [*host.argv, "-c", "vm_create 1 1"], env=host.env | {"FAKE_SLOW": str(1.5 * scale())}
    )
    seen = set()
    while process.poll() is None:
        seen |= set(host.states().values())
    assert process.returncode == 0
    assert "starting" in seen and "crashed" not in seen
    assert host.states() == {1: "running"}


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
def test_a_full_run_folder(host: Host) -> None:
    size = ["-o", "size=16k"]
    mount = ["mount", "-t", "tmpfs", *size, "none", str(host.run_dir)]
    if subprocess.run(mount, check=False).returncode:
        pytest.skip("no right to mount")
    with pytest.raises(OSError), (host.run_dir / "filler").open("wb", buffering=0) as filler:
        while filler.write(b"x" * 4096):
            pass
    assert [k["name"] for k in host.json("kernel_list")] == ["bzImage-6.12", "vmlinux-6.12"]
    assert "No space left on device" in host.fails("vm_create 1 1", 1)
    assert host.states() == {}
    assert host.ok("vm_destroy all") == "There are no VMs.\n"


def test_missing_folders_say_what_to_do(host: Host) -> None:
    env = {"HYPERGEN_IMAGES": str(host.base / "none")}
    assert "no image folder" in host.fails("image_list", 1, env)
    assert "no image folder" in host.fails("vm_create 1 1", 1, env)
    (host.run_dir / "host.status").write_text("root\twaiting\tfor LABEL=hypergen\n")
    assert "root waiting: for LABEL=hypergen" in host.fails("image_list", 1, env)
    done = host.run("image_list --json", env)
    assert json.loads(done.stdout) == [] and done.returncode == 1


def test_host_info(host: Host) -> None:
    (host.run_dir / "host.status").write_text("root\tok\t/dev/vda2\nnet\tfailed\tno link\n")
    host.ok("vm_create 1 1")
    info = json.loads(host.ok("host_info --json"))
    assert info["status"][1] == {"topic": "net", "state": "failed", "message": "no link"}
    assert info["vms"] == {"running": 1} and info["memory_total"] > 0
    text = host.ok("host_info")
    assert "failed: no link" in text and "1, 1 running" in text


def test_power_needs_a_hypergen_host(host: Host) -> None:
    if Path("/etc/hypergen").exists():
        pytest.skip("this is a hyper-gen host")
    assert "not a hyper-gen host" in host.fails("host_reboot --yes", 1)
    assert "not a hyper-gen host" in host.fails("host_shutdown --force", 1)


def test_lines_from_a_pipe(host: Host) -> None:
    lines = "# a comment\n\nvm_create 1 1 -q\nvm_list -q\nnope\nvm_destroy all\nexit\nvm_list\n"
    done = subprocess.run(
        host.argv, env=host.env, input=lines, capture_output=True, text=True, check=False
    )
    assert done.stdout == "1\n1\nVM 1 (vm1) destroyed\n"
    assert done.stderr.count("\n") == 1 and "unknown command 'nope'" in done.stderr
    assert done.returncode == 0


def test_program_options(host: Host) -> None:
    def call(*args: str) -> subprocess.CompletedProcess[str]:
        argv = [*host.argv, *args]
        return subprocess.run(argv, env=host.env, capture_output=True, text=True, check=False)

    assert call("--version").stdout.startswith("hypershell ")
    assert "usage: hypershell" in call("--help").stdout
    wrong = call("--nope")
    assert wrong.returncode == 2 and wrong.stderr.count("\n") == 1


def test_every_command_explains_itself(host: Host) -> None:
    for name, (_, summary) in COMMANDS.items():
        page = help_text(name, summary, load(name))
        assert page.startswith(f"{name} - ")
        assert max(map(len, page.splitlines())) < 80, page
    for name in ("vm_create", "exit"):
        page = host.ok(f"help {name}")
        assert (
            page
            == host.ok(f"{name} --help")
            == help_text(name, COMMANDS[name][1], load(name)) + "\n"
        )


def test_lists_of_commands_fit_a_screen(host: Host) -> None:
    """80 columns and 25 rows, two of which are the next prompt and the line under it."""
    everything = host.ok("help")
    for page in (everything, *(host.ok(f"help {noun}") for noun in ("vm", "host", "image"))):
        assert len(page.splitlines()) <= 23 and max(map(len, page.splitlines())) < 80, page
    for name in COMMANDS:
        assert re.search(rf"\b{name}\b", everything)
    vms = host.ok("help vm")
    assert "vm_create " in vms and "vm_snapshot" not in vms
    assert "More: help snapshots, help definitions" in vms
    assert "vm_snapshot " in host.ok("help snapshots")


def test_the_reader_of_a_list_may_leave(host: Host) -> None:
    argv = " ".join(host.argv) + " -c help | true"
    done = subprocess.run(argv, shell=True, env=host.env, capture_output=True, check=False)
    assert done.stderr == b""
