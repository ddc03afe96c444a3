# SPDX-License-Identifier: Apache-2.0
"""The pictures in the docs, taken of the real thing: ``make pictures``.

Boots ``out/disk.img`` under GRUB, types at the keyboard what the README tells, and has QEMU write
what the display shows.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypergen import config, progress
from tests.e2e import host as hosts
from tests.e2e.machine import Machine
from tests.e2e.test_keyboard import create, the_id

TOP = Path(__file__).resolve().parents[2]
FOLDER = TOP / "docs" / "images"


def picture(machine: Machine, name: str) -> None:
    """Write what the display shows to ``docs/images/NAME.png``."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.png"
    machine.qmp("screendump", filename=str(path), format="png")
    progress.note(f"{path.relative_to(TOP)}: {progress.human(path.stat().st_size)}")


def take(logs: Path) -> None:
    """Boot, type, take the pictures."""
    cfg = config.load()
    disk = cfg.out / "disk.img"
    with hosts.grub(cfg, disk, logs, "pictures", memory=2048, cpus=2) as host:
        shell = host.keyboard
        kernels = shell.rows("kernel_list")
        kernel = next(row[0] for row in kernels if row[1].startswith("vmlinux"))
        images = shell.rows("image_list")
        vm = create(shell, kernel, the_id(images, "busybox.img"))
        shell.enter(f"vm_console {vm}")
        shell.see("login:", 120)
        shell.terminal.press("root\r")
        shell.see("root@busybox", 60)
        shell.terminal.press("uname -a\r")
        shell.see("GNU/Linux", 30)
        shell.terminal.press("\x04")
        shell.see("Detached")
        shell.run("vm_list")
        picture(host.machine, "shell")


def main() -> None:
    """Take the pictures; the machine's logs are thrown away."""
    with tempfile.TemporaryDirectory() as logs, progress.step("take the pictures of the docs"):
        take(Path(logs))


if __name__ == "__main__":
    main()
