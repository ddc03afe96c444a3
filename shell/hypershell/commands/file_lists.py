# SPDX-License-Identifier: Apache-2.0
"""kernel_list and image_list."""

from __future__ import annotations

from hypershell import figures, files, paths, vm
from hypershell.errors import ShellError
from hypershell.spec import LISTING, Context, Spec
from hypershell.table import Listing, complain, dump, say, show
from hypershell.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace


def _list(kind: str, args: Namespace) -> int:
    try:
        found = files.scan(kind)
    except ShellError as error:
        if args.json:
            dump([])
        complain(f"{kind}_list: {error}")
        return error.code
    if args.quiet and not args.json:
        for file in found:
            say(str(file.id))
        return 0
    vms = vm.listed()
    records = [_record(file, vms) for file in found]
    nothing = f"No {kind}s in {paths.folder(kind)}; copy files there, they show up at once."
    if kind == "kernel":
        rows = [_kernel_row(file, record) for file, record in zip(found, records, strict=True)]
        header, right = ("ID", "NAME", "KIND", "VERSION", "SIZE", "USED BY"), frozenset({0, 4})
    else:
        rows = [_image_row(file, record) for file, record in zip(found, records, strict=True)]
        header = ("ID", "NAME", "SIZE", "ALLOCATED", "HOLDS", "USED BY")
        right = frozenset({0, 2, 3})
    show(Listing(header, rows, records, right=right, nothing=nothing), args)
    return 0


def _record(file: files.File, vms: list[vm.VM]) -> dict[str, object]:
    record: dict[str, object] = {
        "id": file.id,
        "name": file.name,
        "path": file.path,
        "size": file.size,
        "allocated": file.allocated,
    }
    if file.kind == "kernel":
        kind, version = files.kernel_kind(file.path)
        record |= {"kind": kind, "version": version or None}
    else:
        record["holds"] = files.image_kind(file.path)
    users = vm.users(vms, file.key, file.kind)
    record["used_by"] = [
        {"id": one.id, "name": one.name}
        | ({"read_only": one.read_only} if file.kind == "image" else {})
        for one in users
    ]
    return record


def _users(record: dict[str, object], way: bool) -> str:
    """The VMs of a record, with the way that they use the file."""
    names = []
    for one in figures.as_objects(record["used_by"]):
        names.append(f"VM {one['id']}")
        if way:
            names[-1] += " (ro)" if one["read_only"] else " (rw)"
    return ", ".join(names) or "-"


def _kernel_row(file: files.File, record: dict[str, object]) -> list[str]:
    told = [str(file.id), file.name, str(record["kind"]), str(record["version"] or "-")]
    return [*told, human_size(file.size), _users(record, way=False)]


def _image_row(file: files.File, record: dict[str, object]) -> list[str]:
    sizes = [human_size(file.size), human_size(file.allocated)]
    return [str(file.id), file.name, *sizes, str(record["holds"]), _users(record, way=True)]


def _kernels(args: Namespace, _: Context) -> int:
    return _list("kernel", args)


def _images(args: Namespace, _: Context) -> int:
    return _list("image", args)


SPECS = {
    "kernel_list": Spec(
        _kernels,
        [*LISTING],
        """The files in the host's folder of guest kernels (guest_kernel= on its command line),
looked at anew each time. An id stays with its file while the host runs. KIND is read from
the file: vmlinux (64-bit ELF, starts fastest), bzImage, or unknown.""",
        [("kernel_list", "a table for people"), ("kernel_list --json", "the same for programs")],
    ),
    "image_list": Spec(
        _images,
        [*LISTING],
        """The files in the host's folder of raw disk images (guest_image= on its command line),
looked at anew each time. An id stays with its file while the host runs. ALLOCATED is what a
sparse file takes on the disk; HOLDS is a hint read from the image: a file system, gpt, mbr
or raw. USED BY says which VMs write (rw) or only read (ro) it: one writing VM, or any number
of readers.""",
        [("image_list", "a table for people"), ("image_list --json", "the same for programs")],
    ),
}
