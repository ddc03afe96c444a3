# SPDX-License-Identifier: Apache-2.0
"""vm_destroy."""

from __future__ import annotations

from hypershell import catalog, lifecycle, snapshots, vm
from hypershell.choose import each
from hypershell.destroy import Ending
from hypershell.errors import UsageError
from hypershell.spec import Arg, Context, Spec
from hypershell.table import say

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


def _run(args: Namespace, _: Context) -> int:
    vms = _pick(args.vm)
    if not vms and "all" in args.vm:
        say("There are no VMs.")
    lifecycle.wait_started(vms)
    endings = [(one, Ending(one.folder)) for one in vms]
    for _one, ending in endings:
        ending.begin()
    code = 0
    for one, ending in endings:
        code = max(code, each(f"vm_destroy: {one.title}", [(one, ending)], _end))
    return code


def _end(what: tuple[vm.VM, Ending]) -> str:
    one, ending = what
    lifecycle.forget(one, ending)
    snapshots.remove_overlay(one.image)
    return f"{one.title} destroyed"


SPECS = {
    "vm_destroy": Spec(
        _run,
        [Arg("vm", "ids, names or beginnings of names; 'all' for every VM", values="vm", many="+")],
        """Ends VMs at once, as pulling the plug does, and forgets them; their images stay. To lose
nothing, run poweroff in the guest first. A VM that ended by itself is only forgotten.""",
        [("vm_destroy 1", "one VM"), ("vm_destroy web db", "two"), ("vm_destroy all", "every VM")],
    )
}
