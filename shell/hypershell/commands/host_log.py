# SPDX-License-Identifier: Apache-2.0
"""host_log and version."""

from __future__ import annotations

import os
import select
import subprocess
import time

from hypershell import __version__, paths
from hypershell.errors import ShellError
from hypershell.spec import JSON, Arg, Context, Spec
from hypershell.table import dump, pairs, say
from hypershell.units import parse_lines, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace

_LEVELS = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")


def _boot_time() -> float:
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def _line(record: bytes, started: float) -> tuple[int, str]:
    """(level, text) of a record of /dev/kmsg (Linux, Documentation/ABI/testing/dev-kmsg)."""
    head, _, text = record.decode("utf-8", "replace").partition(";")
    fields = head.split(",")
    level = int(fields[0]) & 7
    moment = time.localtime(started + int(fields[2]) / 1e6)
    return level, time.strftime("%b %d %H:%M:%S  ", moment) + printable(text.split("\n")[0])


def _log(args: Namespace, _: Context) -> int:
    keep = parse_lines(args.lines)
    try:
        fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError as error:
        raise ShellError("only root may read the kernel's messages here") from error
    except OSError as error:
        raise ShellError(f"the kernel's messages: {error.strerror}") from error
    worst = _LEVELS.index(args.level)
    started = _boot_time()
    lines: list[str] = []
    past = True
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    try:
        while True:
            try:
                level, text = _line(os.read(fd, 8192), started)
            except BlockingIOError:
                if past:
                    for line in lines[-keep:]:
                        say(line)
                    past = False
                if not args.follow:
                    return 0
                poll.poll()
                continue
            except BrokenPipeError:
                continue  # overwritten before it was read: on with what there is
            if level > worst or (args.grep is not None and args.grep not in text):
                continue
            if past:
                lines.append(text)
            else:
                say(text)
    finally:
        os.close(fd)


def _version(args: Namespace, _: Context) -> int:
    record = {"hypershell": __version__, "hg-vmm": _vmm_version(), "linux": os.uname().release}
    if args.json:
        dump(record)
    else:
        say(pairs([(name, text or "not found") for name, text in record.items()]))
    return 0


def _vmm_version() -> str | None:
    try:
        done = subprocess.run(
            [paths.vmm(), "--version"], check=False, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip().removeprefix("hg-vmm ") or None


SPECS = {
    "host_log": Spec(
        _log,
        [
            Arg("--lines", "how many of the last lines, or all", short="-n", default="40"),
            Arg("--follow", "go on with what comes", short="-f", flag=True),
            Arg(
                "--level",
                "this bad or worse: " + ", ".join(_LEVELS),
                metavar="LEVEL",
                values=_LEVELS,
                default="debug",
                only=True,
            ),
            Arg("--grep", "only lines with this text", metavar="TEXT"),
        ],
        "The messages of the host's kernel and of its start, with the time. CTRL+c ends --follow.",
        [("host_log --level warning", "what went wrong"), ("host_log -f", "live")],
    ),
    "version": Spec(
        _version, [JSON], "The versions of the shell, of the VMM and of Linux.", [("version", "")]
    ),
}
