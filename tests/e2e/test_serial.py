# SPDX-License-Identifier: Apache-2.0
"""The same shell over the serial line: consoles, two VMs at once, a shell that dies."""

from __future__ import annotations

import re
from pathlib import Path

from tests.e2e.bounds import wait
from tests.e2e.dialogue import Guest, HyperShell, Terminal
from tests.e2e.far import Workstation
from tests.e2e.files import FILES
from tests.e2e.host import Host

DEBIAN_PASSWORD = "hypergen"


def attach(host: Host, vm: int, seconds: float = 180, password: str | None = None) -> Guest:
    """Attach the serial shell to a VM and log in."""
    host.serial.enter(f"vm_console {vm}")
    host.serial.see("CTRL+d detaches")
    guest = Guest(host.serial.terminal)
    host.serial.terminal.press("\r")
    guest.login(seconds, password=password)
    return guest


def detach(host: Host) -> None:
    """Leave the console."""
    host.serial.terminal.press("\x04")
    host.serial.see("Detached")
    host.serial.ready()


def test_the_debian_guest_from_create_to_destroy(host: Host) -> None:
    shell = host.serial
    vm = host.create(f"{FILES.vmlinux} {FILES.debian} --memory 1G --name deb")
    guest = attach(host, vm, 600, DEBIAN_PASSWORD)
    assert "running" in guest.run("systemctl is-system-running --wait", 300, None)[-1]
    assert guest.run("cat /proc/1/comm") == ["systemd"]
    guest.run("echo kept >/root/proof; sync")
    detach(host)
    assert any("debian.img" in line and "rw" in line for line in shell.run("image_list"))
    # systemd hears the power button and shuts down; the same VM starts again from its image.
    assert "stopped (guest-shutdown)" in host.command("vm_stop deb", seconds=300)
    host.command("vm_start deb")
    host.state(vm, "running", 30)
    assert "destroyed" in "\n".join(shell.run("vm_destroy deb"))
    # To read one file another boot with everything is not needed.
    host.create(f"{FILES.vmlinux} {FILES.debian} --name bash --cmdline init=/bin/bash")
    shell.enter("vm_console bash")
    guest = Guest(shell.terminal)
    guest.prompt(60)
    assert guest.run("cat /root/proof") == ["kept"]
    detach(host)


def test_the_console_passes_every_key_and_replays(host: Host) -> None:
    vm = host.create(f"{FILES.vmlinux} {FILES.busybox}")
    guest = attach(host, vm)
    terminal = host.serial.terminal
    guest.run("echo the-''backlog")
    terminal.press("echo be''fore; sleep 1000\r")
    host.serial.see("before")  # else the key comes while the line is edited, and ends nothing
    terminal.press("\x03")
    guest.prompt()
    terminal.press("\x1b[A\x1b[A")  # the line before the sleep
    host.serial.see("# echo the-''backlog")
    terminal.press("\x03")
    guest.prompt()
    terminal.press("cd /ro\t")
    host.serial.see("cd /root/")
    terminal.press("\r")
    guest.prompt()
    detach(host)

    before = len(host.machine.serial.raw)
    host.serial.enter(f"vm_console {vm}")
    host.machine.serial.expect("the-backlog", 30, before)
    terminal.press("\r")
    guest.prompt()
    terminal.press("\x1dd")  # CTRL+] d: a real CTRL+d, which ends the guest's shell
    guest.login(60)
    detach(host)


def test_a_full_screen_program_on_the_line_and_on_the_screen(host: Host) -> None:
    """vi in the guest draws what a terminal of its size shows, and leaves the shell as it was."""
    vm = host.create(f"{FILES.vmlinux} {FILES.busybox}")
    guest = attach(host, vm)
    guest.run("printf 'one\\ntwo\\n' >/root/text")
    _edit(guest.terminal, 24, ["one", "two"], "three")
    guest.prompt()
    assert guest.run("cat /root/text") == ["one", "two", "three"]
    detach(host)
    assert host.serial.run("vm_list -q") == [str(vm)]
    shell = host.keyboard
    shell.enter(f"vm_console {vm}")
    shell.see("root@busybox:/root#")  # the backlog fills the screen
    guest = Guest(shell.terminal)
    _edit(guest.terminal, 25, ["one", "two", "three"], "four")
    guest.prompt()
    shell.terminal.press("\x04")
    shell.see("Detached")
    assert shell.run("vm_list -q") == [str(vm)]
    host.command(f"vm_destroy {vm}")


