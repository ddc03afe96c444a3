# SPDX-License-Identifier: Apache-2.0
"""The disk of `make run` under UEFI (OVMF), read off the picture.

There is no text memory: the console is drawn into the firmware's frame buffer. The font is learnt
from a line that is typed in the rescue shell (screen.py), then everything is read by its glyphs.
"""

from __future__ import annotations

from pathlib import Path

from hypergen.config import BuildConfig
from tests.e2e import host as hosts
from tests.e2e.dialogue import HyperShell, Keyboard
from tests.e2e.host import Host
from tests.e2e.machine import Machine, free_port
from tests.e2e.test_keyboard import create

PRINTABLE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "'")


def test_uefi_boots_to_the_prompt_and_runs_a_vm(
    built: BuildConfig, logs: Path, tmp_path: Path
) -> None:
    argv = hosts.argv(
        built,
        built.out / "disk.img",
        free_port(),
        firmware="uefi",
        nvram=tmp_path / "nvram",
        memory=2048,
        cpus=2,
    )
    with Machine(argv, logs, "uefi") as machine:
        machine.serial.expect("GNU GRUB", 120)
        machine.press("ret")
        Host(machine, HyperShell(machine.serial), 0).serial.ready(180)

        machine.press("alt-f2", "ret")
        machine.type(f"clear; printf '%s\\n' '{PRINTABLE}'\n")
        machine.learn_font(PRINTABLE)
        machine.press("alt-f3")
        shell = HyperShell(Keyboard(machine))
        shell.ready(60)
        vm = create(shell, "vmlinux", "busybox")
        (row,) = shell.rows("vm_list")
        assert (row[0], row[2]) == (vm, "running")
        shell.enter(f"vm_console {vm}")
        shell.see("login:", 120)
        shell.terminal.press("\x04")
        shell.see("Detached")
        assert f"VM {vm}" in "\n".join(shell.run(f"vm_destroy {vm}"))
