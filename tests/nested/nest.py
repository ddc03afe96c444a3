# SPDX-License-Identifier: Apache-2.0
"""A hyper-gen host in QEMU and the guests in it: what the tests of the VMM's features run on.

The shipped ``out/bzImage`` boots without a boot loader, with a second initramfs laid over its own:
the ``hg-vmm`` of this source tree, the guests' kernel and initrd, test programs. The tests talk to
a root shell of that host, and give each guest a shell script that its init runs.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypergen.boot import emulator
from hypergen.config import BuildConfig
from tests.e2e.bounds import TimedOut, bound
from tests.e2e.machine import FIRST_SERIAL, SPARE_PORT, Machine

KERNEL, BZIMAGE = "/nest/vmlinux", "/nest/bzImage"
APPEND = "rdinit=/nest/init console=ttyS0,115200 root=/dev/vda rw loglevel=4"
GUEST_APPEND = "console=hvc0 quiet panic=-1"


@dataclass(frozen=True)
class Result:
    """What a script in the host came to: its exit status and both its streams."""

    status: int
    output: str


class QmpFailed(AssertionError):
    """A QMP command was answered with an error; the message is the answer's ``desc``."""


class Nest:
    """The host. Its scratch disk is mounted at ``/host`` (ext4, 4 GiB, empty at first)."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._line = machine.spare
        self._numbers = itertools.count(1)
        self.guests: list[Guest] = []

    def run(self, script: str, seconds: float = 60) -> Result:
        """Run a shell script as root in the host."""
        number = next(self._numbers)
        start = self._line.mark()
        # From a file, so that nothing in it can take the rest of the script for its input.
        self._line.press(
            f"cat >/tmp/script <<'=script='\n{script}\n=script=\n"
            f"sh /tmp/script </dev/null >/tmp/output 2>&1; status=$?; cat /tmp/output; "
            f"echo =''{number}:$status:\n"
        )
        try:
            match = self._line.expect(rf"={number}:(\d+):", seconds, start)
        except TimedOut as error:
            raise TimedOut(f"host: {script}\n{error}") from None
        output = bytes(self._line.raw[start : match.start()]).decode(errors="replace")
        return Result(int(match[1]), output.replace("\r\n", "\n"))

    def sh(self, script: str, seconds: float = 60) -> str:
        """Run a shell script that must succeed (each of its commands); returns what it printed."""
        done = self.run(f"set -e\n{script}", seconds)
        if done.status:
            raise AssertionError(f"host: {script}\nended with {done.status}:\n{done.output}")
        return done.output

    def vmm(self, *options: str, seconds: float = 60) -> Result:
        """Run ``hg-vmm`` with `options` as they are: for what must be refused."""
        return self.run(shlex.join(["/usr/bin/hg-vmm", *options]), seconds)

    def guest(
        self,
        script: str = "",
        *,
        options: Sequence[str] = (),
        programs: Sequence[str] = (),
        memory: str = "128M",
        cpus: str | int = 1,
        kernel: str = KERNEL,
        append: str = "",
        wait: bool = True,
        seconds: float = 60,
    ) -> Guest:
        """Start a guest; with `wait`, until its script has succeeded and it has powered off.

        Args:
            script: run by its init (busybox sh) with the console as its output.
            options: more of hg-vmm's.
            programs: names of ``programs/NAME.c``, which the guest then finds in ``/bin``.
            append: more for the kernel's command line.

        Raises:
            AssertionError: hg-vmm refused, or the script failed.
        """
        number = len(self.guests) + 1
        folder = f"/run/nest/{number}"
        self.initrd(script, folder, programs)
        vm = Guest(self, number, folder)
        words = [
            *("/usr/bin/hg-vmm", "--kernel", kernel, "--initrd", f"{folder}.cpio"),
            *("--cmdline", f"{GUEST_APPEND} {append}".strip(), "--cpus", str(cpus)),
            *("--memory", memory, "--run-dir", folder, "--daemonize", *options),
        ]
        self.guests.append(vm)
        self.sh(shlex.join(words), seconds)
        if wait:
            vm.finish(seconds)
        return vm

    def initrd(self, script: str, path: str, programs: Sequence[str] = ()) -> str:
        """Make ``PATH.cpio``, whose init runs `script`, and a folder PATH; returns the file."""
        parts = ["/nest/guest.cpio", *(f"/nest/cpio/{name}" for name in programs)]
        self.sh(
            f"mkdir -p {path}/rd && cd {path}/rd\n"
            f"cat >test.sh <<'=test='\n{script}\n=test=\n"
            f"echo test.sh | busybox cpio -o -H newc >../test.cpio 2>/dev/null\n"
            f"cat {' '.join(parts)} ../test.cpio >{path}.cpio\n"
            f"cd / && rm -r {path}/rd {path}/test.cpio"
        )
        return f"{path}.cpio"

    def clean(self) -> None:
        """End every guest and forget it."""
        self.sh("killall -q -9 hg-vmm || true; rm -rf /run/nest/* /host/test/*")
        self.guests.clear()


@dataclass
class Guest:
    """One VM: ``folder`` is its run directory in the host."""

    nest: Nest
    number: int
    folder: str
    _text: str = field(default="", repr=False)

    def console(self) -> str:
        """Everything the guest has printed so far."""
        text = self.nest.sh(f"cat {self.folder}/console.log 2>/dev/null || true")
        return text.replace("\r", "")

    def log(self) -> str:
        """The VMM's own log."""
        return self.nest.sh(f"cat {self.folder}/vmm.log")

    def expect(self, text: str, seconds: float = 60) -> str:
        """Wait until a line of the console has `text`; returns the console."""
        assert "\n" not in text  # to grep, these would be two texts, of which either will do
        # The bound is kept in the host: each look from here costs a round trip.
        done = self.nest.run(
            f"n=0; until grep -aqF {shlex.quote(text)} {self.folder}/console.log; do\n"
            f"  [ -e {self.folder}/exit.json ] && exit 3\n"
            f"  [ $n -gt {int(bound(seconds) * 10)} ] && exit 4\n"
            "  n=$((n + 1)); sleep 0.1\n"
            "done 2>/dev/null",
            seconds + 30,
        )
        if done.status == 4:
            raise TimedOut(f"no {text!r} within {bound(seconds):.0f} s\n{self._state()}")
        if done.status and text not in self.console():
            raise AssertionError(f"the guest ended without {text!r}\n{self._state()}")
        return self.console()

    def ended(self, seconds: float = 60) -> dict[str, Any]:
        """Wait until the VM's process has said why it ended; returns ``exit.json``."""
        done = self.nest.run(
            f"n=0; until [ -e {self.folder}/exit.json ]; do\n"
            f"  [ $n -gt {int(bound(seconds) * 10)} ] && exit 4\n"
            "  n=$((n + 1)); sleep 0.1\n"
            f"done; cat {self.folder}/exit.json",
            seconds + 30,
        )
        if done.status:
            raise TimedOut(f"no end within {bound(seconds):.0f} s\n{self._state()}")
        why = json.loads(done.output)
        assert isinstance(why, dict)
        return why

    def finish(self, seconds: float = 60) -> str:
        """Wait until the script has succeeded and the guest is off; returns the console."""
        why = self.ended(seconds)
        text = self.console()
        match = re.search(r"@@exit (\d+)", text)
        if why.get("reason") != "guest-shutdown" or match is None or match[1] != "0":
            raise AssertionError(f"the guest's script failed: {why}\n{self._state()}")
        return text[: match.start()]

    def _state(self) -> str:
        return f"--- console ---\n{self.console()[-3000:]}\n--- vmm.log ---\n{self.log()[-2000:]}"

    def qmp(self, command: str, **arguments: Any) -> Any:
        """Execute a QMP command; returns what it returned.

        Raises:
            QmpFailed: it was answered with an error.
        """
        request = {"execute": command} | ({"arguments": arguments} if arguments else {})
        answers = self.qmp_lines(json.dumps(request))
        last = answers[-1]
        if "error" in last:
            raise QmpFailed(last["error"]["desc"])
        return last["return"]

    def qmp_lines(self, *words: str) -> list[dict[str, Any]]:
        """Run the program ``qmp`` (programs/qmp.c) with `words`; returns every line it printed."""
        output = self.nest.sh(
            shlex.join(["/nest/bin/qmp", f"{self.folder}/control.sock", *words]), 120
        )
        return [json.loads(line) for line in output.splitlines() if line.startswith("{")]

    def type(self, text: str) -> None:
        """Send `text` to the guest's console, as somebody attached to it."""
        self.nest.sh(shlex.join(["/nest/bin/type", f"{self.folder}/console.sock", text]))

    @property
    def pid(self) -> int:
        """The process of the VMM."""
        return int(self.qmp("x-hypergen-info")["pid"])


