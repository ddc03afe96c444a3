# SPDX-License-Identifier: Apache-2.0
"""PID 1: its service table (a C test), and that it refuses to be anything but PID 1."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOM = Path(__file__).resolve().parents[2] / "initramfs"
WARNINGS = ["-std=gnu11", "-Wall", "-Wextra", "-Werror"]

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


def test_service_table(tmp_path: Path) -> None:
    program = tmp_path / "table"
    source = Path(__file__).with_name("init_table.c")
    flags = [*WARNINGS, "-g", "-fsanitize=address,undefined"]
    subprocess.run(["cc", *flags, "-o", program, source], check=True)
    done = subprocess.run([program], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_unikernels_are_handed_to_the_vmm() -> None:
    text = re.search(r'unikernels\[\] =\s+"(.*)";', (ROOM / "init.c").read_text())
    assert text is not None
    _, name, kind, offset, magic, mask, interpreter, flags = text[1].split(":")
    assert (name, kind, offset, mask, flags) == ("unikernel", "M", "", "", "")
    # C doubles each backslash; the kernel reads the escapes (string_unescape_inplace).
    said = re.fullmatch(r"(\\\\x[0-9a-f]{2}){8}", magic)
    assert said is not None
    assert bytes.fromhex(magic.replace("\\\\x", "")) == b"\x7fELF\x02\x01\x01\xff"
    manifest = tomllib.loads((ROOM / "manifest.toml").read_text())
    assert interpreter.removeprefix("/") in [one["to"] for one in manifest["built"]]


def test_not_as_pid_1_it_does_nothing(tmp_path: Path) -> None:
    program = tmp_path / "init"
    sources = [str(path) for path in sorted(ROOM.glob("*.c"))]
    subprocess.run(["cc", *WARNINGS, "-Os", "-o", program, *sources], check=True)
    done = subprocess.run([program], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "only the kernel starts this program" in done.stderr
