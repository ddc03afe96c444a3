# SPDX-License-Identifier: Apache-2.0
"""vm_console."""

from __future__ import annotations

import os
import sys
import time

from hypershell import console, lifecycle, paths, vm
from hypershell.errors import ShellError, UsageError
from hypershell.spec import Arg, Context, Spec
from hypershell.table import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from typing import NoReturn

GREETING = "Attached to {}. CTRL+d detaches; CTRL+] then d sends a real CTRL+d."
LOOKING = "Looking at {}: nothing typed reaches it. CTRL+d detaches."


def _run(args: Namespace, _: Context) -> int:
    if args.steal and args.read_only:
        raise UsageError("--steal takes the keyboard, --read-only leaves it: choose one")
    one = vm.pick(args.vm)
    while True:
        _ready(one, args)
        reason = _attach(one, args)
        if reason != "ended" or not args.wait:
            return _left(one, reason)
        say(_ended(one))


def _ready(one: vm.VM, args: Namespace) -> None:
    """Wait for a VM that starts, or with --wait for one that will. Raises ShellError."""
    vm.refresh([one])
    if one.state == "starting":
        _wait_started(one)
    if args.wait and one.state in lifecycle.ENDED:
        say(f"Waiting until {one.title} runs; CTRL+c gives up.")
        lifecycle.wait([one], lambda it: it.alive and it.state != "starting", float("inf"))
        if not os.path.isdir(one.folder):
            raise ShellError(f"{one.title} was destroyed")
    if one.state in ("panicked", *lifecycle.ENDED):
        _post_mortem(one)
    if not (os.isatty(0) and os.isatty(1)):
        raise UsageError(f"a console needs a terminal; vm_log {one.id} has its output")


def _attach(one: vm.VM, args: Namespace) -> str:
    sys.stdout.flush()
    mode = "look" if args.read_only else "steal" if args.steal else ""
    greeting = LOOKING if args.read_only else GREETING
    try:
        return console.attach(one.folder, greeting.format(one.title), 0, 1, mode)
    except OSError as error:
        raise ShellError(f"{one.title}: no console: {error.strerror or error}") from error


def _left(one: vm.VM, reason: str) -> int:
    if reason == "hangup":
        raise ShellError("the terminal is gone")
    if reason == "detached":
        say(f"Detached from {one.title}; it goes on.")
    elif reason == "panicked":
        say(f"{one.title}: the guest's kernel panicked; vm_destroy {one.id} removes it.")
    else:
        say(_ended(one))
    return 0


def _wait_started(one: vm.VM) -> None:
    deadline = time.monotonic() + 10 * paths.timeout_scale()
    while one.state == "starting" and time.monotonic() < deadline:
        time.sleep(0.1)
        vm.refresh([one])


def _ended(one: vm.VM) -> str:
    """How the VM ended; its last words may come a moment after its console closed."""
    deadline = time.monotonic() + 2 * paths.timeout_scale()
    while True:
        vm.refresh([one])
        gone = not os.path.isdir(one.folder)
        if gone or one.state == "stopped" or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    if gone or one.reason == "quit":
        return f"{one.title} was destroyed."
    if one.alive:
        return (
            f"{one.title} closed its console but is {one.told()}; vm_console {one.id} tries again."
        )
    return f"{one.title} ended: {one.reason or 'crashed'}; vm_destroy {one.id} removes it."


def _post_mortem(one: vm.VM) -> NoReturn:
    """A VM that will not speak again: its last lines, and how it ended."""
    tail = vm.console_tail(one.folder)
    if tail:
        say(tail)
    raise ShellError(f"{one.title} is {one.told()}; vm_destroy {one.id} removes it")


SPECS = {
    "vm_console": Spec(
        _run,
        [
            Arg("vm", "id, name or beginning of a name, see vm_list", values="vm"),
            Arg("--steal", "take the keyboard from who attached first", flag=True),
            Arg("--read-only", "only look; never have the keyboard", flag=True),
            Arg("--wait", "attach again whenever the VM is started again", flag=True),
        ],
        """Your terminal becomes the VM's console: every key goes to the guest, CTRL+c too. The last
64 KiB of its output are shown first. CTRL+d detaches and the VM goes on.

  CTRL+d          detach
  CTRL+] d        send CTRL+d to the guest
  CTRL+] CTRL+]   send CTRL+] to the guest
  CTRL+] ?        show these keys

When several are attached to one VM, the first one types and all see the output. Of a VM that
panicked or ended, the last lines of its output are shown. vm_log searches what has scrolled by.""",
        [
            ("vm_console 1", "by id"),
            ("vm_console web --read-only", "over somebody's shoulder"),
            ("vm_console web --wait", "through restarts"),
        ],
    )
}
