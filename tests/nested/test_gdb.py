# SPDX-License-Identifier: Apache-2.0
"""The debugger's server: with gdb itself on the kernel's symbols, and with a client of our own.

gdb runs on this machine. Its connection goes through a port of the host's virtio-serial device,
plugged in for it, and the program ``relay`` in the host. Hardware breakpoints and watchpoints
cannot be seen here: QEMU's TCG ignores DR7 in a nested guest (tests/vmm/units_gdb.c has them, and
hg-vmm does not offer them there).
"""

from __future__ import annotations

import re
import shlex
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hypergen.config import BuildConfig
from tests.e2e.bounds import bound
from tests.e2e.files import only
from tests.nested.nest import Guest, Nest
from tests.nested.rsp import Rsp

PORT = "gdb"
QMP = '{"execute":"qmp_capabilities"}{"execute":"x-hypergen-gdb-start"}'
IDLE = "while echo tick; do cat /proc/uptime; sleep 0.5; done"
BUSY = f"(while :; do :; done) & {IDLE}"


@pytest.fixture(scope="module")
def sockets() -> Iterator[Path]:
    """A folder for sockets: their paths are short (108 bytes), pytest's tmp_path is long."""
    with tempfile.TemporaryDirectory(prefix="hg-") as folder:
        yield Path(folder)


@pytest.fixture
def port(nest: Nest, sockets: Path) -> Iterator[Path]:
    """This machine's end of a port of the host, which is plugged in once a host."""
    known = {one["label"]: one["filename"] for one in nest.machine.qmp("query-chardev")}
    if PORT in known:
        path = Path(known[PORT].split("unix:")[1].split(",")[0])
    else:
        path = Path(tempfile.mkdtemp(dir=sockets)) / PORT
        address = {"type": "unix", "data": {"path": str(path)}}
        backend = {"type": "socket", "data": {"addr": address, "server": True, "wait": False}}
        nest.machine.qmp("chardev-add", id=PORT, backend=backend)
        nest.machine.qmp("device_add", driver="virtserialport", chardev=PORT, name=PORT)
    yield path
    nest.run("kill -9 $(cat /run/relay); rm -f /run/relay")


def relay(nest: Nest, path: str, *words: str) -> None:
    """Lead the port to a socket in the host."""
    argv = shlex.join(["/nest/bin/relay", PORT, path, *words])
    nest.sh(f"{argv} </dev/null >/tmp/relay.log 2>&1 & echo $! >/run/relay")


