# SPDX-License-Identifier: Apache-2.0
"""vm_list."""

from __future__ import annotations

from hypershell import vm
from hypershell.spec import JSON, QUIET, Context, Spec
from hypershell.table import dump, render, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace

_HEADER = ("ID", "NAME", "STATE", "KERNEL", "IMAGE", "CPUS", "MEMORY", "UPTIME")


def _run(args: Namespace, _: Context) -> int:
    vms = vm.listed()
    if args.json:
        dump([one.record() for one in vms])
    elif args.quiet:
        for one in vms:
            say(str(one.id))
    elif not vms:
        say("There are no VMs; 'help vm_create' shows how to make one.")
    else:
        say(render(_HEADER, [one.row() for one in vms], frozenset({0, 5, 6, 7})))
    return 0


SPECS = {
    "vm_list": Spec(
        _run,
        [JSON, QUIET],
        """States, as the VM's own process says:
  running, paused     what they say
  starting            a shell is starting it this moment
  panicked            the guest's kernel panicked; vm_console shows its end
  stopped (reason)    ended: guest-shutdown, quit, or error: and why
  crashed             its process ended without a word; vmm.log may tell
  unresponsive        its process does not answer; vm_destroy ends it""",
        [
            ("vm_list", "a table for people"),
            ("vm_list --json", "all details, sizes in bytes, for programs"),
            ("vm_list -q", "the ids only"),
        ],
    )
}
