# SPDX-License-Identifier: Apache-2.0
"""Ending a VM's process: asked by QMP, then by SIGKILL to the process that surely is the VM's."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from itertools import pairwise

from hypershell import paths, qmp, status

QUIT_TIMEOUT = 5.0  # seconds between a quit and SIGKILL
_KILL_TIMEOUT = 5.0  # seconds in which the kernel must have ended a killed process


class Ending:
    """One VM on its way out. ``begin`` returns at once, so that several VMs can end together."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._connection: qmp.Connection | None = None
        self._pidfd = -1

    def begin(self) -> None:
        """Connect and find the process; the quit is sent as soon as the greeting comes."""
        try:
            self._connection = qmp.Connection(self.folder)
            pid = self._connection.pid
        except OSError:
            pid = 0
        self._pidfd = find_process(self.folder, pid)
        if self._connection is not None:
            self._connection.send("qmp_capabilities")
            self._connection.send("quit")

    def finish(self) -> bool:
        """Wait for the end, with force where needed; False when the process lives on."""
        try:
            scale = paths.timeout_scale()
            if self._gone(QUIT_TIMEOUT * scale if self._connection is not None else 0.0):
                return True
            if self._pidfd < 0:
                self._pidfd = find_process(self.folder, 0)
            if self._pidfd < 0:
                return not status.listening(self.folder)
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            return self._gone(_KILL_TIMEOUT * scale)
        finally:
            if self._connection is not None:
                self._connection.close()
            if self._pidfd >= 0:
                os.close(self._pidfd)

    def _gone(self, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while True:
            left = max(deadline - time.monotonic(), 0)
            if self._pidfd >= 0:
                poll = select.poll()
                poll.register(self._pidfd, select.POLLIN)
                return bool(poll.poll(left * 1000))
            if not status.listening(self.folder):
                return find_process_id(self.folder) == 0
            if left == 0:
                return False
            time.sleep(min(left, 0.05))


def find_process(folder: str, hint: int) -> int:
    """A pidfd of the VMM that runs in ``folder``, or -1; ``hint`` is the PID to look at first.

    SO_PEERCRED names who called listen(), which may be a parent long gone and its number reused:
    only a process whose command line names the folder is taken, checked after its pidfd is open.
    """
    for pid in (hint, find_process_id(folder)):
        if pid <= 1:
            continue
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            continue
        if _runs_in(pid, folder):
            return pidfd
        os.close(pidfd)
    return -1


def find_process_id(folder: str) -> int:
    """PID of the living process whose --run-dir is ``folder``; 0 when there is none."""
    for name in os.listdir("/proc"):
        if name.isdigit() and _runs_in(int(name), folder):
            return int(name)
    return 0


def _runs_in(pid: int, folder: str) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read(65536).split(b"\0")
    except OSError:
        return False
    wanted = os.fsencode(folder)
    return any(a == b"--run-dir" and b == wanted for a, b in pairwise(words))
