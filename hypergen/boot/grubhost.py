# SPDX-License-Identifier: Apache-2.0
"""What a menu entry must know of the machine it is installed on: file systems and their names."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hypergen import run
from hypergen.boot import grubcfg
from hypergen.errors import BuildError, UserError

# File systems that the host's kernel has, with the GRUB module that reads each.
FILE_SYSTEMS = {"ext2": "ext2", "ext3": "ext2", "ext4": "ext2", "xfs": "xfs", "vfat": "fat"}
GRUB_ONLY = {"btrfs": "btrfs", "f2fs": "f2fs", "zfs": "zfs"}


@dataclass(frozen=True)
class Mount:
    """A mounted file system.

    Attributes:
        target: where it is mounted.
        source: its device.
        uuid: empty when it has none that can be read.
        fsroot: the folder of it that is mounted; ``/`` but for bind mounts and subvolumes.
        kind: lsblk's type of the device: ``part``, ``lvm``, ``crypt``, …; empty when unknown.
    """

    target: Path
    source: str
    fstype: str
    uuid: str
    fsroot: str = "/"
    kind: str = ""


def _ask(argv: list[str | Path]) -> str:
    """A program's first line of output; empty when it failed or is missing."""
    if run.which(str(argv[0])) is None:
        return ""
    try:
        return (run.capture(argv).splitlines() or [""])[0].strip()
    except BuildError:
        return ""


def mount_of(path: Path) -> Mount:
    """The file system that holds `path`, or will once the path exists.

    Raises:
        UserError: findmnt is missing or does not know.
    """
    existing = path
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    try:
        text = run.capture(
            ["findmnt", "-J", "-o", "TARGET,SOURCE,FSTYPE,UUID,FSROOT", "-T", existing.resolve()]
        )
        found = json.loads(text)["filesystems"][-1]
    except (BuildError, ValueError, LookupError):
        raise UserError(f"{path}: cannot find out which file system holds it") from None
    source = str(found["source"] or "").split("[")[0]
    uuid = found["uuid"] or _ask(["blkid", "-s", "UUID", "-o", "value", source])
    return Mount(
        target=Path(found["target"]),
        source=source,
        fstype=str(found["fstype"]),
        uuid=str(uuid or ""),
        fsroot=str(found["fsroot"] or "/"),
        kind=_ask(["lsblk", "-dno", "TYPE", source]),
    )


def inside(path: Path, mount: Mount) -> str:
    """`path` as it is called on the file system itself, whatever that is mounted on."""
    relative = path.resolve().relative_to(mount.target.resolve())
    return str(PurePosixPath(mount.fsroot) / relative)


def root_of(mount: Mount) -> str:
    """The value of ``root=`` with which the host finds `mount`.

    Raises:
        UserError: the host cannot mount it.
    """
    hint = "give --root, and guest folders that lie on that file system"
    if mount.kind == "crypt":
        raise UserError(f"{mount.source} is encrypted; hyper-gen cannot open it", hint=hint)
    if mount.fstype not in FILE_SYSTEMS:
        known = ", ".join(("ext4", "xfs", "vfat"))
        raise UserError(
            f"{mount.target} is {mount.fstype}; hyper-gen's kernel mounts {known}", hint=hint
        )
    # The mapper's name says to the host that it has to activate a volume group.
    if mount.kind == "lvm" and mount.source.startswith("/dev/mapper/"):
        return mount.source
    return f"UUID={mount.uuid}" if mount.uuid else mount.source


def locate(
    root: str | None, folders: dict[str, Path | None], anchor: Path = Path("/")
) -> tuple[str, dict[str, str | None]]:
    """Settle ``root=`` and what the guest folders are called on it.

    Args:
        root: as the user gave it, or None to take the file system that holds the folders.
        folders: the folders of guests, as paths of this machine; with `root` given, as paths on it.
        anchor: the file system taken when there is no folder.

    Raises:
        UserError: the folders lie on different file systems, or on one that cannot be mounted.
    """
    if root is not None:
        for folder in filter(None, folders.values()):
            if not folder.is_absolute():
                raise UserError(f"{folder}: give the folder's whole path on {root}")
        return root, {key: str(folder) if folder else None for key, folder in folders.items()}
    mounts = {key: mount_of(folder.absolute()) for key, folder in folders.items() if folder}
    chosen = next(iter(mounts.values()), None) or mount_of(anchor)
    for mount in mounts.values():
        if mount.source != chosen.source:
            raise UserError(
                f"the guest folders are on {chosen.source} and {mount.source}",
                hint="both must be on one file system, the one that root= names",
            )
    names = {
        key: inside(folder.absolute(), mounts[key]) if folder else None
        for key, folder in folders.items()
    }
    return root_of(chosen), names


def entry_for(
    image: Path, arguments: tuple[str, ...], *, title: str = "hyper-gen"
) -> grubcfg.Entry:
    """The menu entry for a bzImage at `image` on this machine, /boot of its own or not."""
    mount = mount_of(image)
    module = FILE_SYSTEMS.get(mount.fstype) or GRUB_ONLY.get(mount.fstype)
    modules = ["part_gpt", "part_msdos", *([module] if module else [])]
    if mount.kind == "lvm":
        modules.append("lvm")
    elif mount.kind.startswith("raid"):
        modules += ["diskfilter", "mdraid1x", "mdraid09"]
    return grubcfg.Entry(
        image=inside(image, mount),
        arguments=arguments,
        title=title,
        fs_uuid=mount.uuid,
        modules=tuple(modules),
    )
