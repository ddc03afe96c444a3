# SPDX-License-Identifier: Apache-2.0
"""What VMs and the host use: counters as they stand, and rates between two looks."""

from __future__ import annotations

import os
import time

from hypershell import paths, qmp, vm

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

ASKED = ["query-status", "x-hypergen-info", "x-hypergen-stats", "query-blockstats"]
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def as_object(value: object) -> dict[str, object]:
    """``value`` if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_objects(value: object) -> list[dict[str, object]]:
    """The JSON objects of a list; empty when it is none."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def as_number(value: object) -> int:
    """A count that came over QMP; 0 when it is none."""
    return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else 0


class Sample:
    """One VM at one moment. Times in seconds, sizes in bytes; counters since its process began."""

    def __init__(self, one: vm.VM, answer: qmp.Answer) -> None:
        self.vm, self.time = one, time.monotonic()
        self.stats = as_object(answer.returns.get("x-hypergen-stats"))
        info = as_object(answer.returns.get("x-hypergen-info"))
        self.pid = as_number(info.get("pid")) or one.pid
        self.cpu, self.resident = process(self.pid)
        self.exits = sum(as_number(n) for n in as_object(self.stats.get("exits")).values())
        self.disk_read = self.disk_written = self.sent = self.received = 0
        for disk in as_objects(answer.returns.get("query-blockstats")):
            counts = as_object(disk.get("stats"))
            self.disk_read += as_number(counts.get("rd_bytes"))
            self.disk_written += as_number(counts.get("wr_bytes"))
        tap = interface(f"hg{one.id}")  # what the host receives on a tap, the guest has sent
        self.sent, self.received = tap

    def record(self) -> dict[str, object]:
        """The sample for ``--json``."""
        return {
            "id": self.vm.id,
            "name": self.vm.name,
            "state": self.vm.state,
            "pid": self.pid or None,
            "cpu_seconds": round(self.cpu, 2),
            "resident": self.resident,
            "exits": as_object(self.stats.get("exits")),
            "resets": as_number(self.stats.get("resets")),
            "disk_read": self.disk_read,
            "disk_written": self.disk_written,
            "net_received": self.received,
            "net_sent": self.sent,
            "devices": as_objects(self.stats.get("devices")),
        }


class Rates:
    """What a VM did a second between two samples of it."""

    def __init__(self, old: Sample | None, new: Sample) -> None:
        passed = max(new.time - old.time, 1e-6) if old is not None else 0.0

        def rate(name: str) -> float:
            if old is None:
                return 0.0
            return float(max(getattr(new, name) - getattr(old, name), 0)) / passed

        self.new = new
        self.cpu = 100 * rate("cpu")  # per cent of one CPU
        self.exits = rate("exits")
        self.disk_read, self.disk_written = rate("disk_read"), rate("disk_written")
        self.sent, self.received = rate("sent"), rate("received")

    def record(self) -> dict[str, object]:
        """The rates for ``--json``."""
        return {
            "id": self.new.vm.id,
            "name": self.new.vm.name,
            "state": self.new.vm.state,
            "cpu_percent": round(self.cpu, 1),
            "resident": self.new.resident,
            "exits_per_second": round(self.exits, 1),
            "disk_read_per_second": round(self.disk_read),
            "disk_written_per_second": round(self.disk_written),
            "net_received_per_second": round(self.received),
            "net_sent_per_second": round(self.sent),
        }


class Watch:
    """The VMs' rates since the last look; the busiest first."""

    def __init__(self) -> None:
        self._old: dict[int, Sample] = {}

    def look(self) -> list[Rates]:
        """Ask all VMs; the first look has no rates yet."""
        new = samples(vm.known())
        rates = [Rates(self._old.get(number), one) for number, one in new.items()]
        self._old = new
        return sorted(rates, key=lambda one: -one.cpu)


def samples(vms: Sequence[vm.VM]) -> dict[int, Sample]:
    """Ask all of ``vms`` at once; those that do not answer have zeros."""
    timeout = vm.ASK_TIMEOUT * paths.timeout_scale()
    answers = qmp.ask([one.folder for one in vms], ASKED, timeout)
    for one in vms:
        one.settle(answers[one.folder])
    return {one.id: Sample(one, answers[one.folder]) for one in vms}


def process(pid: int) -> tuple[float, int]:
    """(CPU seconds, resident bytes) of a process (proc(5): stat 14, 15; statm 2); zeros if gone."""
    if pid <= 0:
        return 0.0, 0
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            resident = int(file.read().split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0, 0
    return (int(fields[11]) + int(fields[12])) / _TICKS, resident * _PAGE


def interface(name: str) -> tuple[int, int]:
    """(bytes received, bytes sent) by a network interface; zeros when there is none."""
    folder = f"/sys/class/net/{name}/statistics"
    try:
        with open(f"{folder}/rx_bytes", encoding="ascii") as file:
            received = int(file.read())
        with open(f"{folder}/tx_bytes", encoding="ascii") as file:
            return received, int(file.read())
    except (OSError, ValueError):
        return 0, 0


class HostCpu:
    """How busy the host's CPUs were since the last look (proc(5), /proc/stat)."""

    def __init__(self) -> None:
        self._last = self._read()

    @staticmethod
    def _read() -> list[tuple[str, int, int]]:
        """(name, all ticks, idle ticks) of all CPUs together and of each."""
        found = []
        try:
            with open("/proc/stat", encoding="ascii", errors="replace") as file:
                for line in file:
                    name, *fields = line.split()
                    if not name.startswith("cpu"):
                        break
                    # What guests use is in user and nice already: fields 9 and 10 are left out.
                    ticks = [int(field) for field in fields[:8]]
                    found.append((name, sum(ticks), ticks[3] + ticks[4]))
        except (OSError, ValueError, IndexError):
            return []
        return found

    def busy(self) -> list[tuple[str, float]]:
        """(name, per cent busy): ``cpu`` for all of them, then ``cpu0``…"""
        now = self._read()
        result = []
        for (name, total, idle), (_, total_before, idle_before) in zip(
            now, self._last, strict=False
        ):
            passed = total - total_before
            part = 1 - (idle - idle_before) / passed if passed > 0 else 0.0
            result.append((name, 100 * min(max(part, 0.0), 1.0)))
        self._last = now
        return result
