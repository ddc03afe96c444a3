# SPDX-License-Identifier: Apache-2.0
"""Isles as the shell sees them: RUN/isle/N, which hg-vmm makes and removes with its guest.

A folder holds ``path`` (of the image), ``cpus`` (a list) and the link ``log``; a process of the
isle's VM holds a lock on ``cpus``. One that nobody holds is what a killed process has left.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time

from hypershell import catalog, paths, start, vm
from hypershell.errors import ShellError, UsageError
from hypershell.units import human_time, parse_cpu_list

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

MAX = 251
NETWORK = "192.168.28"
GATEWAY = f"{NETWORK}.1"
_END_TIMEOUT = 5.0  # seconds for an isle's processes to end, once and once more by force


def address(number: int) -> str:
    """The IPv4 address of an isle on the network of all isles."""
    return f"{NETWORK}.{number + 2}"


def parse_number(text: str) -> int:
    """0 to MAX. Raises UsageError."""
    if text.isascii() and text.isdigit() and int(text[:4]) <= MAX:
        return int(text)
    raise UsageError(f"isle '{text}': type a number from 0 to {MAX}")


def parse_cpus(text: str) -> list[int]:
    """``2-3,6`` as CPUs, in that order. Raises UsageError."""
    try:
        cpus = parse_cpu_list(text)
    except UsageError as error:
        raise UsageError(f"--cpus {text}: type the isle's CPUs, such as 2-3 or 2,4") from error
    if len(set(cpus)) != len(cpus):
        raise UsageError(f"--cpus {text}: type each CPU once, such as 2-3 or 2,4")
    return cpus


class Isle:
    """One isle's folder."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.folder = f"{paths.isle_root()}/{number}"
        self.path = _first_line(self.folder + "/path")
        self.cpus = _first_line(self.folder + "/cpus")
        self.vm: vm.VM | None = None
        try:
            log = os.readlink(self.folder + "/log")
        except OSError:
            log = self.folder + "/log"
        self.log = log
        home, name = os.path.split(log)
        root, word = os.path.split(home)
        if name == "console.log" and root == paths.vm_root() and word.isdigit():
            self.vm = vm.VM(int(word))

    @property
    def network(self) -> bool:
        """Is it on the network of the isles?"""
        return os.path.isdir(f"/sys/class/net/isle{self.number}")

    def record(self) -> dict[str, object]:
        """The isle for ``--json``."""
        one = self.vm
        return {
            "isle": self.number,
            "cpus": self.cpus,
            "address": address(self.number) if self.network else None,
            "path": self.path,
            "log": self.log,
            "vm": {"id": one.id, "name": one.name} if one else None,
            "state": one.state if one else "running",
            "memory": one.memory if one else None,
            "uptime": round(one.uptime, 3) if one and one.uptime >= 0 else None,
        }

    def row(self) -> list[str]:
        """The isle as a line of isle_list."""
        one = self.vm
        return [
            str(self.number),
            self.cpus,
            address(self.number) if self.network else "-",
            os.path.basename(self.path),
            f"{one.id} ({one.name})" if one else "-",
            one.told() if one else "running",
            human_time(one.uptime) if one and one.uptime >= 0 else "-",
        ]

    def owned(self) -> bool:
        """Does a process of its VM live?"""
        return catalog.locked(self.folder + "/cpus")

    def processes(self) -> set[int]:
        """The VMM's process, by the threads that run on the isle's CPUs; empty: none does yet."""
        found: set[int] = set()
        text = _read(f"/sys/fs/cgroup/isle-{self.number}/cgroup.threads")
        for word in text.split():
            for line in _read(f"/proc/{word}/status").splitlines():
                if line.startswith("Tgid:"):
                    found.add(int(line.split()[1]))
        return found - {0}

    def end(self) -> bool:
        """End the VM: asked, then by force; False when it lives on."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in self.processes():
                with contextlib.suppress(OSError):
                    os.kill(pid, number)
            if self.vanish(_END_TIMEOUT * paths.timeout_scale()):
                return True
        return False

    def vanish(self, timeout: float) -> bool:
        """Wait until hg-vmm has given its CPUs back, or do it where its process cannot."""
        deadline = time.monotonic() + timeout
        while os.path.isdir(self.folder):
            if not self.owned():
                sweep()
                return not os.path.isdir(self.folder)
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(1 << 16)
    except OSError:
        return ""


def _first_line(path: str) -> str:
    return _read(path).partition("\n")[0]


def sweep() -> None:
    """Let hg-vmm give the CPUs of dead isles back to the host. Raises ShellError."""
    code, reason = start.start([paths.vmm(), "--sweep-isles"])
    if code:
        raise ShellError(f"the CPUs of dead isles are not given back: {reason}")


def known() -> list[Isle]:
    """The isles that live, by number; those of killed processes are taken back first."""
    found = _folders()
    if any(not one.owned() for one in found):
        sweep()
        found = _folders()
    return found


def _folders() -> list[Isle]:
    try:
        names = os.listdir(paths.isle_root())
    except OSError:
        return []
    numbers = sorted(int(n) for n in names if n.isascii() and n.isdigit() and int(n) <= MAX)
    return [Isle(number) for number in numbers]


def refresh(isles: Sequence[Isle]) -> None:
    """Ask the VMs of ``isles`` how they are."""
    vm.refresh([one.vm for one in isles if one.vm is not None])


def free_number(isles: Sequence[Isle]) -> int:
    """The lowest number that no isle has. Raises ShellError when there is none."""
    taken = {one.number for one in isles}
    for number in range(MAX + 1):
        if number not in taken:
            return number
    raise ShellError(f"all {MAX + 1} numbers of isles are taken; isle_destroy frees one")
