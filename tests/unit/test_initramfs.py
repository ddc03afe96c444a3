# SPDX-License-Identifier: Apache-2.0
"""The composed initramfs: always the same, complete, and its shell runs on what is in it.

These build the real thing from Debian's packages, which takes seconds; without apt and without a
cache there is nothing to build from, and they are skipped.
"""

from __future__ import annotations

import ast
import json
import os
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pexpect
import pyte
import pytest

from hypergen import config
from hypergen.config import BuildConfig
from hypergen.errors import BuildError, UserError
from hypergen.image import cpio, debs, elf, initramfs, manifest
from hypergen.image.cpio import Entry
from hypergen.stage import file_digest

SCALE = float(os.environ.get("HYPERGEN_TIMEOUT_SCALE", "1"))
ROOM = config.TOP / "initramfs"
VMM = Path("/bin/true")
"""Stands in for hg-vmm: any dynamically linked program."""


def _config(folder: Path) -> BuildConfig:
    cfg = config.load({"cache": str(folder / "cache"), "out": str(folder / "out")}, {})
    cfg.cache.mkdir(parents=True)
    # Share the downloads: they are verified on every use.
    shared = config.load({}).downloads
    shared.mkdir(parents=True, exist_ok=True)
    cfg.downloads.symlink_to(shared)
    return cfg


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[BuildConfig, Path]:
    cfg = _config(tmp_path_factory.mktemp("one"))
    names = [package.name for package in manifest.load(ROOM / "manifest.toml").packages]
    try:
        debs.fetch(cfg, names)
    except (UserError, BuildError) as error:
        pytest.skip(f"Debian's packages cannot be had: {error}")
    return cfg, initramfs.build(cfg, vmm=VMM)


