# SPDX-License-Identifier: Apache-2.0
"""PID 1: its service table (a C test), and that it refuses to be anything but PID 1."""

from __future__ import annotations

import shutil
import subprocess
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


def test_not_as_pid_1_it_does_nothing(tmp_path: Path) -> None:
    program = tmp_path / "init"
    sources = [str(path) for path in sorted(ROOM.glob("*.c"))]
    subprocess.run(["cc", *WARNINGS, "-Os", "-o", program, *sources], check=True)
    done = subprocess.run([program], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "only the kernel starts this program" in done.stderr
