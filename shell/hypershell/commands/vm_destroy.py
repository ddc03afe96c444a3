# SPDX-License-Identifier: Apache-2.0
"""vm_destroy."""

from __future__ import annotations

import time

from hypershell import catalog, paths, snapshots, vm
from hypershell.destroy import Ending
from hypershell.errors import ShellError, UsageError
from hypershell.spec import Arg, Context, Spec
from hypershell.table import complain, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace


def _pick(words: list[str]) -> list[vm.VM]:
    """The VMs meant, each once; an id that was in use before is said to be gone, not unknown."""
    if "all" in words:
        return vm.known()
    picked: dict[int, vm.VM] = {}
    for word in words:
        try:
            one = vm.pick(word)
        except UsageError:
            if word.isascii() and word.isdigit() and 0 < int(word) < catalog.next_vm_id():
                say(f"VM {int(word)} is gone already")
                continue
            raise
        picked[one.id] = one
    return list(picked.values())


def _wait_started(vms: list[vm.VM]) -> None:
    """A VM that another shell is starting cannot be ended cleanly before it has started."""
    deadline = time.monotonic() + 10 * paths.timeout_scale()
    while any(vm.is_starting(one.folder) for one in vms) and time.monotonic() < deadline:
        time.sleep(0.05)


def _forget(one: vm.VM, ending: Ending) -> None:
    """See a VM's end and remove its folder, unless another shell starts it again this moment.

    Who starts takes the mark under the same lock: no process is left without its folder.
    """
    while True:
        if not ending.finish():
            raise ShellError("its process does not end; see vmm.log in its folder")
        with catalog.Lock():
            if not vm.is_starting(one.folder):
                vm.remove_folder(one.folder)
                return
        _wait_started([one])
        ending = Ending(one.folder)
        ending.begin()


def _run(args: Namespace, _: Context) -> int:
    vms = _pick(args.vm)
    if not vms and "all" in args.vm:
        say("There are no VMs.")
    _wait_started(vms)
    endings = [(one, Ending(one.folder)) for one in vms]
    for _one, ending in endings:
        ending.begin()
    code = 0
    for one, ending in endings:
        try:
            _forget(one, ending)
            snapshots.remove_overlay(one.image)
            say(f"{one.title} destroyed")
        except (ShellError, OSError) as error:
            complain(f"vm_destroy: {one.title}: {error}")
            code = 1
    return code


SPECS = {
    "vm_destroy": Spec(
        _run,
        [Arg("vm", "ids, names or beginnings of names; 'all' for every VM", values="vm", many="+")],
        """Ends VMs at once, as pulling the plug does, and forgets them; their images stay. To lose
nothing, run poweroff in the guest first. A VM that ended by itself is only forgotten.""",
        [("vm_destroy 1", "one VM"), ("vm_destroy web db", "two"), ("vm_destroy all", "every VM")],
    )
}
