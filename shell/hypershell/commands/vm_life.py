# SPDX-License-Identifier: Apache-2.0
"""vm_start, vm_stop, vm_kill, vm_restart, vm_pause, vm_resume, vm_wait."""

from __future__ import annotations

from hypershell import lifecycle, vm
from hypershell.choose import each
from hypershell.errors import ShellError
from hypershell.spec import FORCE, Arg, Context, Spec
from hypershell.table import complain, say
from hypershell.units import parse_seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Sequence


def _each(name: str, vms: Sequence[vm.VM], act: Callable[[vm.VM], str]) -> int:
    """Do ``act`` to every VM and say what came of it; errors name the VM."""
    if not vms:
        say("There are no VMs.")

    def named(one: vm.VM) -> str:
        try:
            return act(one)
        except (ShellError, OSError) as error:
            if one.title in str(error):
                raise
            kind = type(error) if isinstance(error, ShellError) else ShellError
            raise kind(f"{one.title}: {error}") from error

    return each(name, vms, named)


def _start_defined(words: Sequence[str]) -> tuple[list[str], int]:
    """Make and start what is only defined: (the other words, the worst status)."""
    # These know how to make VMs, which the other verbs here do not need.
    from hypershell import definitions
    from hypershell.commands import definitions as commands

    known = {one.name for one in vm.known()}
    defined = [w for w in words if w != "all" and w not in known and definitions.exists(w)]
    codes = [each(f"vm_start: {word}", [word], commands.start) for word in defined]
    return [word for word in words if word not in defined], max(codes, default=0)


def _start(args: Namespace, _: Context) -> int:
    def act(one: vm.VM) -> str:
        if one.state == "paused":
            lifecycle.tell(one, "cont")
            return f"{one.title} was paused; it goes on"
        if one.alive:
            return f"{one.title} runs already ({one.told()})"
        lifecycle.start_again(one)
        return f"{one.title} runs; vm_console {one.id} attaches to it"

    rest, code = _start_defined(args.vm)
    return max(code, _each("vm_start", lifecycle.pick_many(rest), act)) if rest else code


def _stop_all(name: str, vms: Sequence[vm.VM], args: Namespace) -> list[vm.VM]:
    """Stop ``vms`` gracefully, then with --force; those that still run. Says what happens."""
    seconds = parse_seconds(args.timeout, "--timeout")
    asked = []
    for one in vms:
        if lifecycle.ended(one):
            say(f"{one.title} is stopped already")
            continue
        try:
            lifecycle.press_power(one)
            asked.append(one)
        except ShellError as error:
            if not args.force:
                complain(f"{name}: {error}")
            asked.append(one)
    left = lifecycle.wait_shut_down(asked, seconds)
    if args.force and left:
        left = lifecycle.kill(left)
    for one in asked:
        if one not in left:
            vm.refresh([one])
            say(f"{one.title} {one.told()}")
    return left


def _stop(args: Namespace, _: Context) -> int:
    vms = lifecycle.pick_many(args.vm)
    if not vms:
        say("There are no VMs.")
    left = _stop_all("vm_stop", vms, args)
    for one in left:
        complain(
            f"vm_stop: {one.title} has not shut down; does its system listen to the power "
            f"button? vm_stop {one.id} --force ends it"
        )
    return 1 if left else 0


def _kill(args: Namespace, _: Context) -> int:
    vms = lifecycle.pick_many(args.vm)
    left = {one.id for one in lifecycle.kill([one for one in vms if not lifecycle.ended(one)])}

    def act(one: vm.VM) -> str:
        if one.id in left:
            raise ShellError("its process does not end; see vmm.log in its folder")
        return f"{one.title} is stopped already" if lifecycle.ended(one) else f"{one.title} killed"

    return _each("vm_kill", vms, act)


def _restart(args: Namespace, _: Context) -> int:
    vms = lifecycle.pick_many(args.vm)
    left = {one.id for one in _stop_all("vm_restart", vms, args)}

    def act(one: vm.VM) -> str:
        if one.id in left:
            raise ShellError(f"it has not shut down; vm_restart {one.id} --force ends it first")
        lifecycle.start_again(one)
        return f"{one.title} runs again"

    return _each("vm_restart", vms, act)


