# SPDX-License-Identifier: Apache-2.0
"""The parts of the shell that need no terminal and no VMM."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
from hypershell import catalog, complete, create, files, host, start, table, units, vm
from hypershell.commands import COMMANDS, host_power, load
from hypershell.console import Keys
from hypershell.errors import ShellError, UsageError
from hypershell.spec import Context, help_text

from .conftest import Host

GPT_ROOT = bytes.fromhex("e3bc684fcde8b14d96e7fbcaf984b709")
GPT_LINUX = bytes.fromhex("af3dc60f838472478e793d69d8477de4")
GPT_ESP = bytes.fromhex("28732ac11ff8d211ba4b00a0c93ec93b")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512", 512 << 20),
        ("512M", 512 << 20),
        ("1g", 1 << 30),
        ("1.5GiB", 3 << 29),
        ("64KB", 65536),
    ],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert units.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "M", "-1", "1..5", "0x10", "12Q", "½", "1e9"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(UsageError):
        units.parse_size(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1 << 20, "1 MiB"), (3 << 29, "1.5 GiB"), (5 << 40, "5 TiB")],
)
def test_sizes_are_shown(size: int, text: str) -> None:
    assert units.human_size(size) == text


def test_times_are_shown() -> None:
    shown = [units.human_time(s) for s in (5, 187, 7500, 4 * 86400 + 3 * 3600)]
    assert shown == ["5s", "3m 07s", "2h 05m", "4d 03h"]


def test_names_cannot_steer_the_terminal() -> None:
    assert units.printable("a\x1b[2Jb\n") == "a?[2Jb?"


def test_console_log_loses_its_escapes() -> None:
    data = b"\x1b[31mred\x1b[0m \x1b]0;title\x07x\x1b(B\r\ny\x08z\xff"
    assert vm.plain(data) == "red x\nyz\N{REPLACEMENT CHARACTER}"


def test_console_keys() -> None:
    keys = Keys()
    assert b"".join(keys.feed(b) for b in b"a\x1b[A\x03\x1dd\x1d\x1d") == b"a\x1b[A\x03\x04\x1d"
    assert not keys.detached and not keys.help
    assert keys.feed(0x1D) == b"" == keys.feed(ord("?")) and keys.help
    assert keys.feed(0x04) == b"" and keys.detached


def mbr(*partitions: tuple[int, int]) -> bytes:
    data = bytearray(1 << 16)
    for i, (kind, sectors) in enumerate(partitions):
        data[0x1BE + 16 * i + 4] = kind
        struct.pack_into("<II", data, 0x1BE + 16 * i + 8, 2048, sectors)
    data[0x1FE:0x200] = b"\x55\xaa"
    return bytes(data)


def gpt(*partitions: tuple[bytes, int]) -> bytes:
    data = bytearray(mbr((0xEE, 100)))
    data[512:520] = b"EFI PART"
    struct.pack_into("<QII", data, 512 + 72, 2, 128, 128)
    for i, (kind, sectors) in enumerate(partitions):
        data[1024 + 128 * i : 1024 + 128 * i + 16] = kind
        struct.pack_into("<QQ", data, 1024 + 128 * i + 32, 2048, 2047 + sectors)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "kind", "root"),
    [
        (mbr((0x83, 100)), "mbr", "/dev/vda1"),
        (mbr((0x82, 900), (0x83, 100), (0x83, 500)), "mbr", "/dev/vda3"),
        (gpt((GPT_ESP, 999), (GPT_LINUX, 100)), "gpt", "/dev/vda2"),
        (gpt((GPT_LINUX, 999), (GPT_LINUX, 99), (GPT_ROOT, 5)), "gpt", "/dev/vda3"),
        (gpt(), "gpt", "/dev/vda1"),
        (b"XFSB" + bytes(4096), "xfs", "/dev/vda"),
        (bytes(4096), "raw", "/dev/vda"),
        (b"x", "raw", "/dev/vda"),
        (b"", "empty", "/dev/vda"),
    ],
)
def test_images_are_recognised(tmp_path: Path, data: bytes, kind: str, root: str) -> None:
    path = tmp_path / "image"
    path.write_bytes(data)
    assert files.image_kind(str(path)) == kind
    assert files.root_device(str(path)) == root


@pytest.mark.parametrize("size", [0, 1, 511, 513, 600, 1100])
def test_cut_off_files_are_no_failure(tmp_path: Path, size: int) -> None:
    path = tmp_path / "cut"
    for data in (gpt((GPT_ROOT, 5)), mbr((0x83, 5)), b"\x7fELF\x02" + bytes(2000)):
        path.write_bytes(data[:size])
        assert files.image_kind(str(path)) and files.root_device(str(path))
        assert files.kernel_kind(str(path))[0] in ("empty", "unknown")


def test_the_version_of_a_vmlinux_may_cross_a_block(tmp_path: Path) -> None:
    path = tmp_path / "vmlinux"
    head = bytearray(1 << 20)
    head[:5], head[18:20] = b"\x7fELF\x02", b"\x3e\x00"
    text = b"Linux version 6.12.117 (gcc)"
    path.write_bytes(bytes(head[:-9]) + text + bytes(100))
    assert files.kernel_kind(str(path)) == ("vmlinux", "6.12.117")


def test_macs_differ_and_are_local() -> None:
    macs = {start.net_argument(i).rsplit("mac=", 1)[1] for i in range(1, 200)}
    assert len(macs) == 199 and all(mac.startswith("02:68:") for mac in macs)


def test_user_cmdline_comes_last(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(b"x" * 4096)
    line = create.compose_cmdline(str(path), True, " root=/dev/vdb  debug ")
    assert line == "console=hvc0 root=/dev/vda ro quiet root=/dev/vdb  debug"


def test_a_missing_kvm_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "kvm_advice", lambda: "enable SVM")
    failure = create.failure(1, "cannot open /dev/kvm")
    assert str(failure) == "cannot open /dev/kvm; enable SVM" and failure.code == 1
    assert "status 9 without a word" in str(create.failure(9, ""))


@pytest.mark.parametrize(
    ("command", "number"), [("host_reboot", signal.SIGTERM), ("host_shutdown", signal.SIGUSR2)]
)
def test_power_signals_pid_1(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    host: Host,
    command: str,
    number: int,
) -> None:
    def asked(yes: bool, now: bool = False) -> Namespace:
        return Namespace(yes=yes, force=False, now=now, timeout="30")

    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(host_power, "MARK", str(tmp_path))
    monkeypatch.setattr(os, "kill", lambda pid, signal_: sent.append((pid, signal_)))
    monkeypatch.setenv("HYPERGEN_RUN", str(host.run_dir))
    run = load(command).run
    assert run(asked(yes=False), Context(False)) == 0
    assert sent == [(1, number)]
    host.ok("vm_create 1 1 --name web")
    with pytest.raises(UsageError, match=r"nothing done; 1 VM runs: 1 \(web\); add --yes"):
        run(asked(yes=False), Context(False))
    monkeypatch.setattr(host_power, "_confirmed", lambda question: "1 VM runs" not in question)
    with pytest.raises(UsageError):
        run(asked(yes=False), Context(True))
    assert len(sent) == 1
    assert run(asked(yes=True, now=True), Context(False)) == 0
    assert len(sent) == 2 and host.states() == {1: "running"}
    # Without --now the guests get their time, and are off before PID 1 hears of it.
    assert run(asked(yes=True), Context(False)) == 0
    assert len(sent) == 3 and host.states() == {1: "stopped"}
    monkeypatch.undo()
    host.ok("vm_destroy all")


def test_completion(monkeypatch: pytest.MonkeyPatch, host: Host) -> None:
    for name in ("RUN", "KERNELS", "IMAGES"):
        monkeypatch.setenv(f"HYPERGEN_{name}", host.env[f"HYPERGEN_{name}"])
    host.ok("vm_create 1 1 --name web")

    def words(text: str) -> list[str]:
        return [word for word, _ in complete.candidates(text)]

    assert words("") == list(COMMANDS)
    assert words("host_") == [name for name in COMMANDS if name.startswith("host_")]
    assert words("help vm_c") == ["vm_create", "vm_console", "vm_clone"]
    assert words("vm_create ") == ["1", "2"]
    assert words("vm_create vm") == ["vmlinux-6.12"]
    assert words("vm_create --cpus 2 1 d") == ["debian.img"]
    assert words("vm_create 1 1 --net ") == ["bridge", "passt", "none"]
    assert words("vm_create 1 1 --cp") == ["--cpus"]
    assert "--cpus" not in words("vm_create 1 1 --cpus 2 -")
    assert words("vm_destroy ") == ["1"] and words("vm_destroy w") == ["web"]
    assert words("vm_destroy 1 ") == [] and words("vm_console web w") == []
    assert words("nope ") == [] and words("vm_list x y z ") == [
        *("--json", "--format", "--quiet", "--help")
    ]
    assert ("1", "web, running") in complete.candidates("vm_console ")
    host.ok("vm_destroy all")


def test_a_command_explains_every_argument() -> None:
    for name, (_, summary) in COMMANDS.items():
        spec = load(name)
        page = " ".join(help_text(name, summary, spec).split())
        assert all(arg.text and arg.text in page for arg in spec.args)


def test_numbers_survive_a_read_only_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HYPERGEN_RUN", str(tmp_path / "file/run"))
    (tmp_path / "file").write_text("no folder")
    assert catalog.numbers("image", ["/b", "/a"]) == {"/a": 1, "/b": 2}
    with pytest.raises(OSError), catalog.Lock():
        pass


def test_words_never_mean_part_of_an_id(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HYPERGEN_RUN", str(tmp_path))
    (tmp_path / "vm/12").mkdir(parents=True)
    with pytest.raises(UsageError, match="unknown VM '1'"):
        vm.pick("1")
    assert vm.pick("12").id == 12


def test_history_is_bounded_and_shared(tmp_path: Path) -> None:
    from hypershell.editor import _HISTORY_BYTES, HISTORY_LINES, LineHistory

    path = tmp_path / "history"
    assert list(LineHistory(str(path)).load_history_strings()) == []
    one, two = LineHistory(str(path)), LineHistory(str(path))
    one.store_string("vm_list")
    two.store_string("two\nlines")
    assert list(one.load_history_strings()) == ["two lines", "vm_list"]
    path.write_bytes(b"\xff" + b"x" * 99 + b"\n" + b"help vm_create\n" * (_HISTORY_BYTES // 14))
    assert len(list(one.load_history_strings())) == HISTORY_LINES
    assert path.stat().st_size == HISTORY_LINES * 15
    LineHistory(str(tmp_path / "no/such/folder")).store_string("lost, and no failure")


def test_errors_have_exit_codes() -> None:
    assert (ShellError.code, UsageError.code) == (1, 2)


def test_nothing_heavy_is_loaded_before_the_first_key() -> None:
    """The prompt's own imports; what each costs is in docs/shell.md."""
    code = "import sys, hypershell.prompt, hypershell.status as s; s.text(); print(*sys.modules)"
    argv = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.append({SHELL!r}); {code}"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "hypershell.terminal" in loaded
    heavy = {"asyncio", "prompt_toolkit", "json", "re", "enum", "argparse", "typing", "socket"}
    assert not loaded & (heavy | {"subprocess", "contextlib", "signal", "shlex", "inspect"})


SHELL = str(Path(__file__).resolve().parents[2] / "shell")


def test_a_table_fits_the_terminal_by_cutting_its_longest_texts() -> None:
    rows = [["1", "vmlinux-6.12.117-hypergen-guest", "6.12.117-hypergen-guest", "16.0 MiB"]]
    text = table.render(["ID", "NAME", "VERSION", "SIZE"], rows, frozenset({0, 3}), limit=50)
    assert all(len(line) <= 50 for line in text.splitlines())
    assert "16.0 MiB" in text
    assert "vmlinux-6.12" in text
    assert "~" in text
    assert rows[0][1] in table.render(["", "", "", ""], rows, frozenset(), limit=0)
