# SPDX-License-Identifier: Apache-2.0
"""A hyper-gen host in QEMU and the guests in it: what the tests of the VMM's features run on.

The shipped ``out/bzImage`` boots without a boot loader, with a second initramfs laid over its own:
the ``hg-vmm`` of this source tree, the guests' kernel and initrd, test programs. The tests talk to
a root shell of that host, and give each guest a shell script that its init runs.
"""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import json
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypergen import run, vmm
from hypergen.boot import emulator
from hypergen.config import BuildConfig
from tests.e2e.bounds import TimedOut, bound
from tests.e2e.host import SERVER as SHELL_SERVER
from tests.e2e.machine import FIRST_SERIAL, SPARE_PORT, Machine

KERNEL, BZIMAGE = "/nest/vmlinux", "/nest/bzImage"
APPEND = (
    "rdinit=/nest/init console=ttyS0,115200 root=/dev/vda rw loglevel=4"
    # Only while it boots is there a GiB in one piece for certain.
    " hugepagesz=1G hugepages=1"
)
KERNELS, IMAGES = "/host/test/kernels", "/host/test/images"
ENV = f"HYPERGEN_KERNELS={KERNELS} HYPERGEN_IMAGES={IMAGES}"
GUEST_APPEND = "console=hvc0 quiet panic=-1"


SERVER = 'stty -echo; echo ready; while read -r line; do eval "$line"; done'
"""The script of a guest that does what it is told on its console: :meth:`Guest.ask`."""

_questions = itertools.count(1)
_BETWEEN = "=between="


def _initrd(script: str, path: str, programs: Sequence[str]) -> str:
    """Shell commands that make ``PATH.cpio``, whose init runs `script`, and a folder PATH."""
    parts = ["/nest/guest.cpio", *(f"/nest/cpio/{name}" for name in programs)]
    return (
        f"mkdir -p {path}\n"
        f"/nest/bin/initrd {path}.cpio {' '.join(parts)} <<'=test='\n{script}\n=test="
    )


