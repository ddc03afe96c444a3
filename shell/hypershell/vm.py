# SPDX-License-Identifier: Apache-2.0
"""VMs as the shell sees them: what vm.json asked for, and what the process behind it says now."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time

from hypershell import catalog, paths, qmp, status
from hypershell.choose import choose
from hypershell.units import human_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

ASK_TIMEOUT = 1.0  # seconds in which all VMs together must say how they are
ALIVE = ("running", "paused", "panicked", "shutdown", "unresponsive", "starting")
_STATES = {"guest-panicked": "panicked"}
_NONE = ": there are no VMs; vm_create makes one"
_TAIL = 4096  # bytes of console.log that are shown of a VM that ended


def _text(value: object, default: str = "") -> str:
    return value if isinstance(value, str) else default


def _number(value: object) -> int:
    return int(value) if isinstance(value, (int, float)) else 0


class VM:
    """One VM folder. A damaged vm.json leaves ``?`` and zeros; the VM can still be destroyed."""

    def __init__(self, number: int) -> None:
        self.id = number
        self.folder = paths.vm_dir(number)
        asked = catalog.read_json(self.folder + "/vm.json")
        self.asked = asked
        self.name = _text(asked.get("name"), "?")
        kernel, image = asked.get("kernel"), asked.get("image")
        self.kernel: dict[str, object] = kernel if isinstance(kernel, dict) else {}
        self.image: dict[str, object] = image if isinstance(image, dict) else {}
        self.cpus = _number(asked.get("cpus"))
        self.memory = _number(asked.get("memory"))
        self.read_only = asked.get("read_only") is True
        self.created = _number(asked.get("created"))
        self.state = "unknown"
        self.reason = ""
        self.uptime = -1.0  # seconds; below zero when there is none
        self.pid = 0

    @property
    def title(self) -> str:
        """How messages name it."""
        return f"VM {self.id} ({self.name})"

    @property
    def alive(self) -> bool:
        """Is there a process, so that memory and the image are held?"""
        return self.state in ALIVE

    def told(self) -> str:
        """The state for people: ``running``, ``stopped (guest-shutdown)``…"""
        return f"{self.state} ({self.reason})" if self.reason else self.state

    def settle(self, answer: qmp.Answer) -> None:
        """Take state, uptime and pid from what the VM's process answered, or from what it left."""
        self.pid = answer.pid
        status = answer.returns.get("query-status")
        info = answer.returns.get("x-hypergen-info")
        told = _text(status.get("status")) if isinstance(status, dict) else ""
        if told:
            self.state = _STATES.get(told, told)
            if isinstance(info, dict) and isinstance(info.get("uptime_ms"), (int, float)):
                self.uptime = info["uptime_ms"] / 1000
            elif self.created:
                self.uptime = max(time.time() - self.created, 0)
        elif answer.state == "refused":
            self._settle_ended()
        else:
            self.state = "unresponsive"

    def _settle_ended(self) -> None:
        if is_starting(self.folder):
            self.state = "starting"
            return
        left = catalog.read_json(self.folder + "/exit.json")
        if not left and status.listening(self.folder):
            self.state = "running"  # its start has ended since it was asked
            return
        self.state = "stopped" if left else "crashed"
        self.reason = _text(left.get("reason"))
        if self.reason == "error":
            self.reason = "error: " + _text(left.get("message"), "no message")

    def record(self) -> dict[str, object]:
        """The VM for ``--json``: sizes in bytes, uptime in seconds or null."""
        return {
            "id": self.id,
            "name": self.name,
            "state": self.state,
            "reason": self.reason,
            "kernel": self.kernel,
            "image": self.image or None,
            "cpus": self.cpus,
            "memory": self.memory,
            "read_only": self.read_only,
            "cmdline": self.asked.get("cmdline"),
            "initrd": self.asked.get("initrd"),
            "net": self.asked.get("net"),
            "created": self.created,
            "uptime": round(self.uptime, 3) if self.uptime >= 0 else None,
            # What only unikernels and isles have.
            **{k: v for k in ("arguments", "isle") if (v := self.asked.get(k))},
        }

    def row(self) -> list[str]:
        """The VM as a line of vm_list."""
        return [
            str(self.id),
            self.name,
            self.told(),
            _text(self.kernel.get("name"), "?"),
            _text(self.image.get("name"), "-") + (" (ro)" if self.read_only else ""),
            str(self.cpus or "?"),
            f"{self.memory >> 20} MiB" if self.memory else "?",
            human_time(self.uptime) if self.uptime >= 0 else "-",
        ]


