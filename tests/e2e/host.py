# SPDX-License-Identifier: Apache-2.0
"""A booted hyper-gen host: how a person gets there, and its faces."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypergen.boot import qemu
from hypergen.config import BuildConfig
from tests.e2e.bounds import wait
from tests.e2e.dialogue import HyperShell, Keyboard, Rescue
from tests.e2e.machine import FIRST_SERIAL, SPARE_PORT, Machine, free_port

RELAY_PORT = 7777
"""TCP port of the machine that its user-mode network forwards to ``Host.port``."""

ENTRY = "hyper-gen"

SERVER = Path(__file__).with_name("host_server.py")
SERVE = """
mkfifo /tmp/asked /tmp/answered
python3.11 -I -S /tmp/server.py /tmp/asked /tmp/answered </dev/null &
hg() { printf '%s\\n' "$1" >/tmp/asked; read -r hg_status </tmp/answered; return $hg_status; }
"""
"""Makes the rescue shell's function ``hg``, which runs a command of the shell: host_server.py."""


@dataclass
class Host:
    """One machine with hyper-gen on it.

    Attributes:
        machine: keyboard, screen, serial lines.
        serial: the hyper-gen shell on the first serial line.
        port: TCP port here that reaches :data:`RELAY_PORT` there.
        menu: the lines of the screen that showed GRUB's menu.
        ssh: TCP port here that reaches the SSH server there; 0: none does.
    """

    machine: Machine
    serial: HyperShell
    port: int
    menu: list[str] = field(default_factory=list)
    ssh: int = 0
    _rescue: Rescue | None = None
    _serves: bool = False

    @property
    def keyboard(self) -> HyperShell:
        """The shell on tty3, by keyboard and screen."""
        self.machine.press("alt-f3")
        return HyperShell(Keyboard(self.machine))

    @property
    def rescue(self) -> Rescue:
        """The rescue shell of tty2."""
        if self._rescue is None:
            self._rescue = Rescue(self.machine)
        return self._rescue

    def settle(self) -> None:
        """Wait until start-up has found the root, the folders and the network, or given up."""
        self.rescue.run("while grep -q waiting /run/hypergen/host.status; do sleep 0.2; done", 120)

    def forget_rescue(self) -> None:
        """The host has been rebooted: the rescue shell is to be opened anew."""
        self._rescue = None
        self._serves = False

    def command(self, command: str, status: int | None = 0, seconds: float = 60) -> str:
        """Run one command in hypershell's ``main()``, host_server.py; returns both its streams."""
        if not self._serves:
            self.rescue.run(f"cat >/tmp/server.py <<'EOF'\n{SERVER.read_text()}EOF{SERVE}")
            self._serves = True
        return self.rescue.run(f"hg {shlex.quote(command)}", seconds, status)

    def program(self, command: str, status: int | None = 0, seconds: float = 60) -> str:
        """Run one command as ``hypershell -c``, from its start; returns both its streams."""
        return self.rescue.run(f"hypershell -c {shlex.quote(command)}", seconds, status)

    def kill(self, word: str) -> None:
        """kill -9 every process of the host whose command line holds `word`."""
        # Without a process for each look. read leaves the null bytes out.
        self.rescue.run(
            "for p in /proc/[0-9]*; do c=; IFS= read -r c <$p/cmdline; "
            f"case $c in *{word}*) kill -9 ${{p#/proc/}};; esac; done 2>/dev/null; true"
        )

    def vms(self) -> list[dict[str, Any]]:
        """What ``vm_list --json`` says."""
        listed = json.loads(self.command("vm_list --json"))
        assert isinstance(listed, list)
        return listed

    def create(self, arguments: str) -> int:
        """``vm_create`` with `arguments`; returns the id."""
        return int(self.command(f"vm_create {arguments} -q"))

    def state(self, vm: int, expected: str, seconds: float) -> dict[str, Any]:
        """Wait until a VM is in a state; returns its record."""
        last: list[dict[str, Any]] = []

        def probe() -> dict[str, Any] | None:
            last[:] = self.vms()
            return next((v for v in last if v["id"] == vm and v["state"] == expected), None)

        return wait(f"VM {vm} {expected}", probe, seconds, last=lambda: str(last))


def argv(cfg: BuildConfig, disk: Path, port: int, **options: Any) -> list[str]:
    """QEMU's command line from the verb that `make run` uses, with forwarded ports.

    ``forwards`` are more of them: a TCP port here → the port there.
    """
    extra: Sequence[str] = options.pop("extra", ())
    ports = {port: RELAY_PORT, **options.pop("forwards", {})}
    forward = ",".join(f"hostfwd=tcp:127.0.0.1:{here}-:{there}" for here, there in ports.items())
    return qemu.command(
        cfg,
        disk,
        serial=FIRST_SERIAL,
        network=False,
        snapshot=True,
        extra=("-nic", f"user,model=virtio-net-pci,{forward}", *SPARE_PORT, *extra),
        **options,
    )


@contextlib.contextmanager
def grub(cfg: BuildConfig, disk: Path, logs: Path, name: str, **options: Any) -> Iterator[Host]:
    """Boot a disk under GRUB on a BIOS, choose the entry with keys, wait for the serial shell."""
    port = free_port()
    options.setdefault("firmware", "bios")
    with Machine(argv(cfg, disk, port, **options), logs, name) as machine:
        menu = machine.see(ENTRY, 60)
        machine.press("down", "up", "ret")
        host = Host(machine, HyperShell(machine.serial), port, menu)
        host.serial.ready(180)
        host.settle()
        yield host


@contextlib.contextmanager
def direct(
    cfg: BuildConfig, disk: Path, logs: Path, name: str, append: str, **options: Any
) -> Iterator[Host]:
    """Boot bzImage without a boot loader, with the kernel command line `append`."""
    port = free_port()
    options["extra"] = (
        *("-kernel", str(cfg.out / "bzImage")),
        *("-append", f"console=ttyS0,115200 console=tty0 {append}"),
        *options.get("extra", ()),
    )
    line = [
        word.replace("+svm", "-svm") if options.get("accel") == "none" else word
        for word in argv(cfg, disk, port, **{**options, "accel": None})
    ]
    with Machine(line, logs, name) as machine:
        host = Host(machine, HyperShell(machine.serial), port)
        host.serial.ready(180)
        host.settle()
        yield host