def segment(elf: Path) -> bytes:
    """The first loaded segment of an ELF file."""
    data = elf.read_bytes()
    (start,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    for number in range(count):
        kind, _, offset, _, _, length = struct.unpack_from("<IIQQQQ", data, start + number * size)
        if kind == 1:
            return data[offset : offset + length]
    raise ValueError(f"{elf}: nothing to load")


@pytest.fixture
def symbols(cfg: BuildConfig) -> Path:
    """The guest kernel as it was linked, with its symbols."""
    guest = segment(only(cfg.out / "guest_kernel", "vmlinux-*"))
    for linked in sorted(cfg.work.glob("linux-*/build-guest/vmlinux")):
        if segment(linked) == guest:
            return linked
    pytest.skip("needs the guest kernel's build folder: `hypergen build` leaves it in the cache")


def gdb(symbols: Path, port: Path, *commands: str, seconds: float = 60) -> str:
    """Run gdb's commands on the guest; returns what it printed."""
    if not shutil.which("gdb"):
        pytest.skip("needs gdb (apt-get install gdb)")
    before = ("set pagination off", "set confirm off", f"set remotetimeout {bound(30):.0f}")
    words = [
        word for line in (*before, f"target remote {port}", *commands) for word in ("-ex", line)
    ]
    done = subprocess.run(
        ["gdb", "-nx", "-batch", *words, str(symbols)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=bound(seconds),
        check=False,
    )
    return done.stdout + done.stderr


def test_gdb_from_the_first_instruction_on(nest: Nest, port: Path, symbols: Path) -> None:
    vm = nest.guest("sleep 1000", options=["--gdb", "auto", "--gdb-wait"], cpus=2, wait=False)
    assert vm.qmp("query-status") == {"status": "debug", "running": False}
    relay(nest, f"{vm.folder}/gdb.sock")
    text = gdb(
        symbols,
        port,
        "info threads",
        "x/i start_kernel",
        "break *start_kernel",
        "continue",
        "stepi",
        'printf "step %lx\\n", $rip - (unsigned long)&start_kernel',
        "info registers cr3 efer gs_base",
        "delete",
        "break *do_sys_openat2",
        "continue",
        "backtrace 2",
        "set $saved = $r15",
        "set $r15 = 0x1234",
        'printf "r15 %lx\\n", $r15',
        "set $r15 = $saved",
        "delete",
        "detach",
        seconds=90,
    )
    assert re.search(r"\* 1 +Thread 1 \(vCPU, running\)", text), text
    assert re.search(r"2 +Thread 2 \(vCPU, not started by the guest\)", text), text
    assert re.search(r"<start_kernel>:\s+(endbr64|push)", text), text
    assert re.search(r"hit Breakpoint 1, 0x[0-9a-f]+ in start_kernel", text), text
    assert (match := re.search(r"step ([0-9a-f]+)\n", text)) and 0 < int(match[1], 16) < 16, text
    assert (match := re.search(r"efer +0x([0-9a-f]+)", text)) and int(match[1], 16) & 0x500, text
    assert re.search(r"hit Breakpoint 2, 0x[0-9a-f]+ in do_sys_openat2", text), text
    assert re.search(r"#1 .*_sys_open", text), text
    assert "r15 1234\n" in text and "detached" in text, text
    assert vm.qmp("query-status")["running"] is True


def running(nest: Nest, path: str = "control.sock", *, script: str = IDLE) -> Guest:
    """A guest with two vCPUs, and the port led to one of its sockets."""
    vm = nest.guest(script, options=["--gdb", "auto"], cpus=2, wait=False)
    vm.expect("tick")
    relay(nest, f"{vm.folder}/{path}", *([QMP] if path == "control.sock" else []))
    return vm


def test_a_running_guest_by_its_control_socket(nest: Nest, port: Path) -> None:
    vm = running(nest, script=BUSY)
    with Rsp(port) as rsp:
        assert rsp.ask("?").startswith("T05")
        assert rsp.ask("qfThreadInfo") == "m1,2"
        assert vm.qmp("query-status")["status"] == "debug"
        before = [rsp.rip(thread) for thread in (1, 2)]
        ticks = vm.console().count("tick")
        nest.sh("sleep 2")
        assert vm.console().count("tick") == ticks
        assert [rsp.rip(thread) for thread in (1, 2)] == before
        # One thread steps, the other stays.
        for _ in range(5):
            assert rsp.ask("vCont;s:2").startswith("T05thread:2")
        assert rsp.rip(1) == before[0]
        rsp.send("c")
        nest.sh("sleep 1")
        assert vm.qmp("query-status")["status"] == "running"
        assert rsp.interrupt().startswith("T02")
        assert [rsp.rip(thread) for thread in (1, 2)] != before
    # The connection is gone without a word; the guest goes on.
    ticks = vm.console().count("tick")
    nest.sh("sleep 3")
    assert vm.qmp("query-status")["status"] == "running"
    assert vm.console().count("tick") > ticks
    vm.qmp("quit")


def test_memory_is_the_guests(nest: Nest, port: Path) -> None:
    vm = running(nest, "gdb.sock")
    with Rsp(port) as rsp:
        # Code of the kernel, at an address that only its page tables know.
        for _ in range(50):
            if (rip := rsp.rip(1)) >> 63:
                break
            rsp.send("c")
            nest.sh("sleep 0.05")
            rsp.interrupt()
        code = rsp.ask(f"m{rip:x},10")
        assert len(code) == 32, code
        assert rsp.ask(f"M{rip:x},10:{code}") == "OK"
        assert rsp.ask("mffff000000000000,8") == "E0e"
    vm.qmp("quit")


def test_a_lost_connection_takes_its_breakpoints_along(
    nest: Nest, port: Path, symbols: Path
) -> None:
    nm = subprocess.run(["nm", str(symbols)], capture_output=True, text=True, check=True).stdout
    match = re.search(r"^([0-9a-f]+) [tT] do_sys_openat2$", nm, re.MULTILINE)
    assert match
    vm = running(nest, "gdb.sock")
    with Rsp(port) as rsp:
        original = rsp.ask(f"m{match[1]},4")
        assert rsp.ask(f"Z0,{match[1]},1") == "OK"
        assert rsp.ask(f"m{match[1]},4") == original
        assert re.match("T05thread:[12]", rsp.ask("c"))
        assert rsp.rip(int(rsp.ask("qC")[2:], 16)) == int(match[1], 16)
    ticks = vm.console().count("tick")
    nest.sh("sleep 3")
    assert vm.console().count("tick") > ticks + 1
    with Rsp(port) as rsp:
        assert rsp.ask(f"m{match[1]},4") == original


def test_killing_from_the_debugger(nest: Nest, port: Path) -> None:
    vm = running(nest, "gdb.sock")
    with Rsp(port) as rsp:
        rsp.ask("?")
        rsp.send("k")
        assert vm.ended()["reason"] == "quit"


def test_wrong_options_say_what_to_give(nest: Nest) -> None:
    kernel = ("--kernel", "/nest/vmlinux")
    for options, says in (
        (("--gdb", "70000"), "from 1 to 65535"),
        (("--gdb", "auto"), "needs --run-dir"),
        (("--gdb-wait",), "--gdb-wait needs --gdb"),
        (("--gdb", "/nowhere/gdb.sock"), "/nowhere/gdb.sock"),
    ):
        done = nest.vmm(*kernel, *options)
        assert done.status in (1, 2) and says in done.output, done
