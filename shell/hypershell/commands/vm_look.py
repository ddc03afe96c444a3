# SPDX-License-Identifier: Apache-2.0
"""vm_info, vm_log and vm_events."""

from __future__ import annotations

import bisect
import json
import os
import select
import struct
import time

from hypershell import figures, lifecycle, qmp, vm
from hypershell.errors import ShellError
from hypershell.spec import JSON, Arg, Context, Spec
from hypershell.table import dump, pairs, say
from hypershell.units import human_size, human_time, parse_lines, parse_seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator

_LIMIT = 8 << 20  # bytes of a log that are read at most


def _info(args: Namespace, _: Context) -> int:
    one = vm.pick(args.vm)
    sample = figures.samples([one])[one.id]
    if args.json:
        dump(one.record() | {"folder": one.folder} | sample.record())
        return 0
    image = one.image.get("path")
    rows = [
        ("id", str(one.id)),
        ("name", one.name),
        ("state", one.told()),
        ("kernel", str(one.kernel.get("path", "?"))),
        ("image", f"{image}{' (read-only)' if one.read_only else ''}" if image else "none"),
        ("initrd", str(one.asked.get("initrd") or "none")),
        ("command line", str(one.asked.get("cmdline", "?"))),
        ("CPUs", str(one.cpus)),
        ("memory", f"{human_size(one.memory)}, {human_size(sample.resident)} in use"),
        ("network", str(one.asked.get("net") or "none")),
        ("created", time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one.created))),
        ("folder", one.folder),
    ]
    if one.uptime >= 0:
        rows.insert(3, ("up", f"{human_time(one.uptime)}, {sample.cpu:.1f} s of CPU"))
    if sample.pid:
        rows.append(("process", str(sample.pid)))
    for device in figures.as_objects(sample.stats.get("devices")):
        counts = f"{figures.as_number(device.get('requests'))} requests"
        rows.append((f"device {device.get('index')}", f"{device.get('type')}, {counts}"))
    say(pairs(rows))
    return 0


# --- vm_log -------------------------------------------------------------------------------------


class _Tail:
    """Lines of a growing file; starts over when it becomes shorter (the VMM keeps it bounded)."""

    def __init__(self, path: str, at: int) -> None:
        self._path, self._at, self._rest = path, at, b""

    def lines(self) -> list[bytes]:
        """The whole lines that have come since the last call."""
        try:
            with open(self._path, "rb") as file:
                size = file.seek(0, os.SEEK_END)
                if size < self._at:
                    self._at, self._rest = 0, b""
                file.seek(self._at)
                data = file.read(_LIMIT)
        except OSError:
            return []
        self._at += len(data)
        *whole, self._rest = (self._rest + data).split(b"\n")
        return whole


def _past(path: str) -> tuple[bytes, int, Times]:
    """(a log and the one before it, size of the current file, when it was all written)."""
    data, size, times = b"", 0, Times()
    for name in (path + ".1", path):
        try:
            with open(name, "rb") as file:
                piece = file.read(_LIMIT)
        except OSError:
            continue
        times.add(name + ".times", len(data))
        data += piece
        size = len(piece) if name == path else 0
    return data, size, times