def _pause(args: Namespace, _: Context) -> int:
    def act(one: vm.VM) -> str:
        if one.state == "paused":
            return f"{one.title} is paused already"
        lifecycle.tell(one, "stop")
        return f"{one.title} paused; vm_resume {one.id} lets it go on"

    return _each("vm_pause", lifecycle.pick_many(args.vm), act)


def _resume(args: Namespace, _: Context) -> int:
    def act(one: vm.VM) -> str:
        if one.state == "running":
            return f"{one.title} runs already"
        lifecycle.tell(one, "cont")
        return f"{one.title} goes on"

    return _each("vm_resume", lifecycle.pick_many(args.vm), act)


_STATES = ("stopped", "running", "paused", "panicked")


def _wait(args: Namespace, _: Context) -> int:
    wanted = getattr(args, "for")
    seconds = parse_seconds(args.timeout, "--timeout") if args.timeout else float("inf")
    vms = lifecycle.pick_many(args.vm)

    def reached(one: vm.VM) -> bool:
        if wanted != "stopped" and lifecycle.ended(one):
            raise ShellError(f"{one.title} {one.told()} without having been {wanted}")
        return lifecycle.ended(one) if wanted == "stopped" else one.state == wanted

    left = lifecycle.wait(vms, reached, seconds)
    for one in vms:
        if one in left:
            complain(f"vm_wait: {one.title} is {one.told()}, not {wanted}, after {args.timeout}")
        else:
            say(f"{one.title} {one.told() if one.state != 'unknown' else 'is gone'}")
    return 1 if left else 0


_VMS = Arg("vm", "ids, names or beginnings of names; 'all' for every VM", values="vm", many="+")
_TIMEOUT = Arg(
    "--timeout",
    "how long the guest may take: seconds, or 5m",
    metavar="TIME",
    default=f"{lifecycle.STOP_TIMEOUT:.0f}",
)

SPECS = {
    "vm_start": Spec(
        _start,
        [Arg("vm", "ids, names, definitions; 'all' for every VM", values="startable", many="+")],
        """Starts VMs that have stopped, as they were made: the same kernel, image, options and id;
and VMs that are only defined (vm_define), by their whole name. One that runs already is left
alone, a paused one goes on.""",
        [("vm_start web", "one that was stopped before"), ("vm_start all", "every VM")],
    ),
    "vm_stop": Spec(
        _stop,
        [_VMS, _TIMEOUT, FORCE],
        """Presses the power button, waits until the guest has shut down, and keeps the VM, stopped,
for vm_start. With --force a guest that has not shut down in time is ended. Stopping what is
stopped already is no error. A guest without anybody who listens to the button (the small
busybox image) only ends with --force.""",
        [
            ("vm_stop web", "a clean shutdown"),
            ("vm_stop all --timeout 2m --force", "every VM, in two minutes at the most"),
        ],
    ),
    "vm_kill": Spec(
        _kill,
        [_VMS],
        """Ends VMs at once, as pulling the plug does, and keeps them, stopped, for vm_start or
vm_log. What the guest had not written to its image is lost.""",
        [("vm_kill 1", "now")],
    ),
    "vm_restart": Spec(
        _restart,
        [_VMS, _TIMEOUT, FORCE],
        "Stops VMs as vm_stop does and starts them as vm_start does, with the same id.",
        [("vm_restart web --force", "also when it does not shut down")],
    ),
    "vm_pause": Spec(
        _pause,
        [_VMS],
        "Stops the VMs' CPUs where they are; memory and connections stay.",
        [("vm_pause web", "and vm_resume web")],
    ),
    "vm_resume": Spec(
        _resume, [_VMS], "Lets paused VMs go on.", [("vm_resume all", "every paused VM")]
    ),
    "vm_wait": Spec(
        _wait,
        [
            _VMS,
            Arg(
                "--for",
                "stopped, running, paused or panicked",
                metavar="STATE",
                values=_STATES,
                default="stopped",
                only=True,
            ),
            Arg("--timeout", "give up after seconds, or 5m (default: never)", metavar="TIME"),
        ],
        """Waits until every VM named is in a state: stopped (ended in any way) by default. The exit
status is 1 when that did not come to pass in time, or cannot any more.""",
        [
            ("vm_wait web", "until it has ended"),
            ("vm_wait web --for running --timeout 30", "in a script, after a start"),
        ],
    ),
}