@pytest.fixture(scope="module")
def tree(built: tuple[BuildConfig, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive unpacked, without its device nodes."""
    top = tmp_path_factory.mktemp("tree")
    for entry in cpio.read(built[1]):
        path = top / entry.path
        if stat.S_ISDIR(entry.mode):
            path.mkdir()
        elif stat.S_ISLNK(entry.mode):
            path.symlink_to(entry.data.decode())
        elif stat.S_ISREG(entry.mode):
            path.write_bytes(entry.data)
            path.chmod(entry.mode & 0o777)
    return top


def _python(tree: Path) -> list[str]:
    library = tree / "usr/lib/x86_64-linux-gnu"
    loader = tree / "usr/lib64/ld-linux-x86-64.so.2"
    return [str(loader), "--library-path", str(library), str(tree / "usr/bin/python3.11")]


@pytest.mark.slow
def test_two_builds_in_different_places_are_equal(
    built: tuple[BuildConfig, Path], tmp_path: Path
) -> None:
    again = initramfs.build(_config(tmp_path / "a longer place"), vmm=VMM)
    assert file_digest(again) == file_digest(built[1])


def test_second_build_does_nothing(built: tuple[BuildConfig, Path]) -> None:
    before = built[1].stat().st_mtime_ns
    assert initramfs.build(built[0], vmm=VMM) == built[1]
    assert built[1].stat().st_mtime_ns == before


def test_facts_are_recorded(built: tuple[BuildConfig, Path]) -> None:
    facts = initramfs.describe(built[0])
    assert facts["packages"]["libc6"]["version"]
    assert len(facts["packages"]["libc6"]["sha256"]) == 64
    assert facts["bytes"]["hypershell"] > 0


def _resolved(entries: dict[str, Entry], path: str) -> str:
    """`path` with the symbolic links of the archive followed."""
    done: list[str] = []
    todo = path.strip("/").split("/")
    while todo:
        part = todo.pop(0)
        if part == "..":
            done.pop()
            continue
        done.append(part)
        entry = entries.get("/".join(done))
        if entry is not None and stat.S_ISLNK(entry.mode):
            target = entry.data.decode()
            done = [] if target.startswith("/") else done[:-1]
            todo = [word for word in target.split("/") if word] + todo
    return "/".join(done)


def test_every_program_finds_its_loader_and_libraries(built: tuple[BuildConfig, Path]) -> None:
    entries = {entry.path: entry for entry in cpio.read(built[1])}
    programs = 0
    for entry in entries.values():
        if not elf.is_elf(entry.data):
            continue
        dynamic = elf.dynamic(entry.data, entry.path)
        for soname in dynamic.needed:
            name = f"usr/lib/x86_64-linux-gnu/{soname}"
            if soname.startswith("ld-linux"):
                name = f"usr/lib64/{soname}"
            assert name in entries, f"{entry.path} needs {soname}"
        if dynamic.interpreter:
            programs += 1
            assert _resolved(entries, dynamic.interpreter) in entries
    assert programs >= 5  # init, busybox, python, lvm, the VMM


def test_what_the_scripts_and_pid_1_run_is_there(built: tuple[BuildConfig, Path]) -> None:
    entries = {entry.path: entry for entry in cpio.read(built[1])}
    for path in ("/init", "/bin/sh", "/bin/hypershell", "/bin/lvm", "/bin/udhcpc", "/bin/hg-vmm"):
        entry = entries.get(_resolved(entries, path))
        assert entry is not None and entry.mode & 0o111, path
    assert not [path for path in entries if path.endswith(".py")]


def test_no_path_of_the_build_machine_is_inside(built: tuple[BuildConfig, Path]) -> None:
    cfg, path = built
    data = path.read_bytes()
    assert str(cfg.cache).encode() not in data
    assert str(cfg.top).encode() not in data


TRACE = """
import atexit, json, os, sys
def report():
    rows = {n: getattr(m, "__file__", None) for n, m in list(sys.modules.items())}
    with open(os.environ["TRACE"], "w") as stream:
        json.dump(rows, stream)
atexit.register(report)
sys.argv = ["hypershell"]
from hypershell.app import main
sys.exit(main([]))
"""


class Terminal:
    """The shell of the tree in a terminal of 80x25, and what its screen shows."""

    def __init__(self, tree: Path, environment: dict[str, str]) -> None:
        words = [*_python(tree), "-I", "-S", "-c", TRACE]
        self.screen = pyte.Screen(80, 25)
        self.stream = pyte.Stream(self.screen)
        self.all = ""
        self.child = pexpect.spawn(
            words[0], words[1:], env=environment, encoding="utf-8", dimensions=(25, 80)
        )

    def wait(self, condition: Callable[[str], bool], what: str) -> None:
        """Read until the line that the cursor is on fulfils the condition."""
        end = time.monotonic() + 60 * SCALE
        while not condition(self.screen.display[self.screen.cursor.y].rstrip()):
            assert time.monotonic() < end, f"no {what} in:\n" + "\n".join(self.screen.display)
            try:
                text = self.child.read_nonblocking(65536, timeout=1)
            except pexpect.TIMEOUT:
                continue
            except pexpect.EOF:
                raise AssertionError(f"the shell ended before {what}:\n{self.all}") from None
            self.all += text
            self.stream.feed(text)

    def prompt(self) -> None:
        self.wait(lambda line: line == "hyper-gen:#", "prompt")

    def command(self, line: str) -> None:
        """Type a line, see it echoed, run it, see the next prompt."""
        self.child.send(line)
        self.wait(lambda shown: shown.endswith(line), line)
        self.child.send("\r")
        self.wait(lambda shown: not shown.endswith(line), f"end of {line}")
        self.prompt()

    def end(self) -> None:
        self.child.send("\x04")
        self.child.expect(pexpect.EOF, timeout=60 * SCALE)
        self.all += self.child.before or ""


def test_a_session_of_the_shell_runs_on_these_modules(tree: Path, tmp_path: Path) -> None:
    """A module that the shell imports anew and the manifest lacks shows up as a traceback here."""
    environment = {
        "TERM": "linux",
        "PATH": "/nonexistent",
        "HOME": str(tmp_path),
        "HYPERGEN_RUN": str(tmp_path),
        "PROMPT_TOOLKIT_NO_CPR": "1",
        "TRACE": str(tmp_path / "modules.json"),
    }
    shell = Terminal(tree, environment)
    shell.prompt()
    for line in ("help", "help vm_create", "host_info", "vm_list --json", "image_list", "bad 'x"):
        shell.command(line)
    shell.child.send("vm_cr\t")  # completion
    shell.wait(lambda line: "vm_create" in line, "completion")
    shell.child.send("\x15")
    shell.prompt()
    shell.child.send("\x12hel")  # search in the history
    shell.wait(lambda line: "hel" in line, "search")
    shell.child.send("\x07")
    shell.prompt()
    shell.end()
    assert "Traceback" not in shell.all, shell.all
    assert "ModuleNotFoundError" not in shell.all and "ImportError" not in shell.all, shell.all
    modules = json.loads((tmp_path / "modules.json").read_text())
    assert "prompt_toolkit.application.application" in modules
    for name, file in modules.items():  # nothing of the build machine's own Python
        assert file is None or str(file).startswith(str(tree)), f"{name}: {file}"


def _imports(file: Path) -> set[str]:
    """Modules that a source file imports, wherever the statement stands."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return found


def test_every_import_of_the_shell_can_be_done(tree: Path) -> None:
    """Also those inside functions, which a session may not come to."""
    sources = sorted((config.TOP / "shell/hypershell").rglob("*.py"))
    names = sorted(set().union(*map(_imports, sources)) - {"hypershell.__main__"})
    assert "prompt_toolkit.completion" in names
    done = subprocess.run(
        [
            *_python(tree),
            "-I",
            "-S",
            "-c",
            "import sys\nfor n in sys.argv[1:]: __import__(n)",
            *names,
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60 * SCALE,
    )
    assert done.returncode == 0, done.stderr


def test_one_shot_commands_run_on_these_modules(tree: Path, tmp_path: Path) -> None:
    main = tree / "usr/lib/python3.11/hypershell/__main__.pyc"
    for line in ("vm_list --json", "image_list --json", "kernel_list --json", "vm_create 1 1"):
        done = subprocess.run(
            [*_python(tree), "-I", "-S", str(main), "-c", line],
            env={"HYPERGEN_RUN": str(tmp_path), "PATH": "/nonexistent"},
            capture_output=True,
            text=True,
            check=False,
            timeout=30 * SCALE,
        )
        assert "Traceback" not in done.stderr, done.stderr
