# SPDX-License-Identifier: Apache-2.0
"""Several at one console; and what the prompt does with pastes, keys and hints."""

from __future__ import annotations

import json
import os
import struct
import termios
import time
from collections.abc import Callable, Iterator
from fcntl import ioctl

import pytest

from .conftest import Host
from .terminal import Terminal, close_all

Open = Callable[[str], Terminal]


@pytest.fixture
def open_terminal(host: Host) -> Iterator[Open]:
    opened: list[Terminal] = []

    def make(line: str = "") -> Terminal:
        opened.append(Terminal(host, line))
        return opened[-1]

    yield make
    close_all(opened)


@pytest.fixture
def web(host: Host) -> Host:
    host.ok("vm_create 1 1 --name web")
    return host


def attached(open_terminal: Open, options: str = "") -> Terminal:
    terminal = open_terminal(f"vm_console web {options}")
    terminal.expect("fake login:")
    return terminal


def test_one_types_another_looks_and_a_third_takes_over(web: Host, open_terminal: Open) -> None:
    looker = attached(open_terminal, "--read-only")
    assert "nothing typed reaches it" in looker.text()
    first = attached(open_terminal)
    looker.type("x")
    first.type("a")
    for terminal in (first, looker):
        terminal.expect("<a>")
    thief = attached(open_terminal, "--steal")
    first.type("b")
    thief.type("c")
    for terminal in (first, looker, thief):
        terminal.expect("<c>")
        assert "<b>" not in terminal.text() and "<x>" not in terminal.text()
    looker.type("\x04")
    assert looker.wait() == 0 and "Detached" in looker.text()
    assert "choose one" in web.fails("vm_console web --steal --read-only", 2)


def test_the_guest_is_told_the_window_of_who_types(web: Host, open_terminal: Open) -> None:
    told = web.run_dir / "vm/1/told"
    terminal = attached(open_terminal)
    terminal.until(told.exists, "the size")
    ioctl(terminal.slave, termios.TIOCSWINSZ, struct.pack("4H", 40, 132, 0, 0))
    terminal.until(lambda: '"cols": 132' in told.read_text(), "the new size")
    sizes = [json.loads(line)["arguments"] for line in told.read_text().splitlines()]
    assert sizes[0] == {"cols": 80, "rows": 25} and sizes[-1] == {"cols": 132, "rows": 40}


def test_wait_attaches_again_after_a_restart(web: Host, open_terminal: Open) -> None:
    terminal = attached(open_terminal, "--wait")
    terminal.type("poweroff")
    terminal.expect("Waiting until VM 1 (web) runs")
    terminal.screen.reset()
    web.ok("vm_start web")
    terminal.expect("fake login:")
    web.ok("vm_destroy web")
    terminal.expect("was destroyed")
    assert terminal.wait() == 1


def test_when_lines_were_written(web: Host) -> None:
    folder = web.run_dir / "vm/1"
    log = b"one\r\ntwo\r\nthree\r\n"
    (folder / "console.log").write_bytes(log)
    moment = 1_700_000_000
    records = struct.pack("<QQQQ", 0, moment * 1000, 10, (moment + 5) * 1000)
    (folder / "console.log.times").write_bytes(records + b"torn")
    lines = web.ok("vm_log web -t -n all").splitlines()
    assert [line.split()[-1] for line in lines] == ["one", "two", "three"]
    stamps = [line[:15] for line in lines]
    os.environ["TZ"] = "UTC"
    assert stamps[0] == stamps[1] != stamps[2]
    want = time.strftime("%b %d %H:%M:%S", time.localtime(moment + 5))
    assert stamps[2][3:] == want[3:]


def test_pasted_lines_run_one_by_one(host: Host, open_terminal: Open) -> None:
    terminal = open_terminal("")
    terminal.prompt()
    terminal.type("x\x7f")  # the editor is loaded by the first key
    terminal.prompt()
    terminal.type("\x1b[200~version\nvm_list\nhelp exit\n\x1b[201~")
    terminal.type("\r")
    terminal.expect("There are no VMs")
    terminal.expect("leave the shell")
    assert "hg-vmm" in terminal.text()


def test_ctrl_z_harms_nothing_and_ctrl_c_ends_a_command(host: Host, open_terminal: Open) -> None:
    host.ok("vm_create 1 1 --name web")
    terminal = open_terminal("")
    terminal.prompt()
    terminal.type("vm_events\r")

    def heard() -> bool:
        host.ok("vm_pause web")
        host.ok("vm_resume web")
        return "RESUME" in terminal.text()

    terminal.until(heard, "an event")
    while terminal.pump(0.2):
        pass
    terminal.screen.reset()
    terminal.type("\x1a")
    host.ok("vm_pause web")
    terminal.expect("STOP")
    terminal.type("\x03")
    terminal.expect("interrupted")
    terminal.prompt()
    assert "web   paused" in terminal.command("vm_list")


def test_the_line_below_explains_the_command(host: Host, open_terminal: Open) -> None:
    terminal = open_terminal("")
    terminal.prompt()
    terminal.type("vm_rename ")
    terminal.expect("give a VM another name:  vm_rename <vm> <name>")


def test_history_lies_on_the_root(host: Host, open_terminal: Open) -> None:
    host.env["HYPERGEN_STATE"] = str(host.base / "root/hypergen")
    terminal = open_terminal("")
    terminal.command("version")
    assert (host.base / "root/hypergen/history").read_text() == "version\n"
