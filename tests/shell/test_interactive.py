# SPDX-License-Identifier: Apache-2.0
"""The program as it is used: typed at in a terminal, read off the screen."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import termios
from collections.abc import Callable, Iterator
from fcntl import ioctl
from functools import partial
from pathlib import Path

import pytest

from .conftest import Host, scale
from .terminal import PROMPT, Terminal, close_all

Open = Callable[..., Terminal]
ATTACHED = "CTRL+d detaches; CTRL+] then d sends a real CTRL+d."


@pytest.fixture
def open_terminal(host: Host) -> Iterator[Open]:
    opened: list[Terminal] = []

    def make(
        line: str = "", env: dict[str, str] | None = None, argv: list[str] | None = None
    ) -> Terminal:
        opened.append(Terminal(host, line, env, argv))
        return opened[-1]

    yield make
    close_all(opened)


def attach(terminal: Terminal, vm: str = "1") -> None:
    terminal.prompt()
    terminal.screen.reset()
    terminal.type(f"vm_console {vm}\r")
    terminal.expect(ATTACHED)
    terminal.expect("fake login:")


def test_prompt_status_line_and_a_session(host: Host, open_terminal: Open) -> None:
    (host.run_dir / "host.status").write_text("root\tfailed\tno such disk\n")
    terminal = open_terminal(argv=host.argv)  # as it is started on a host, not as a copy
    terminal.prompt()
    assert "0 VMs, 0 running" in terminal.text() and "root: failed" in terminal.text()
    assert "VM 1 (vm1) runs" in terminal.command("vm_create 1 1")
    terminal.prompt()
    terminal.expect("1 VM, 1 running")
    assert "vm1   running" in terminal.command("vm_list")
    assert "unknown command 'frobnicate'" in terminal.command("frobnicate")
    assert "VM 1 (vm1) destroyed" in terminal.command("vm_destroy 1")
    terminal.prompt()
    terminal.type("\x04")
    assert terminal.wait() == 0
    assert terminal.modes() == terminal.before


def test_the_status_line_follows_the_host(host: Host, open_terminal: Open) -> None:
    """Before the first key and after it, without anything typed."""
    (host.run_dir / "host.status").write_text("root\twaiting\tLABEL=hypergen\n")
    for name in ("REFRESH", "REFRESH_WAITING", "_FRESH"):
        host.constants[f"hypershell.status.{name}"] = 0.3
    terminal = open_terminal()
    terminal.expect("root: waiting")
    (host.run_dir / "host.status").write_text("root\tfailed\tno such disk\n")
    terminal.expect("root: failed")
    terminal.prompt()
    terminal.type("vm_")
    terminal.expect(f"{PROMPT} vm_")
    (host.run_dir / "host.status").write_text("root\tok\t/dev/vda\n")
    terminal.until(lambda: "root:" not in terminal.text(), "healed status line")
    assert f"{PROMPT} vm_" in terminal.text()


def test_typing_ahead_of_the_editor_loses_nothing(open_terminal: Open) -> None:
    terminal = open_terminal()
    terminal.type("help exit\rhelp vm_list\rvm_list\r")
    said = (b"exit - leave the shell", b"vm_list - list the VMs", b"There are no VMs")
    terminal.until(lambda: all(text in terminal.raw for text in said), "all three")
    terminal.prompt()


def test_tab_completes_commands_options_and_live_names(host: Host, open_terminal: Open) -> None:
    host.ok("vm_create 1 1 --name webserver")
    terminal = open_terminal()
    terminal.prompt()
    terminal.type("host_i\t")
    terminal.expect(f"{PROMPT} host_info")
    terminal.type("\x15kernel_list --js\t")
    terminal.expect("kernel_list --json")
    terminal.type("\x15vm_destroy web\t")
    terminal.expect("vm_destroy webserver")
    terminal.type("\x15vm_create \t")
    terminal.expect("vmlinux-6.12, vmlinux 6.12.9-guest")
    terminal.type("\x15")
    terminal.type("vm_create 1 busy\t")
    terminal.expect("vm_create 1 busybox.img")
    terminal.type("\x15")
    assert "webserver  running" in terminal.command("vm_list")


def test_history_is_kept_for_the_next_shell(open_terminal: Open) -> None:
    first = open_terminal()
    assert "leave the shell" in first.command("help exit")
    first.type("exit\r")
    assert first.wait() == 0
    second = open_terminal()
    second.prompt()
    second.type("\x1b[A\x1b[A")  # the first keys load editor and history
    second.expect(f"{PROMPT} help exit")
    second.type("\r")
    second.expect("exit - leave the shell")


def test_control_c_gives_up_the_line(open_terminal: Open) -> None:
    terminal = open_terminal()
    terminal.prompt()
    terminal.type("vm_destroy all\x03")
    terminal.prompt()
    terminal.type("\x03")
    assert "There are no VMs" in terminal.command("vm_list")


def test_console_passes_keys_and_detaches(host: Host, open_terminal: Open) -> None:
    host.ok("vm_create 1 1 --name web")
    terminal = open_terminal()
    attach(terminal, "web")
    terminal.expect("Attached to VM 1 (web). " + ATTACHED)
    terminal.expect("root=/dev/vda rw")

    def echoed(text: str) -> bool:
        return text in terminal.text().replace("<", "").replace(">", "")

    for keys, seen in [("ls\t", "ls09"), ("\x03", "ls0903"), ("\x1b[A", "1b[A"), ("\x1a", "[A1a")]:
        terminal.type(keys)
        terminal.until(partial(echoed, seen), seen)
    terminal.type("\x1dd")
    terminal.expect("<04>")
    terminal.type("\x1d\x1d")
    terminal.expect("<1d>")
    terminal.type("\x1d?")
    terminal.expect("detach, the VM goes on")
    terminal.type("\x04")
    terminal.expect("Detached from VM 1 (web)")
    terminal.prompt()
    assert host.states() == {1: "running"}
    terminal.type("\x04")
    assert terminal.wait() == 0 and terminal.modes() == terminal.before


def test_what_follows_the_detach_key_is_for_the_shell(host: Host, open_terminal: Open) -> None:
    host.ok("vm_create 1 1")
    terminal = open_terminal()
    attach(terminal)
    terminal.type("abc\x04vm_list --quiet\r")
    terminal.expect(f"{PROMPT} vm_list --quiet\n1")
    assert b"<abc>" in (host.run_dir / "vm/1/console.log").read_bytes()


def test_backlog_is_replayed_on_every_attach(host: Host, open_terminal: Open) -> None:
    host.ok("vm_create 1 1")
    terminal = open_terminal()
    attach(terminal)
    terminal.type("hello")
    terminal.expect("hello")
    terminal.type("\x04")
    terminal.expect("Detached")
    attach(terminal)
    terminal.expect("hello")


def test_two_attached_both_see(host: Host, open_terminal: Open) -> None:
    host.ok("vm_create 1 1")
    first, second = open_terminal(), open_terminal()
    attach(first)
    attach(second)
    first.type("shared")
    second.expect("shared")


@pytest.mark.parametrize(
    ("word", "said", "state"),
    [
        ("poweroff", "VM 1 (vm1) ended: guest-shutdown; vm_destroy 1 removes it.", "stopped"),
        ("crash", "VM 1 (vm1) ended: crashed; vm_destroy 1 removes it.", "crashed"),
        ("panic", "VM 1 (vm1): the guest's kernel panicked", "panicked"),
    ],
)
def test_a_guest_that_dies_while_attached(
    host: Host, open_terminal: Open, word: str, said: str, state: str
) -> None:
    host.ok("vm_create 1 1")
    # How it ended is waited for, and nothing comes of one that crashed.
    quick = {"HYPERGEN_TIMEOUT_SCALE": str(0.5 * scale())} if word == "crash" else {}
    terminal = open_terminal("vm_console 1", quick)
    terminal.expect("fake login:")
    terminal.type(word)
    assert terminal.wait() == 0
    assert said in terminal.text()
    if word == "panic":
        assert "Kernel panic - not syncing" in terminal.text()
    assert terminal.modes() == terminal.before
    assert host.states() == {1: state}
    done = host.run("vm_console 1")
    assert done.returncode == 1 and state in done.stderr and word[:4] in done.stdout


def test_destroyed_from_elsewhere_while_attached(host: Host, open_terminal: Open) -> None:
    host.ok("vm_create 1 1")
    terminal = open_terminal()
    attach(terminal)
    host.ok("vm_destroy 1")
    terminal.expect("VM 1 (vm1) was destroyed.")
    terminal.prompt()


def test_the_screen_is_whole_after_a_messy_guest(host: Host, open_terminal: Open) -> None:
    host.ok("vm_create 1 1")
    terminal = open_terminal()
    attach(terminal)
    terminal.type("mess")
    terminal.expect("messy")
    assert terminal.screen.cursor.hidden
    terminal.type("\x04")
    terminal.expect("Detached")
    terminal.prompt()
    assert not terminal.screen.cursor.hidden
    assert terminal.screen.margins in (None, (0, 24)), terminal.screen.margins
    line = next(y for y, text in enumerate(terminal.screen.display) if "Detached" in text)
    assert not terminal.screen.buffer[line][0].reverse
    assert "webless" not in terminal.command("vm_list")


def test_much_output_arrives_whole(host: Host, open_terminal: Open) -> None:
    host.ok("vm_create 1 1")
    terminal = open_terminal()
    attach(terminal)
    start = len(terminal.raw)
    terminal.type("flood")
    terminal.expect("END-OF-FLOOD")
    assert terminal.raw[start:].count(b"0123456789abcdef") == 4096


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_at_the_console_restores_the_terminal(
    host: Host, open_terminal: Open, number: int
) -> None:
    host.ok("vm_create 1 1")
    terminal = open_terminal("vm_console 1")
    terminal.expect("fake login:")
    assert terminal.modes() != terminal.before
    terminal.process.send_signal(number)
    assert terminal.wait() == 128 + number
    assert terminal.modes() == terminal.before


@pytest.mark.parametrize("typed", ["", "vm_li"])
def test_a_signal_at_the_prompt_restores_the_terminal(open_terminal: Open, typed: str) -> None:
    terminal = open_terminal()
    terminal.prompt()
    if typed:
        terminal.type(typed)
        terminal.expect(f"{PROMPT} {typed}")
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.wait() == 128 + signal.SIGTERM
    assert terminal.modes() == terminal.before


def test_a_killed_shell_leaves_vms_to_the_next(host: Host, open_terminal: Open) -> None:
    terminal = open_terminal()
    terminal.command("vm_create 1 1 --name survivor")
    attach(terminal)
    os.kill(terminal.process.pid, signal.SIGKILL)
    terminal.process.wait()
    second = open_terminal()
    assert "survivor  running" in second.command("vm_list")
    attach(second)


def test_a_terminal_left_raw_is_made_sane(host: Host, open_terminal: Open) -> None:
    """The shell before this one was killed at its prompt, and its terminal is used again."""
    stty = "stty raw -echo; exec " + " ".join(host.argv)
    terminal = open_terminal(argv=["/bin/sh", "-c", stty])
    assert "There are no VMs" in terminal.command("vm_list")
    terminal.type("exit\r")
    assert terminal.wait() == 0
    assert terminal.modes()[3] == terminal.before[3]


def test_a_vm_killed_shell_or_not_needs_confirmation_only_on_a_host(
    host: Host, open_terminal: Open
) -> None:
    if Path("/etc/hypergen").exists():
        pytest.skip("this is a hyper-gen host")
    terminal = open_terminal()
    assert "not a hyper-gen host" in terminal.command("host_reboot")


@pytest.mark.parametrize("term", ["vt102", "vt220", "dumb", "linux", "xterm-256color", ""])
def test_every_kind_of_terminal(host: Host, open_terminal: Open, term: str) -> None:
    env = {"TERM": term} if term else {"TERM": ""}
    terminal = open_terminal(env=env)
    terminal.expect(PROMPT)
    terminal.type("vm_create 1 1 -q\r")
    terminal.type("vm_list --json\r")
    terminal.expect('"state": "running"')
    assert b"\x1b[6n" not in terminal.raw, "asks for the cursor's place"
    if term in ("dumb", ""):
        assert b"\x1b[" not in terminal.raw
    if term.startswith("vt"):
        assert b"38;5" not in terminal.raw
    printable = terminal.raw.replace(b"\x1b", b"")
    assert all(byte < 127 for byte in printable), "more than a VT's font can show"
    terminal.type("exit\r")
    assert terminal.wait() == 0


def test_the_prompt_follows_the_terminals_size(host: Host, open_terminal: Open) -> None:
    """Before the line editor is there and with it."""
    host.ok("vm_create 1 1 --name a-long-name-of-a-vm -q")
    terminal = open_terminal()

    def resize(rows: int, columns: int) -> None:
        terminal.screen.resize(rows, columns)
        ioctl(terminal.slave, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))
        os.killpg(terminal.process.pid, signal.SIGWINCH)

    terminal.prompt()
    resize(12, 40)
    terminal.type("vm_list\r")
    terminal.until(lambda: "a-long" in terminal.text() and terminal.at_prompt(), "a narrow table")
    assert "a-long-name-of-a-vm" not in terminal.text()
    terminal.type("help")
    resize(25, 100)
    terminal.type("\x15vm_list\r")
    terminal.until(
        lambda: "a-long-name-of-a-vm  running" in terminal.text() and terminal.at_prompt(),
        "a wide table",
    )
    terminal.type("exit\r")
    assert terminal.wait() == 0


@pytest.mark.parametrize("term", ["linux", "vt220", "dumb"])
def test_watch_goes_on_until_a_key(host: Host, open_terminal: Open, term: str) -> None:
    terminal = open_terminal(env={"TERM": term})
    terminal.expect(PROMPT)
    terminal.type("watch --every 0.1 vm_list -q\r")
    terminal.expect("every 0.1s: vm_list -q")
    assert host.ok("vm_create 1 1 -q") == "1\n"
    terminal.until(lambda: "\n1\n" in terminal.text() + "\n", "the VM")
    if term != "dumb":
        terminal.expect("q leaves")
        ioctl(terminal.slave, termios.TIOCSWINSZ, struct.pack("4H", 10, 20, 0, 0))
        mark = len(terminal.raw)
        terminal.until(lambda: b"every 0.1s: vm_list\x1b[K" in terminal.raw[mark:], "20 columns")
    terminal.type("q" if term == "vt220" else "\x03")
    terminal.screen.reset()
    terminal.type("version -h\r")
    terminal.expect("version - ")
    terminal.type("exit\r")
    assert terminal.wait() == 0
    assert terminal.modes() == terminal.before


def test_hanging_up_ends_the_shell(host: Host) -> None:
    terminal = Terminal(host)
    terminal.prompt()
    os.close(terminal.slave)
    os.close(terminal._master)
    try:
        terminal.process.wait(20)
    except subprocess.TimeoutExpired:
        terminal.process.kill()
        raise
