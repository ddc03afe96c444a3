# SPDX-License-Identifier: Apache-2.0
"""vm_list."""

from __future__ import annotations

from hypershell import vm
from hypershell.spec import LISTING, Context, Spec
from hypershell.table import Listing, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace

_HEADER = ("ID", "NAME", "STATE", "KERNEL", "IMAGE", "CPUS", "MEMORY", "UPTIME")


def _run(args: Namespace, _: Context) -> int:
    vms = vm.listed()
    rows, records = [one.row() for one in vms], [one.record() for one in vms]
    nothing = "There are no VMs; 'help vm_create' shows how to make one."
    show(Listing(_HEADER, rows, records, right=frozenset({0, 5, 6, 7}), nothing=nothing), args)
    return 0


SPECS = {
    "vm_list": Spec(
        _run,
        [*LISTING],
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