def argv(
    cfg: BuildConfig,
    overlay: Path,
    disk: Path,
    memory: int,
    cpus: int,
    append: str,
    extra: Sequence[str],
    keep: bool,
) -> list[str]:
    """QEMU's command line for the host; with `keep`, what it writes stays on its disk."""
    snapshot = "off" if keep else "on"
    words = f"{APPEND} {append}".strip()
    return [
        *emulator.words(cfg),
        *("-nodefaults", "-no-user-config", "-machine", "q35", "-m", f"{memory}M"),
        *("-accel", "tcg", "-smp", str(cpus), "-cpu", emulator.CPU, "-display", "none"),
        *("-kernel", str(cfg.out / "bzImage"), "-initrd", str(overlay), "-append", words),
        *("-drive", f"if=none,id=scratch,format=raw,snapshot={snapshot},file={disk}"),
        *("-device", "virtio-blk-pci,drive=scratch", "-no-reboot", "-nic", "none"),
        *("-device", "virtio-rng-pci", "-serial", FIRST_SERIAL, *SPARE_PORT, *extra),
    ]


@contextlib.contextmanager
def boot(
    cfg: BuildConfig,
    overlay: Path,
    disk: Path,
    name: str,
    *,
    memory: int = 3072,
    cpus: int = 2,
    append: str = "",
    extra: Sequence[str] = (),
    keep: bool = False,
) -> Iterator[Nest]:
    """Boot a host, with more for its kernel's command line; wait for its shell and its disk."""
    line = argv(cfg, overlay, disk, memory, cpus, append, extra, keep)
    with Machine(line, cfg.logs / "nested", name) as machine:
        nest = Nest(machine)
        nest.sh(
            "n=0; until grep -q '^root.ok' /run/hypergen/host.status; do\n"
            "  [ $n -gt 600 ] && { cat /run/hypergen/host.status; exit 1; }; n=$((n + 1))\n"
            "  sleep 0.2; done 2>/dev/null\n"
            "mkdir -p /run/nest /host/test\n",
            240,
        )
        yield nest