def _await(file: str, text: str, seconds: float, count: int = 1, stop: str = "") -> str:
    """The shell command that waits (programs/await.c)."""
    words = ["/nest/bin/await", str(int(bound(seconds))), file, text, str(count)]
    return shlex.join([*words, stop] if stop else words)


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
        self._serves = False

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

    def hypershell(self, line: str, seconds: float = 60) -> Result:
        """Run a line in hypershell's ``main()``, whose guests are in KERNELS and IMAGES.

        A server has loaded it (tests/e2e/host_server.py): an interpreter's start is most of what
        ``hypershell -c`` costs under emulation.
        """
        if not self._serves:
            self.sh(
                f"cat >/tmp/server.py <<'=server='\n{SHELL_SERVER.read_text()}=server=\n"
                "mkfifo /tmp/asked /tmp/answered\n"
                f"{ENV} python3.11 -I -S /tmp/server.py /tmp/asked /tmp/answered"
                " </dev/null >>/tmp/said 2>&1 &"
            )
            self._serves = True
        return self.run(
            f": >/tmp/said; printf '%s\\n' {shlex.quote(line)} >/tmp/asked\n"
            "read -r status </tmp/answered; cat /tmp/said; exit $status",
            seconds,
        )

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
        vm = Guest(self, number, folder)
        words = [
            *("/usr/bin/hg-vmm", "--kernel", kernel, "--initrd", f"{folder}.cpio"),
            *("--cmdline", f"{GUEST_APPEND} {append}".strip(), "--cpus", str(cpus)),
            *("--memory", memory, "--run-dir", folder, "--daemonize", *options),
        ]
        self.guests.append(vm)
        self.sh(f"{_initrd(script, folder, programs)}\n{shlex.join(words)}", seconds)
        if wait:
            vm.finish(seconds)
        return vm

    def initrd(self, script: str, path: str, programs: Sequence[str] = ()) -> str:
        """Make ``PATH.cpio``, whose init runs `script`, and a folder PATH; returns the file."""
        self.sh(_initrd(script, path, programs))
        return f"{path}.cpio"

    def bridge(self, name: str, address: str) -> None:
        """A bridge with an IPv4 address, if there is none of that name yet.

        Its MAC is its own: else it would have that of its tap, and another one for the next VM.
        """
        mac = ":".join(f"{byte:02x}" for byte in (2, 0, *ipaddress.IPv4Address(address).packed))
        self.sh(
            f"if [ ! -e /sys/class/net/{name} ]; then\n"
            f"  ip link add {name} address {mac} type bridge\n"
            f"  ip addr add {address}/24 dev {name} && ip link set {name} up\n"
            "fi"
        )

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

    def expect(self, text: str, seconds: float = 60, count: int = 1, before: str = "true") -> str:
        """Wait until the console has `text`, `count` times; returns the console.

        Args:
            before: a shell command that the host runs first.
        """
        assert "\n" not in text[1:]  # the lines end in CR and NL
        log, end = f"{self.folder}/console.log", f"{self.folder}/exit.json"
        done = self.nest.run(
            f"{before} && {_await(log, text, seconds, count, end)}; s=$?; cat {log}; exit $s",
            seconds + 30,
        )
        if done.status == 4:
            raise TimedOut(f"no {text!r} within {bound(seconds):.0f} s\n{self._state()}")
        if done.status:
            raise AssertionError(f"the guest ended without {text!r}\n{self._state()}")
        return done.output.replace("\r", "")

    def ended(self, seconds: float = 60) -> dict[str, Any]:
        """Wait until the VM's process has said why it ended; returns ``exit.json``."""
        return self._end(seconds)[0]

    def _end(self, seconds: float) -> tuple[dict[str, Any], str]:
        """Wait for the end; what ``exit.json`` says, and the console."""
        end = f"{self.folder}/exit.json"
        done = self.nest.run(
            f"{_await(end, '', seconds)} || exit 4; cat {end}; echo; "
            f"echo {_BETWEEN}; cat {self.folder}/console.log; true",
            seconds + 30,
        )
        if done.status:
            raise TimedOut(f"no end within {bound(seconds):.0f} s\n{self._state()}")
        said, _, text = done.output.partition(f"{_BETWEEN}\n")
        why = json.loads(said)
        assert isinstance(why, dict)
        return why, text.replace("\r", "")

    def finish(self, seconds: float = 60) -> str:
        """Wait until the script has succeeded and the guest is off; returns the console."""
        why, text = self._end(seconds)
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

    def ask(self, command: str, seconds: float = 60) -> str:
        """What `command` prints in a guest whose script is :data:`SERVER`."""
        number = next(_questions)
        text = f"echo '<{number}'; {command}; echo '{number}>'\n"
        typed = shlex.join(["/nest/bin/type", f"{self.folder}/console.sock", text])
        console = self.expect(f"{number}>", seconds, before=typed)
        return console.split(f"<{number}\n")[1].split(f"{number}>")[0].strip()

    def type(self, text: str) -> None:
        """Send `text` to the guest's console, as somebody attached to it."""
        self.nest.sh(shlex.join(["/nest/bin/type", f"{self.folder}/console.sock", text]))

    @property
    def pid(self) -> int:
        """The process of the VMM."""
        return int(self.qmp("x-hypergen-info")["pid"])


def build_vmm(cfg: BuildConfig, folder: Path) -> Path:
    """The VMM of this source tree, which out/bzImage may not hold yet."""
    build = cfg.out / "nested" / "vmm"
    log = cfg.logs / "nested-vmm.log"
    vmm.compile_in(cfg, build, "all", log=log)
    run.run(["strip", "-s", "-o", folder / "hg-vmm", build / "hg-vmm"], log=log)
    return folder / "hg-vmm"


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
    memory: int = 4096,
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
