# SPDX-License-Identifier: Apache-2.0
"""The way of a person at the machine: GRUB, ALT+F3, the six commands, read off the screen."""

from __future__ import annotations

import re

from tests.e2e.dialogue import Guest, HyperShell
from tests.e2e.files import FILES
from tests.e2e.host import Host


def the_id(rows: list[list[str]], name: str) -> str:
    """The id of the row that has `name`."""
    found = [row[0] for row in rows if row[1] == name]
    assert len(found) == 1, rows
    return found[0]


def create(shell: HyperShell, kernel: str, image: str) -> str:
    """Create a VM by ids as typed by a person; returns its id."""
    printed = "\n".join(shell.run(f"vm_create {kernel} {image}"))
    match = re.search(r"VM (\d+) \(\w+\) runs", printed)
    assert match, printed
    return match[1]


def test_grub_shows_its_menu_on_the_vga_screen(host: Host) -> None:
    assert any("GNU GRUB" in line for line in host.menu)
    assert any("*hyper-gen" in line for line in host.menu)


def test_six_commands_typed_at_the_keyboard(host: Host) -> None:
    shell = host.keyboard
    image = the_id(shell.rows("image_list"), FILES.busybox)
    kernel = the_id(shell.rows("kernel_list"), FILES.vmlinux)
    assert "no VMs" in "\n".join(shell.run("vm_list"))

    vm = create(shell, kernel, image)
    (row,) = shell.rows("vm_list")
    assert row[0] == vm
    assert row[2] == "running"

    shell.enter(f"vm_console {vm}")
    shell.see("CTRL+d detaches")
    guest = Guest(shell.terminal)
    shell.terminal.press("\r")
    guest.login(120)
    guest.run("echo written in VM $((20+1)) >/root/proof && sync")
    shell.terminal.press("\x04")
    shell.see("Detached")
    assert f"VM {vm}" in "\n".join(shell.run(f"vm_destroy {vm}"))
    assert "no VMs" in "\n".join(shell.run("vm_list"))

    again = create(shell, kernel, image)
    assert again != vm, "an id came twice"
    shell.enter(f"vm_console {again}")
    shell.see("CTRL+d detaches")
    shell.terminal.press("\r")
    guest.login(120)
    assert guest.run("cat /root/proof") == ["written in VM 21"]
    shell.terminal.press("\x04")
    shell.see("Detached")
    shell.run(f"vm_destroy {again}")


def test_kernel_messages_stay_on_the_first_console(host: Host) -> None:
    # Below "emergency": what announces the machine's end is meant to be seen everywhere.
    shell = host.keyboard
    shell.ready()
    before = host.machine.serial.mark()
    host.rescue.run("echo '<1>e2e: an alert' >/dev/kmsg")
    host.machine.press("alt-f1")
    host.machine.see("e2e: an alert", 30)
    host.machine.press("alt-f3")
    shell.ready()
    assert not any("an alert" in line for line in host.machine.lines())
    assert b"an alert" not in host.machine.serial.raw[before:]


def test_completion_and_history_at_the_keyboard(host: Host) -> None:
    shell = host.keyboard
    shell.run("host_info")
    shell.ready()
    shell.terminal.press("\x1b[A")
    shell.typed("host_info")
    # No wait for the next prompt: a key that comes before it is neither lost nor shown twice.
    shell.terminal.press("\x03image_l\t")
    shell.typed("image_list")
    shell.terminal.press("\r")
    shell.see(FILES.debian)
    shell.ready()
