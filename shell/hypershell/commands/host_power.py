# SPDX-License-Identifier: Apache-2.0
"""host_reboot and host_shutdown: a signal to PID 1, which ends VMs, syncs and unmounts."""

from __future__ import annotations

import os
import signal
import sys

from hypershell import lifecycle, vm
from hypershell.errors import ShellError, UsageError
from hypershell.spec import Arg, Context, Spec
from hypershell.table import complain, say
from hypershell.units import parse_seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace

MARK = "/etc/hypergen"  # only on a hyper-gen host is PID 1 ours to signal


def _power(what: str, number: int, args: Namespace, context: Context) -> int:
    if not os.path.isdir(MARK):
        raise ShellError(f"this is not a hyper-gen host (no {MARK}): use its own '{what}'")
    alive = [one for one in vm.listed() if one.alive]
    if alive and not (args.yes or args.force):
        names = ", ".join(f"{one.id} ({one.name})" for one in alive[:6])
        count = f"{len(alive)} VM{'s run' if len(alive) > 1 else ' runs'}: {names}"
        if not (context.interactive and _confirmed(f"{count}. End them and {what}?")):
            raise UsageError(f"nothing done; {count}; add --yes to {what} all the same")
    if alive and not args.now:
        _stop_vms(alive, parse_seconds(args.timeout, "--timeout"))
    try:
        os.kill(1, number)
    except OSError as error:
        raise ShellError(f"cannot signal PID 1: {error.strerror}") from error
    say("The host reboots." if what == "reboot" else "The host powers off.")
    return 0


def _stop_vms(alive: list[vm.VM], seconds: float) -> None:
    """Press every VM's power button and wait; PID 1 ends what is left."""
    asked = []
    for one in alive:
        try:
            lifecycle.press_power(one)
            asked.append(one)
        except ShellError as error:
            complain(f"note: {error}")
    left = lifecycle.wait_shut_down(asked, seconds)
    for one in asked:
        say(f"{one.title} {'has not shut down and is ended' if one in left else one.told()}")


def _confirmed(question: str) -> bool:
    sys.stdout.write(f"{question} [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _reboot(args: Namespace, context: Context) -> int:
    return _power("reboot", signal.SIGTERM, args, context)


def _shutdown(args: Namespace, context: Context) -> int:
    return _power("poweroff", signal.SIGUSR2, args, context)


_ARGS = [
    Arg("--yes", "do not ask, even when VMs run", short="-y", flag=True),
    Arg("--force", "the same as --yes", flag=True),
    Arg("--timeout", "how long VMs may take: seconds, or 5m", default="60"),
    Arg("--now", "do not wait for VMs; they get ten seconds", flag=True),
]
_ABOUT = """Presses the power button of every VM, waits for them to shut down, ends what is left,
writes everything that is pending to the disks, unmounts and {}. Asks first when VMs run."""

SPECS = {
    "host_reboot": Spec(
        _reboot, _ARGS, _ABOUT.format("reboots"), [("host_reboot --yes", "do not ask")]
    ),
    "host_shutdown": Spec(
        _shutdown, _ARGS, _ABOUT.format("powers off"), [("host_shutdown", "asks when VMs run")]
    ),
}
