# SPDX-License-Identifier: Apache-2.0
"""Unikernels and isles: recognised, run like programs, made into VMs; the VMM is a fake."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import signal
import struct
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypershell import isles, kernels
from hypershell.errors import UsageError

from .conftest import Host, scale
from .terminal import Terminal, close_all

NOTE = tuple[bytes, int, bytes]
TAG_HERMIT = (b"GNU", 1, struct.pack("<4I", 6, 0, 11, 0))
TAG_LINUX = (b"GNU", 1, struct.pack("<4I", 0, 3, 2, 0))
ENTRY = (b"HERMIT", 0x5A00, b"\4")
INTERFACE = (b"UHYVEIF", 0x5B00, struct.pack(">I", 2))
PVH = (b"Xen", 18, struct.pack("<I", 0x100000))
MULTIBOOT = struct.pack("<3I", 0x1BADB002, 0, -0x1BADB002 & 0xFFFFFFFF)


def elf(*notes: NOTE, abi: int = 0, kind: int = 2, machine: int = 62, rest: bytes = b"") -> bytes:
    """An ELF file with one note segment."""
    data = b"".join(
        struct.pack("<III", len(name) + 1, len(text), number)
        + (name + b"\0").ljust(-(-(len(name) + 1) // 4) * 4, b"\0")
        + text.ljust(-(-len(text) // 4) * 4, b"\0")
        for name, number, text in notes
    )
    head = b"\x7fELF\x02\x01\x01" + bytes([abi]) + bytes(8)
    head += struct.pack("<HHIQQQIHHHHHH", kind, machine, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 4, 4, 120, 0, 0, len(data), len(data), 4)
    return head + segment + data + rest


def archive(name: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo(name))
    return gzip.compress(buffer.getvalue(), mtime=0)


HELLO = elf(TAG_HERMIT, ENTRY, abi=255, kind=3)


KERNELS = [
    (HELLO, "hermit", "0.11.0, interface 1"),
    (elf(ENTRY, TAG_HERMIT, INTERFACE), "hermit", "0.11.0, interface 2"),
    (elf(ENTRY), "hermit", "before 0.10, interface 1"),
    (elf(ENTRY, TAG_HERMIT, machine=183), "hermit", "0.11.0, interface 1, for aarch64"),
    (elf(abi=255), "hermitcore", ""),
    (elf(TAG_LINUX, abi=255), "program", "for Linux"),
    (elf(machine=243), "unknown", "for riscv64"),
    (elf(PVH), "pvh", ""),
    (elf(PVH, rest=b"Linux version 6.12.1 (x)"), "vmlinux", "6.12.1"),
    (elf(rest=bytes(-len(elf()) % 4) + MULTIBOOT), "multiboot", ""),
    (bytes(16) + MULTIBOOT, "multiboot", ""),
    (bytes(17) + MULTIBOOT, "unknown", ""),
    (bytes(9000) + MULTIBOOT, "unknown", ""),
    (archive("hermit.toml"), "archive", ""),
    (archive("other"), "unknown", ""),
    (b"\x1f\x8b" + bytes(100), "unknown", ""),
    (gzip.compress(bytes(1 << 24), mtime=0), "unknown", ""),
    (b"", "empty", ""),
]


@pytest.mark.parametrize(
    ("data", "kind", "version"), KERNELS, ids=[f"{n}-{k[1]}" for n, k in enumerate(KERNELS)]
)
def test_kernels_are_recognised(tmp_path: Path, data: bytes, kind: str, version: str) -> None:
    path = tmp_path / "kernel"
    path.write_bytes(data)
    assert kernels.identify(str(path)) == (kind, version)


def test_hostile_files_are_no_failure(tmp_path: Path) -> None:
    """Flipped bytes and cut-off files: some kind is said, and soon."""
    path = tmp_path / "kernel"
    chance = random.Random(1)
    for whole in (HELLO, elf(PVH, TAG_LINUX, rest=MULTIBOOT), archive("hermit.toml")):
        for _ in range(300):
            cut = chance.randrange(len(whole)) if chance.random() < 0.3 else len(whole)
            data = bytearray(whole[:cut])
            for _ in range(chance.randrange(8) if data else 0):
                data[chance.randrange(len(data))] = chance.choice((0, 0x7F, 0xFF, 1))
            path.write_bytes(data)
            kind, version = kernels.identify(str(path))
            assert kind and len(version) < 80


def add(host: Host, name: str, data: bytes) -> Path:
    path = host.kernels / name
    path.write_bytes(data)
    return path


def argv(host: Host, number: int) -> list[str]:
    words = json.loads((host.run_dir / "vm" / str(number) / "argv").read_text())
    assert isinstance(words, list)
    return words


def test_a_unikernel_needs_no_image(host: Host) -> None:
    path = add(host, "hello", HELLO)
    (kind,) = [k for k in host.json("kernel_list") if k["name"] == "hello"]
    assert (kind["kind"], kind["version"]) == ("hermit", "0.11.0, interface 1")
    host.ok("vm_create hello --args 'one \"two three\"' --memory 64M")
    words = argv(host, 1)
    assert words[-3:] == [str(path), "one", "two three"]
    assert not {"--kernel", "--cmdline", "--disk", "--net"} & set(words)
    (record,) = host.json("vm_list")
    assert (record["image"], record["arguments"]) == (None, ["one", "two three"])
    assert host.ok("vm_list").splitlines()[1].split()[3:5] == ["hello", "-"]
    assert "has no disk: leave the image out" in host.fails("vm_create hello debian", 2)
    assert "takes no arguments; --cmdline" in host.fails("vm_create vmlinux debian --args x", 2)
    assert "no closing quotation" in host.fails('vm_create hello --args "\'"', 2)


def test_other_kernels_may_have_a_disk(host: Host) -> None:
    add(host, "mb", bytes(16) + MULTIBOOT)
    host.ok("vm_create mb")
    assert "--disk" not in argv(host, 1)
    host.ok("vm_create mb debian")
    assert "--disk" in argv(host, 2)
    add(host, "ls", elf(TAG_LINUX))
    assert "is a program for Linux, no kernel" in host.fails("vm_create ls", 2)


def test_run_is_like_a_program(host: Host) -> None:
    path = add(host, "hello", HELLO)
    for file in ("hello", path):
        done = subprocess.run(
            [*host.argv, "-c", f"run --cpus 2 --memory 64M {file} -c --help"],
            env=host.env | {"FAKE_EXIT": "42"},
            input="typed\n",
            capture_output=True,
            text=True,
            timeout=60 * scale(),
            check=False,
        )
        assert done.stdout == "arguments: -c --help 2 64M\ntyped\n"
        assert (done.returncode, done.stderr) == (42, "")
    assert "is no unikernel; vm_create is for those" in host.fails("run vmlinux", 2)
    assert "No such file" in host.fails("run ./nothing", 2)
    assert "unknown kernel 'nothing'" in host.fails("run nothing", 2)
    assert "--cpus 65" in host.fails("run --cpus 65 hello", 2)
    assert host.ok("run --help").startswith("run - ")


def test_an_isle_is_a_vm_on_cpus_of_its_own(host: Host) -> None:
    path = add(host, "hello", HELLO)
    assert "There are no isles" in host.ok("isle_list")
    said = host.ok("isle_create hello one --cpus 2-3 --memory 64M -- --two")
    assert said == "isle 0 (vm1) runs on CPUs 2,3 at 192.168.28.2; vm_console 1 attaches to it\n"
    words = argv(host, 1)
    at = words.index("--isle")
    assert words[at : at + 4] == ["--isle", "0", "--cpu-affinity", "2,3"]
    assert words[words.index("--cpus") + 1] == "2"
    assert words[-3:] == [str(path), "one", "--two"]
    line = "isle_create vmlinux --image debian --cpus 5 --isle 9 --net none -q --memory 64M"
    assert host.ok(line) == "9\n"
    words = argv(host, 2)
    assert words[words.index("--isle") + 1] == "9,net=off"
    assert "ip=" not in words[words.index("--cmdline") + 1]
    first, second = host.json("isle_list")
    assert (first["isle"], first["cpus"], first["path"]) == (0, "2,3", str(path))
    assert (first["vm"], first["state"]) == ({"id": 1, "name": "vm1"}, "running")
    assert first["log"] == f"{host.run_dir}/vm/1/console.log"
    assert second["isle"] == 9
    assert host.ok("isle_list -q") == "0\n9\n"
    assert host.ok("isle_destroy 0 4") == (
        "isle 0 destroyed; CPUs 2,3 are the host's again\nisle 4 is not there\n"
    )
    assert [vm["id"] for vm in host.json("vm_list")] == [2]
    assert host.ok("isle_destroy all").startswith("isle 9 destroyed")
    assert host.ok("isle_destroy all") == "There are no isles.\n"


def test_a_linux_isle_is_told_its_address(host: Host) -> None:
    host.ok("isle_create vmlinux --image debian --cpus 1 --isle 3 --cmdline foo")
    words = argv(host, 1)
    line = words[words.index("--cmdline") + 1].split()
    assert line[0] == "ip=192.168.28.5::192.168.28.1:255.255.255.0::eth0:off"
    assert line[-1] == "foo"


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("isle_create hello", "--cpus is missing"),
        ("isle_create hello --cpus a", "type the isle's CPUs"),
        ("isle_create hello --cpus 2,2", "type each CPU once"),
        ("isle_create hello --cpus 3-2", "type the isle's CPUs"),
        ("isle_create hello --cpus 1 --isle 252", "a number from 0 to 251"),
        ("isle_create hello --cpus 1 --net br0", "type isles or none"),
        ("isle_create hello --cpus 1 --image debian", "leave the image out"),
        ("isle_create hello --cpus 1 --isle 0", "isle 0 is there already: "),
        ("isle_create vmlinux x --image debian --cpus 1", "takes no arguments"),
        ("isle_destroy x", "isle 'x': type a number"),
    ],
)
def test_what_cannot_be_an_isle(host: Host, line: str, part: str) -> None:
    add(host, "hello", HELLO)
    host.ok("isle_create hello --cpus 1")
    assert part in host.fails(line, 2)
    assert host.ok("isle_list -q") == "0\n"


def test_a_killed_isle_is_taken_back(host: Host) -> None:
    add(host, "hello", HELLO)
    host.ok("isle_create hello --cpus 1")
    os.kill(host.vmm_pid(1), signal.SIGKILL)
    assert host.ok("isle_list -q") == ""
    assert not (host.run_dir / "isle" / "0").exists()
    assert host.states() == {1: "crashed"}
    host.ok("isle_create hello --cpus 1 --isle 0")


def test_an_isle_ends_with_its_guest(host: Host) -> None:
    add(host, "hello", HELLO)
    host.ok("isle_create hello --cpus 1")
    host.ok("vm_destroy 1")
    assert host.ok("isle_list --json") == "[]\n"


def test_lists_of_cpus() -> None:
    assert isles.parse_cpus("2-3,6") == [2, 3, 6]
    for text in ("", "1,", "-1", "1-", "x", "1-2-3", "99999"):
        with pytest.raises(UsageError):
            isles.parse_cpus(text)


def test_run_at_the_prompt(host: Host) -> None:
    """The terminal is the unikernel's until it ends; then it is the prompt's again."""
    add(host, "hello", HELLO)
    terminal = Terminal(host)
    try:
        terminal.prompt()
        terminal.type("run hello one\r")
        terminal.expect("arguments: one")
        terminal.type("typed\r")
        terminal.type("\x04")
        terminal.expect("exit status 7")
        terminal.prompt()
        terminal.type("run hello two\r")
        terminal.expect("arguments: two")
        terminal.type("\x03")
        terminal.expect("exit status 130")
        terminal.prompt()
        terminal.type("isle_list -q\r")
        terminal.prompt()
    finally:
        close_all([terminal])
