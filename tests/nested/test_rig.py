# SPDX-License-Identifier: Apache-2.0
"""The plainest guest, and that this room's tools notice failures."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path

import pytest

from tests.e2e.bounds import TimedOut
from tests.e2e.serial_line import SerialLine
from tests.nested.nest import Nest, QmpFailed


def test_a_machine_that_hangs_up_is_not_waited_for() -> None:
    with tempfile.TemporaryDirectory(prefix="hg-") as name, socket.socket(socket.AF_UNIX) as server:
        path = Path(name) / "line"
        server.bind(str(path))
        server.listen()
        line = SerialLine(path, path.with_suffix(".log"))
        machine, _ = server.accept()
        machine.sendall(b"the last word")
        machine.close()
        assert line.expect("last", 60)
        with pytest.raises(TimedOut, match="before QEMU hung up"):
            line.expect("one more", 3600)
        line.close()


def test_a_guest_runs_its_script_and_powers_off(nest: Nest) -> None:
    text = nest.guest("nproc; uname -r").console()
    assert "\n1\n" in text or text.startswith("1\n")
    assert "hypergen-guest" in text


def test_a_script_that_fails_is_noticed(nest: Nest) -> None:
    with pytest.raises(AssertionError, match="script failed"):
        nest.guest("exit 3")


def test_a_bad_option_is_refused(nest: Nest) -> None:
    done = nest.vmm("--kernel", "/nest/vmlinux", "--cpus", "none")
    assert done.status == 2
    assert "--cpus none" in done.output


def test_qmp_of_a_running_guest(nest: Nest) -> None:
    vm = nest.guest("echo here; sleep 1000", wait=False)
    vm.expect("here")
    assert vm.qmp("query-status")["running"] is True
    with pytest.raises(QmpFailed, match="not been found"):
        vm.qmp("no-such-command")
    vm.qmp("quit")
    assert vm.ended()["reason"] == "quit"
