# SPDX-License-Identifier: Apache-2.0
"""What changes how a VM is: start again, stop, kill, pause, resume; and waiting for it.

The state is always what the VM's own process says; nothing here remembers one.
"""

from __future__ import annotations

import contextlib
import os
import time

from hypershell import catalog, create, destroy, paths, qmp, start, vm
from hypershell.errors import ShellError, UsageError
from hypershell.progress import Line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

STOP_TIMEOUT = 60.0  # seconds a guest gets to shut down after its power button was pressed
_POLL = 0.1  # seconds between two looks at a state
ENDED = ("stopped", "crashed")


def tell(one: vm.VM, command: str, arguments: dict[str, object] | None = None) -> object:
    """Have the VM's process execute a QMP command; returns its answer. Raises ShellError."""
    timeout = vm.ASK_TIMEOUT * paths.timeout_scale()
    answer = qmp.ask([one.folder], [command], timeout, arguments)[one.folder]
    if command in answer.errors:
        raise ShellError(f"{one.title}: {answer.errors[command]}")
    if answer.state == "timeout":
        raise ShellError(f"{one.title} does not answer; vm_kill {one.id} ends it")
    # A process that ends while it answers has done what it was told, if it was told to end.
    if command not in answer.returns and command != "quit":
        raise UsageError(f"{one.title} does not run; vm_start {one.id} starts it")
    return answer.returns.get(command)


def pick_with_state(word: str) -> vm.VM:
    """The VM that ``word`` names, with its state."""
    one = vm.pick(word)
    vm.refresh([one])
    return one


def pick_many(words: Sequence[str]) -> list[vm.VM]:
    """The VMs that ``words`` name, each once, with their states; ``all`` names every VM."""
    if "all" in words:
        return vm.listed()
    picked = {one.id: one for one in map(vm.pick, words)}
    vms = list(picked.values())
    vm.refresh(vms)
    return vms


def wait(
    vms: Sequence[vm.VM],
    done: Callable[[vm.VM], bool],
    timeout: float,
    progress: Callable[[list[vm.VM]], None] | None = None,
) -> list[vm.VM]:
    """Wait until ``done`` holds for every VM, ``timeout`` seconds at most; those it does not."""
    deadline = time.monotonic() + timeout
    left = list(vms)
    while True:
        vm.refresh(left)
        left = [one for one in left if os.path.isdir(one.folder) and not done(one)]
        if progress is not None:
            progress(left)
        rest = deadline - time.monotonic()
        if not left or rest <= 0:
            return left
        time.sleep(min(_POLL, rest))


def ended(one: vm.VM) -> bool:
    """Has its process ended?"""
    return one.state in ENDED


def press_power(one: vm.VM) -> None:
    """Press the guest's power button; a paused guest is resumed, or it could not hear it."""
    if one.state == "paused":
        tell(one, "cont")
    tell(one, "system_powerdown")


def wait_shut_down(vms: Sequence[vm.VM], seconds: float) -> list[vm.VM]:
    """Wait for guests that were asked, with a line of progress; those that still run."""
    line = Line()
    begun = time.monotonic()

    def progress(left: list[vm.VM]) -> None:
        names = ", ".join(one.name for one in left[:4]) + (" ..." if len(left) > 4 else "")
        done, passed = len(vms) - len(left), int(time.monotonic() - begun)
        line.show(f"{done} of {len(vms)} VMs have shut down; waiting for {names} ({passed}s)")

    try:
        return wait(vms, ended, seconds * paths.timeout_scale(), progress)
    finally:
        line.clear()


def forget(one: vm.VM, ending: destroy.Ending) -> None:
    """See a VM's end and remove its folder, unless another shell starts it again this moment.

    Who starts takes the mark under the same lock: no process is left without its folder. Raises
    ShellError when the process lives on.
    """
    while True:
        if not ending.finish():
            raise ShellError("its process does not end; see vmm.log in its folder")
        with catalog.Lock():
            if not vm.is_starting(one.folder):
                vm.remove_folder(one.folder)
                return
        wait_started([one])
        ending = destroy.Ending(one.folder)
        ending.begin()


def wait_started(vms: Sequence[vm.VM]) -> None:
    """A VM that another shell is starting cannot be ended cleanly before it has started."""
    deadline = time.monotonic() + 10 * paths.timeout_scale()
    while any(vm.is_starting(one.folder) for one in vms) and time.monotonic() < deadline:
        time.sleep(0.05)


def kill(vms: Sequence[vm.VM]) -> list[vm.VM]:
    """End processes at once; the VMs stay, stopped. Returns those whose process lives on."""
    endings = [(one, destroy.Ending(one.folder)) for one in vms]
    for _, ending in endings:
        ending.begin()
    return [one for one, ending in endings if not ending.finish()]


def start_again(one: vm.VM) -> None:
    """Start a VM whose process has ended, as it was asked for. Raises ShellError.

    The folder keeps its logs; what the last run left of sockets and its end is the VMM's to clear.
    """
    asked = one.asked
    kernel, image = start.path_of(one.kernel), start.path_of(one.image)
    if not asked or not kernel:
        raise ShellError(f"{one.title}: its vm.json is damaged; vm_destroy {one.id} removes it")
    for what, path in (("kernel", kernel), ("image", image)):
        if path and not os.path.exists(path):
            raise UsageError(f"{one.title}: its {what} {path} is gone")
    with catalog.Lock():
        if not os.path.isdir(one.folder):
            raise UsageError(f"{one.title} was destroyed meanwhile")
        vm.refresh([one])
        if not ended(one):
            raise UsageError(f"{one.title} is {one.told()}")
        starting = vm.hold_starting(one.folder)
    try:
        for name in ("exit.json", "control.sock", "console.sock"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{one.folder}/{name}")
        code, reason = start.start(start.command(asked, one.folder))
    finally:
        os.close(starting)
    if code:
        failure = create.failure(code, reason)
        # Without exit.json the VM would be taken for crashed.
        with contextlib.suppress(OSError):
            left = {"reason": "error", "message": str(failure)}
            catalog.write_json(one.folder + "/exit.json", left)
        raise failure
    vm.forget_starting(one.folder)