class Times:
    """When the bytes of a log were written (vmm/console_log.h)."""

    def __init__(self) -> None:
        self._offsets: list[int] = []
        self._moments: list[float] = []

    def add(self, path: str, base: int) -> None:
        """The records of one log, whose first byte is the ``base``-th of all."""
        try:
            with open(path, "rb") as file:
                data = file.read(_LIMIT)
        except OSError:
            return
        for offset, moment in struct.iter_unpack("<QQ", data[: len(data) // 16 * 16]):
            self._offsets.append(base + offset)
            self._moments.append(moment / 1000)

    def of(self, offset: int) -> str:
        """The time of the last record at or before a byte; blank where there is none."""
        index = bisect.bisect_right(self._offsets, offset)
        return _stamp(self._moments[index - 1]) if index else " " * len(_stamp(0))


def _stamp(moment: float) -> str:
    return time.strftime("%b %d %H:%M:%S", time.localtime(moment))


def _log(args: Namespace, _: Context) -> int:
    one = vm.pick(args.vm)
    path = f"{one.folder}/{'vmm' if args.vmm else 'console'}.log"
    data, size, times = _past(path)
    if not data and not args.follow:
        raise ShellError(f"{one.title} has written nothing there yet ({path})")
    lines = data.split(b"\n")
    rest = lines.pop()
    keep = parse_lines(args.lines)
    wanted, at = [], 0
    for line in [*lines, rest] if rest and not args.follow else lines:
        text = _clean(line)
        if args.grep is None or args.grep in text:
            wanted.append(f"{times.of(at)}  {text}" if args.timestamps else text)
        at += len(line) + 1
    for text in wanted[-keep:] if keep else wanted:
        say(text)
    if args.follow:
        _follow(one, _Tail(path, size - len(rest)), args)
    return 0 if wanted or args.follow or args.grep is None else 1


def _clean(line: bytes) -> str:
    return vm.plain(line.rstrip(b"\r"))


def _follow(one: vm.VM, tail: _Tail, args: Namespace) -> None:
    while True:
        vm.refresh([one])
        over = lifecycle.ended(one) or not os.path.isdir(one.folder)
        for line in tail.lines():
            text = _clean(line)
            if args.grep is not None and args.grep not in text:
                continue
            say(f"{_stamp(time.time())}  {text}" if args.timestamps else text)
        if over:
            return
        time.sleep(0.2)


# --- vm_events ----------------------------------------------------------------------------------


class _Listener:
    """Events of many VMs, of those that come while it listens as well."""

    def __init__(self, ids: set[int]) -> None:
        self._ids = ids
        self._open: dict[int, tuple[vm.VM, qmp.Connection]] = {}

    def _join(self) -> None:
        """Connect to the VMs that are new."""
        connected = {one.id for one, _ in self._open.values()}
        for one in vm.known():
            if one.id in connected or (self._ids and one.id not in self._ids):
                continue
            try:
                connection = qmp.Connection(one.folder)
            except OSError:
                continue
            connection.send("qmp_capabilities")
            self._open[connection.fileno()] = (one, connection)

    def poll(self, seconds: float) -> Iterator[tuple[vm.VM, dict[str, object]]]:
        """What has happened within at most ``seconds``."""
        self._join()
        poll = select.poll()
        for fd in self._open:
            poll.register(fd, select.POLLIN)
        for fd, _ in poll.poll(seconds * 1000):
            one, connection = self._open[fd]
            for message in connection.receive():
                if "event" in message:
                    yield one, message
            if connection.ended:
                connection.close()
                del self._open[fd]

    def close(self) -> None:
        """Hang up on all."""
        for _, connection in self._open.values():
            connection.close()


def _events(args: Namespace, _: Context) -> int:
    ids = {vm.pick(word).id for word in args.vm}
    left = parse_lines(args.count, "--count") if args.count else 0
    seconds = parse_seconds(args.timeout, "--timeout") if args.timeout else float("inf")
    deadline = time.monotonic() + seconds
    listener = _Listener(ids)
    try:
        while time.monotonic() < deadline:
            for one, message in listener.poll(min(0.5, max(deadline - time.monotonic(), 0))):
                _tell(one, message, args.json)
                left -= 1
                if left == 0:
                    return 0
        return 1 if args.count else 0
    finally:
        listener.close()


def _tell(one: vm.VM, message: dict[str, object], as_json: bool) -> None:
    stamp = figures.as_object(message.get("timestamp"))
    seconds = figures.as_number(stamp.get("seconds")) or int(time.time())
    event, data = str(message.get("event")), figures.as_object(message.get("data"))
    if as_json:
        record = {"time": seconds, "id": one.id, "name": one.name, "event": event, "data": data}
        say(json.dumps(record))
        return
    details = " ".join(f"{key}={_shown(value)}" for key, value in data.items())
    moment = time.strftime("%H:%M:%S", time.localtime(seconds))
    say(vm.plain(f"{moment}  {one.title}  {event}  {details}".rstrip().encode()))


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


_VM = Arg("vm", "id, name or beginning of a name", values="vm")

SPECS = {
    "vm_info": Spec(
        _info,
        [_VM, JSON],
        "Everything about one VM: what was asked for, what its process says, what it uses.",
        [("vm_info web", "for people"), ("vm_info 1 --json", "for programs")],
    ),
    "vm_log": Spec(
        _log,
        [
            _VM,
            Arg("--lines", "how many of the last lines, or all", short="-n", default="40"),
            Arg("--follow", "go on with what comes, until the VM ends", short="-f", flag=True),
            Arg("--timestamps", "when each line was written", short="-t", flag=True),
            Arg("--grep", "only lines with this text", metavar="TEXT"),
            Arg("--vmm", "the VMM's own log instead of the console's", flag=True),
        ],
        """What the VM has printed on its console, as plain text: the last 1 to 2 MiB are kept as
long as the VM is not destroyed. CTRL+c ends --follow.""",
        [
            ("vm_log web", "its last 40 lines"),
            ("vm_log web -f -t", "live, with the time"),
            ("vm_log web -n all --grep error", "a search; exit status 1 when nothing is found"),
            ("vm_log web --vmm", "why a VM ended, in the VMM's words"),
        ],
    ),
    "vm_events": Spec(
        _events,
        [
            Arg("vm", "ids or names (default: all, also later ones)", values="vm", many="*"),
            Arg("--follow", "what it does anyway: go on until CTRL+c", short="-f", flag=True),
            Arg("--count", "end after so many events", metavar="N"),
            Arg("--timeout", "end after seconds, or 5m; 1 if --count was not reached"),
            Arg("--json", "an object a line, for programs", flag=True),
        ],
        """Tells what happens to VMs as it happens: STOP, RESUME, RESET, POWERDOWN, SHUTDOWN (with
the reason), GUEST_PANICKED, BLOCK_IO_ERROR and others of QMP's events.""",
        [
            ("vm_events", "of all VMs, until CTRL+c"),
            ("vm_events web --count 1 --timeout 60 --json", "a script waits for the next one"),
        ],
    ),
}
