# SPDX-License-Identifier: Apache-2.0
"""What the status line says, cheaply: this runs before the editor is loaded, so few imports.

No JSON and no QMP here: a VM counts as running when something listens on its control socket.
"""

from __future__ import annotations

import os
import time

from hypershell import paths
from hypershell.units import human_size

REFRESH = 5.0  # seconds between looks while the prompt is idle
REFRESH_WAITING = 1.0  # the same while a topic of host.status still waits (the host is booting)
_FRESH = 1.0  # seconds for which a redraw reuses the last text

_text = ""
_read_at = -_FRESH


def topics() -> list[tuple[str, str, str]]:
    """RUN/host.status as (topic, state, message); empty when this host does not write one."""
    try:
        with open(paths.run_dir() + "/host.status", encoding="utf-8", errors="replace") as file:
            lines = file.read(65536).splitlines()
    except OSError:
        return []
    result = []
    for line in lines:
        fields = line.split("\t", 2)
        if len(fields) >= 2:
            result.append((fields[0], fields[1], fields[2] if len(fields) > 2 else ""))
    return result


def memory() -> tuple[int, int]:
    """(total, available) memory of the host in bytes; zeros when /proc does not tell."""
    total = available = 0
    try:
        with open("/proc/meminfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("MemTotal:"):
                    total = int(line.split()[1]) * 1024
                elif line.startswith("MemAvailable:"):
                    available = int(line.split()[1]) * 1024
                    break
    except (OSError, ValueError, IndexError):
        pass
    return total, available


def count_vms() -> tuple[int, int]:
    """(VM folders, those with a live process behind them)."""
    try:
        names = [name for name in os.listdir(paths.vm_root()) if name.isdigit()]
    except OSError:
        return 0, 0
    return len(names), sum(1 for name in names if listening(f"{paths.vm_root()}/{name}"))


def listening(folder: str) -> bool:
    """Does a process listen on the control socket in ``folder``? Never waits."""
    import _socket  # the C part alone: the socket module would load enum and selectors

    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        connection.connect(folder + "/control.sock")
    except BlockingIOError:
        return True  # a full backlog: somebody is there, and busy
    except OSError:
        return False
    finally:
        connection.close()
    return True


def waiting() -> bool:
    """Is the host still bringing something up?"""
    return any(state == "waiting" for _, state, _ in topics())


def interval() -> float:
    """Seconds until the status is worth a look again."""
    return REFRESH_WAITING if waiting() else REFRESH


def forget() -> None:
    """Look again at the next redraw: a command has run."""
    global _read_at
    _read_at = -_FRESH


def text() -> str:
    """The status line, ASCII only; looks at the host once a second at most."""
    global _text, _read_at
    now = time.monotonic()
    if now - _read_at < _FRESH:
        return _text
    _read_at = now
    count, running = count_vms()
    total, available = memory()
    parts = [f"{count} VM{'' if count == 1 else 's'}, {running} running"]
    parts.append(f"{human_size(available)} of {human_size(total)} free")
    parts += [f"{topic}: {state}" for topic, state, _ in topics() if state in ("failed", "waiting")]
    parts.append("help")
    _text = " " + " | ".join(parts)
    return _text
