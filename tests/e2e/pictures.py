# SPDX-License-Identifier: Apache-2.0
"""The pictures in the docs, taken of the real thing: ``make pictures``.

Boots ``out/disk.img`` under GRUB, types at the keyboard what the README tells, and has QEMU write
what the display shows; the web page is what a browser shows of it.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

from hypergen import config, progress
from tests.e2e import host as hosts
from tests.e2e.far import FOLDERS
from tests.e2e.machine import Machine, free_port
from tests.e2e.test_keyboard import create, the_id
from tests.shell.browser import Browser

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


def page_picture(tab: Browser, name: str) -> None:
    """Write what the browser shows to ``docs/images/NAME.png``."""
    path = FOLDER / f"{name}.png"
    tab.picture(path)
    progress.note(f"{path.relative_to(TOP)}: {progress.human(path.stat().st_size)}")


def take_page(logs: Path) -> None:
    """The web page in a browser: two guests, one of them at work, and its console."""
    cfg = config.load()
    port = free_port()
    line = f"root=LABEL=hypergen rw {FOLDERS} hypergen.web=on"
    disk = cfg.out / "disk.img"
    options: dict[str, Any] = {"memory": 2048, "cpus": 2, "forwards": {port: 8443}}
    with hosts.direct(cfg, disk, logs, "page", line, **options) as host:
        host.create("vmlinux busybox --name web --memory 256M")
        host.create("vmlinux debian --name db --memory 512M --read-only --cmdline init=/bin/bash")
        host.command("vm_define shop vmlinux debian --read-only")
        token = json.loads(host.command("host_web --json"))["token"]
        tab = Browser(1360, 760)
        try:
            tab.open(f"https://127.0.0.1:{port}/")
            tab.text("Token")
            tab.ask(
                "Emulation.setEmulatedMedia",
                features=[{"name": "prefers-color-scheme", "value": "dark"}],
            )
            tab.run("document.querySelector('input').focus()")
            tab.type(token)
            tab.key("Enter")
            tab.until("document.getElementById('rows').innerText.includes('web')")
            tab.key("c")
            screen = "(document.querySelector('.xterm-rows')?.innerText ?? '')"
            work = "for i in 1 2 3; do md5sum /dev/vda; sleep 9; done; free -m"
            for typed in ("root", "uname -srm", work):
                tab.until(f"{screen}.trimEnd().match(/(login:|#)$/)")
                tab.type(typed)
                tab.key("Enter")
                time.sleep(2)
            tab.until(f"{screen}.includes('Swap')")
            page_picture(tab, "web")
            tab.click(".tabs button", "Graphs")
            tab.until("document.querySelectorAll('.graph canvas').length === 4")
            time.sleep(5)
            page_picture(tab, "web-graphs")
        finally:
            tab.close()


def main() -> None:
    """Take the pictures; the machine's logs are thrown away."""
    with tempfile.TemporaryDirectory() as logs, progress.step("take the pictures of the docs"):
        take(Path(logs))
        take_page(Path(logs))


if __name__ == "__main__":
    main()
