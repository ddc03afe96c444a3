# SPDX-License-Identifier: Apache-2.0
"""vm_snapshot, vm_restore, vm_clone, snapshot_list and snapshot_rm."""

from __future__ import annotations

import os
import time

from hypershell import snapshots, vm
from hypershell.choose import each
from hypershell.errors import UsageError
from hypershell.spec import LISTING, Arg, Context, Spec
from hypershell.table import Listing, say, show
from hypershell.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace


def _name(one: vm.VM) -> str:
    """A name that says of what and when; a second one in a second is counted."""
    moment = f"{one.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    name, number = moment, 1
    while os.path.lexists(f"{snapshots.root()}/{name}"):
        number += 1
        name = f"{moment}-{number}"
    return name


def _snapshot(args: Namespace, _: Context) -> int:
    one = vm.pick(args.vm)
    saved = snapshots.take(one, args.name or _name(one))
    say(f"{one.title} saved as {saved.name} ({human_size(saved.size())})")
    return 0


def _restored(snapshot: snapshots.Snapshot, name: str | None) -> vm.VM:
    one = snapshots.restore(snapshot, name)
    say(
        f"VM {one.id} ({one.name}) goes on from {snapshot.name}; vm_console {one.id} attaches to it"
    )
    return one


def _restore(args: Namespace, _: Context) -> int:
    snapshot = snapshots.pick(args.snapshot)
    for _number in range(_count(args.count)):
        _restored(snapshot, args.name)
    return 0


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= 1000):
        raise UsageError(f"--count {text}: from 1 to 1000")
    return int(text)


def _clone(args: Namespace, _: Context) -> int:
    one = vm.pick(args.vm)
    snapshot = snapshots.take(one, _name(one))
    _restored(snapshot, args.name)
    return 0


def _list(args: Namespace, _: Context) -> int:
    found = snapshots.known()
    rows, records = [], []
    for one in found:
        users = [user.id for user in snapshots.users(one)]
        size, memory = one.size(), one.asked.get("memory")
        created = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one.created))
        of = str(one.asked.get("name", "?"))
        used_by = ", ".join(f"VM {user}" for user in users) or "-"
        rows.append([one.name, of, created, human_size(size), used_by])
        records.append(
            {
                "name": one.name,
                "of": of,
                "created": one.created,
                "size": size,
                "memory": memory,
                "used_by": users,
            }
        )
    nothing = f"No snapshots in {snapshots.root()}; vm_snapshot makes one."
    header = ("NAME", "OF", "CREATED", "SIZE", "USED BY")
    show(Listing(header, rows, records, right=frozenset({3}), nothing=nothing), args)
    return 0


def _rm(args: Namespace, _: Context) -> int:
    def act(word: str) -> str:
        one = snapshots.pick(word)
        if users := snapshots.users(one):
            names = ", ".join(user.title for user in users)
            raise UsageError(f"{names} lives on its files; vm_destroy comes first")
        vm.remove_folder(one.folder)
        return f"snapshot {one.name} removed"

    code = 0
    for word in args.snapshot:
        code = max(code, each(f"snapshot_rm: {word}", [word], act))
    return code


_VM = Arg("vm", "id, name or beginning of a name", values="vm")
_SNAPSHOT = Arg("snapshot", "name or beginning of a name, see snapshot_list", values="snapshot")

SPECS = {
    "vm_snapshot": Spec(
        _snapshot,
        [_VM, Arg("name", "of the snapshot (default: the VM's and the time)", many="?")],
        """Saves a VM as it is this moment: memory, devices and disk. It stands still meanwhile and
goes on afterwards. The disk is copied (shared blocks where the file system can, see
image_clone); of a VM that only reads its image, it is not.""",
        [("vm_snapshot web before-upgrade", "vm_restore before-upgrade goes back there")],
    ),
    "vm_restore": Spec(
        _restore,
        [
            _SNAPSHOT,
            Arg("--name", "of the new VM (default: vm and the id)"),
            Arg("--count", "that many VMs at once", metavar="N", default="1"),
        ],
        """Makes a VM that goes on where a snapshot was taken. Any number can go on from one: each
has memory of its own as far as it writes, and an overlay for its disk, which goes with
vm_destroy. A guest's network card keeps its address: two on one bridge get in each other's way
until one of them changes it.""",
        [
            ("vm_restore before-upgrade --name web2", "beside the first"),
            ("vm_restore w --count 9", ""),
        ],
    ),
    "vm_clone": Spec(
        _clone,
        [_VM, Arg("--name", "of the new VM (default: vm and the id)")],
        "Saves a VM and makes a second one go on from there: vm_snapshot and vm_restore in one.",
        [("vm_clone web --name web2", "")],
    ),
    "snapshot_list": Spec(
        _list,
        [*LISTING],
        "The snapshots that are there, of which VM, when they were made and who lives on them.",
        [("snapshot_list", "")],
    ),
    "snapshot_rm": Spec(
        _rm,
        [Arg("snapshot", "names or beginnings of names", values="snapshot", many="+")],
        "Removes snapshots that no VM lives on.",
        [("snapshot_rm before-upgrade", "")],
    ),
}
