# SPDX-License-Identifier: Apache-2.0
"""Bars of what takes long: on a terminal they move and go away, elsewhere there is nothing."""

from __future__ import annotations

import gzip
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypershell import app, progress
from hypershell.progress import Line

from tests.shell.conftest import Host
from tests.shell.test_storage import CLUSTER, make_qcow2

BAR = re.compile(r"\r\x1b\[K([^\r\x1b]+?)  \[([#.]{24})\] +(\d+) %")

Run = Callable[[str], tuple[str, list[tuple[str, int]]]]


@pytest.fixture
def run(host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a line as if stderr were a terminal: what is on it, and each bar's title and percent."""
    for name, value in host.env.items():
        if name not in ("PATH", "PYTHONPATH"):
            monkeypatch.setenv(name, value)
    monkeypatch.setattr(Line, "__init__", _shown)
    monkeypatch.setattr(progress, "_EVERY", 0.0)

    def call(line: str) -> tuple[str, list[tuple[str, int]]]:
        capsys.readouterr()
        assert app.run_line(line, False) == 0, capsys.readouterr().err
        said = capsys.readouterr().err
        bars = [(match[1], int(match[3])) for match in BAR.finditer(said)]
        assert all(len(text) < 80 for text in re.split("\r\x1b\\[K", said))
        return said, bars

    return call


def _shown(line: Line) -> None:
    line._on, line._drawn, line._shown = True, -1.0, False


def _moves(said: str, bars: list[tuple[str, int]], title: str) -> None:
    own = [percent for name, percent in bars if name == title]
    assert len(own) > 2 and own == sorted(own) and own[-1] == 100, (title, bars)
    assert said.endswith("\r\x1b[K")


def test_imports(host: Host, run: Run) -> None:
    data = random.Random(1).randbytes(5 << 20)
    plain, packed = host.base / "plain.img", host.base / "packed.img.gz"
    plain.write_bytes(data)
    packed.write_bytes(gzip.compress(data, 1))
    _moves(*run(f"image_import {plain}"), "importing plain.img")
    said, bars = run(f"image_import {packed}")
    _moves(said, bars, "importing packed.img")
    assert (host.images / "packed.img").read_bytes() == data
    make_qcow2(host.base / "q.qcow2", 64 * CLUSTER, dict.fromkeys(range(64), b"x"))
    said, bars = run(f"image_import {host.base}/q.qcow2")
    assert {title for title, _ in bars} == {"importing q.img", "converting q.img"}
    _moves(said, [bar for bar in bars if bar[0].startswith("conv")], "converting q.img")
    (host.base / "kernel").write_bytes(host.kernels.joinpath("vmlinux-6.12").read_bytes() + data)
    _moves(*run(f"kernel_import {host.base}/kernel"), "importing kernel")


def test_copies_and_checks(host: Host, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    (host.images / "full.img").write_bytes(random.Random(2).randbytes(5 << 20))
    monkeypatch.setattr("hypershell.storage._FICLONE", 0)  # blocks are not shared here
    _moves(*run("image_clone full.img copy.img"), "cloning full.img")
    said, bars = run("image_verify copy.img")
    assert bars and bars[-1][1] == 100 and said.endswith("\r\x1b[K")


def test_a_snapshot(host: Host, run: Run) -> None:
    run("vm_create 1 1 --memory 64M --name web")
    vmm = Path(host.env["HYPERGEN_VMM"])
    slow = (  # grows as the VM's memory file does
        '#!/bin/sh\nfor word; do [ "$last" = --save ] && dir=$word; last=$word; done\n'
        'if [ "$dir" ]; then mkdir -p $dir.part; for n in 16 32 48 64; do '
        "truncate -s ${n}M $dir.part/ram; sleep 0.3; done; rm -r $dir.part; fi\n"
        f'exec {vmm}.real "$@"\n'
    )
    vmm.rename(f"{vmm}.real")
    vmm.write_text(slow)
    vmm.chmod(0o755)
    said, bars = run("vm_snapshot web first")
    own = [percent for title, percent in bars if title == "saving web"]
    assert set(own) >= {25, 50, 75} and own == sorted(own)
    assert "\r\x1b[K" in said
    vmm.write_text(slow.replace("0.3", "0.1"))
    said, bars = run("vm_clone web --name two")
    assert [title for title, _ in bars if title == "saving web"]


def test_shutdowns(host: Host, run: Run) -> None:
    run("vm_create 1 1 --name web")
    said, _ = run("vm_stop web --timeout 1 --force")
    assert "of 1 VMs have shut down" in said and said.endswith("\r\x1b[K")


def test_nothing_without_a_terminal(host: Host) -> None:
    (host.base / "plain.img").write_bytes(bytes(3 << 20))
    assert host.run(f"image_import {host.base}/plain.img").stderr == ""