def hold_starting(folder: str) -> int:
    """Mark the VM in ``folder`` as starting for as long as the returned fd is open (an flock)."""
    fd = os.open(folder + "/starting", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


def is_starting(folder: str) -> bool:
    """Does a living shell still start the VM in ``folder``?"""
    return catalog.locked(folder + "/starting")


def forget_starting(folder: str) -> None:
    """The VM runs, or does not: its start is over."""
    with contextlib.suppress(OSError):
        os.unlink(folder + "/starting")


def known() -> list[VM]:
    """All VM folders, by id, without asking for states."""
    return [VM(number) for number in catalog.vm_ids()]


def refresh(vms: Sequence[VM]) -> None:
    """Ask all of ``vms`` for their states at once; bounded by ASK_TIMEOUT."""
    timeout = ASK_TIMEOUT * paths.timeout_scale()
    answers = qmp.ask([v.folder for v in vms], ["query-status", "x-hypergen-info"], timeout)
    for vm in vms:
        vm.settle(answers[vm.folder])


def listed() -> list[VM]:
    """All VMs with their states, by id."""
    vms = known()
    refresh(vms)
    return [vm for vm in vms if os.path.isdir(vm.folder)]


def pick(word: str) -> VM:
    """The VM that ``word`` (id, name or unique prefix of a name) means, without its state.

    Raises UsageError naming the candidates.
    """
    vms = known()

    def unknown(shown: str) -> str:
        return f"; there are {shown}; vm_list shows them all" if vms else _NONE

    return choose("VM", word, vms, unknown, lambda one: one.name, lambda one: one.id)


def users(vms: Sequence[VM], key: tuple[int, int], kind: str) -> list[VM]:
    """The VMs with a process that use the file ``key`` (device, inode) as their ``kind``."""
    return [vm for vm in vms if vm.alive and _key(vm, kind) == key]


def _key(vm: VM, kind: str) -> tuple[int, int] | None:
    path = (vm.kernel if kind == "kernel" else vm.image).get("path")
    try:
        info = os.stat(path) if isinstance(path, str) else None
    except (OSError, ValueError):
        return None
    return (info.st_dev, info.st_ino) if info else None


def remove_folder(folder: str) -> None:
    """Remove a VM's folder with all in it; what is gone already is fine. Raises OSError."""
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            remove_folder(entry.path)
            continue
        with contextlib.suppress(FileNotFoundError):
            os.unlink(entry.path)
    with contextlib.suppress(FileNotFoundError):
        os.rmdir(folder)


def console_tail(folder: str, lines: int = 40) -> str:
    """The last lines of console.log as plain text; what could move a cursor is left out."""
    try:
        with open(folder + "/console.log", "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - _TAIL, 0))
            data = file.read()
    except OSError:
        return ""
    return "\n".join(plain(data).splitlines()[-lines:])


def plain(data: bytes) -> str:
    """``data`` without escape sequences (ECMA-48) and control characters other than newlines."""
    result: list[str] = []
    state = ""
    for char in data.decode("utf-8", "replace"):
        if state == "esc":
            state = "csi" if char == "[" else "osc" if char in "]P_^X" else ""
            state = "skip" if char in "()*+#%" else state
        elif state == "csi":
            state = "" if "@" <= char <= "~" else state
        elif state == "osc":
            state = "" if char == "\a" else "esc" if char == "\x1b" else state
        elif state == "skip":
            state = ""
        elif char == "\x1b":
            state = "esc"
        elif char == "\n" or char.isprintable():
            result.append(char)
        elif char == "\t":
            result.append(" ")
    return "".join(result)