def _edit(terminal: Terminal, rows: int, text: list[str], more: str) -> None:
    """Add a line to /root/text with vi; the screen is right before and after."""

    def shown(lines: list[str], end: str) -> bool:
        screen = terminal.lines()[-rows:]
        tildes = ["~"] * (rows - 1 - len(lines))
        return screen[:-1] == [*lines, *tildes] and screen[-1].startswith(end)

    def show() -> str:
        return "\n".join(terminal.lines()[-rows:])

    terminal.press("vi /root/text\r")
    wait("vi's screen", lambda: shown(text, "- /root/text"), 60, last=show)
    terminal.press("Go")
    terminal.press(f"{more}\x1b")
    wait("the new line", lambda: shown([*text, more], "- /root/text [Modified]"), 60, last=show)
    terminal.press(":wq\r")


def test_the_terminal_is_whole_after_the_guest_has_died(host: Host) -> None:
    vm = host.create(f"{FILES.vmlinux} {FILES.busybox}")
    guest = attach(host, vm)
    guest.terminal.press("poweroff\r")
    host.serial.see("ended: guest-shutdown", 120)
    assert any("stopped" in line for line in host.serial.run("vm_list"))


def test_two_vms_at_once_and_one_writer_an_image(host: Host) -> None:
    one = host.create(f"{FILES.vmlinux} {FILES.busybox} --name one")
    two = host.create(f"{FILES.vmlinux} {FILES.second} --name two")
    refused = host.command(f"vm_create {FILES.vmlinux} {FILES.busybox}", 2)
    assert "in use by VM" in refused
    assert len([vm for vm in host.vms() if vm["state"] == "running"]) == 2
    for vm, text in ((one, "first"), (two, "other")):
        guest = attach(host, vm)
        guest.run(f"echo {text} >/root/which; sync")
        detach(host)
    for vm, text in ((one, "first"), (two, "other")):
        before = len(host.machine.serial.raw)
        host.serial.enter(f"vm_console {vm}")
        guest = Guest(host.serial.terminal)
        host.machine.serial.expect("which; sync", 30, before)  # replayed: logged in still
        host.serial.terminal.press("\r")
        guest.prompt()
        assert guest.run("cat /root/which") == [text]
        detach(host)


def test_vms_outlive_the_shells(host: Host) -> None:
    # Made by the program itself, which is gone when the shells are killed.
    vm = int(host.program(f"vm_create {FILES.vmlinux} {FILES.busybox} --name survivor -q"))
    attach(host, vm)
    before = host.machine.serial.mark()
    host.kill("hypershell")
    host.machine.serial.expect(r"hyper-gen:# ", 60, before)
    assert host.vms()[0]["state"] == "running"

    on_screen = host.keyboard
    on_screen.ready(60)
    assert on_screen.rows("vm_list")[0][1:3] == ["survivor", "running"]
    shell = HyperShell(host.machine.serial)
    shell.enter("vm_console survivor")
    shell.see("CTRL+d detaches")
    guest = Guest(shell.terminal)
    shell.terminal.press("\r")
    guest.prompt()
    guest.run("echo alive")
    detach(host)


def test_host_reboot_comes_back_with_its_keys_and_what_the_guest_wrote(
    host: Host, tmp_path: Path
) -> None:
    vm = host.create(f"{FILES.vmlinux} {FILES.second}")
    guest = attach(host, vm)
    guest.run("echo before >/root/reboot; sync")
    detach(host)
    user = Workstation(tmp_path, host.ssh)
    host.command(f"host_ssh add '{user.public('kept')}'")
    told = _ssh(host)
    assert "SHA256:" in told and "1 key" in told
    host.serial.enter("host_reboot --yes")
    wait("GRUB again", lambda: any("GNU GRUB" in x for x in host.machine.lines()), 120)
    before = host.machine.serial.mark()
    host.machine.press("ret")
    host.machine.serial.expect(r"hyper-gen:# ", 180, before)
    host.forget_rescue()
    assert re.fullmatch(r"\[\]\s*", host.program("vm_list --json"))
    wait("ssh", lambda: "\tok\t" in _ssh(host), 60)
    assert _ssh(host) == told  # the host's own key is the same too
    done = user.run("host_ssh rm kept --yes", key="kept")
    assert done.returncode == 0, done.stderr
    assert "\tok\t" not in _ssh(host)
    vm = host.create(f"{FILES.vmlinux} {FILES.second}")
    guest = attach(host, vm)
    assert guest.run("cat /root/reboot") == ["before"]
    detach(host)


def _ssh(host: Host) -> str:
    """What start-up says of the SSH server."""
    return host.rescue.run("grep ^ssh /run/hypergen/host.status").strip()
