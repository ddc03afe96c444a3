# SPDX-License-Identifier: Apache-2.0
"""Guest kernels and images: the files in their two folders, and what their first bytes tell.

Formats read: those of kernels.py; the MBR and the GPT (UEFI 2.10, 5.3); the magic numbers of file
systems.
"""

from __future__ import annotations

import os
import stat
import struct

from hypershell import catalog, paths, status
from hypershell.choose import choose
from hypershell.errors import ShellError

_ROOT_X86_64 = bytes.fromhex("e3bc684fcde8b14d96e7fbcaf984b709")  # GPT type "Linux root (x86-64)"
_LINUX_DATA = bytes.fromhex("af3dc60f838472478e793d69d8477de4")  # GPT type "Linux filesystem"


class File:
    """A guest kernel or image: ``id`` stays, ``name`` is the file's, sizes in bytes."""

    def __init__(self, kind: str, number: int, path: str, info: os.stat_result) -> None:
        self.kind, self.id, self.path = kind, number, path
        self.name = os.path.basename(path)
        self.size = info.st_size
        self.allocated = info.st_blocks * 512
        self.key = (info.st_dev, info.st_ino)


def folder_problem(kind: str) -> str:
    """Why the folder of ``kind`` cannot be listed; empty when it can."""
    path = paths.folder(kind)
    try:
        os.listdir(path)
        return ""
    except OSError as error:
        reason = error.strerror or str(error)
    for topic, state, message in status.topics():
        if topic in (f"guest_{kind}", "root") and state not in ("ok", "none"):
            return f"no {kind} folder: {topic} {state}: {message or reason}"
    where = f"guest_{kind}=DIR on the host's command line"
    if not paths.on_host():
        where = f"hypershell --guest-{kind} DIR"
    return f"no {kind} folder {path}: {reason}; name it with {where} or HYPERGEN_{kind.upper()}S"


def scan(kind: str) -> list[File]:
    """The files in the folder of ``kind``, by id. Raises ShellError when it cannot be read."""
    problem = folder_problem(kind)
    if problem:
        raise ShellError(problem)
    found: dict[str, os.stat_result] = {}
    folder = os.path.abspath(paths.folder(kind))
    for name in os.listdir(folder):
        path = f"{folder}/{name}"
        try:
            info = os.stat(path)
        except OSError:
            continue  # gone meanwhile, or a link to nothing
        if not name.startswith(".") and (stat.S_ISREG(info.st_mode) or stat.S_ISBLK(info.st_mode)):
            found[path] = info
    numbers = catalog.numbers(kind, found)
    return sorted((File(kind, numbers[p], p, i) for p, i in found.items()), key=lambda f: f.id)


def pick(kind: str, word: str) -> File:
    """The kernel or image that ``word`` (id, name or unique prefix of a name) means.

    Raises UsageError naming the candidates.
    """
    files = scan(kind)

    def unknown(shown: str) -> str:
        if not files:
            return f": {paths.folder(kind)} has no files"
        return f"; there are {shown}; {kind}_list shows them all"

    return choose(kind, word, files, unknown, lambda one: one.name, lambda one: one.id)


def _read(path: str, length: int, offset: int = 0) -> bytes:
    with open(path, "rb", buffering=0) as file:
        file.seek(offset)
        return file.read(length) or b""


def kernel_kind(path: str) -> tuple[str, str]:
    """(kind, version or empty): see kernels.identify."""
    from hypershell import kernels

    return kernels.identify(path)


_MAGIC = (  # offset, bytes, name
    (0, b"QFI\xfb", "qcow2"),
    (0, b"KDMV", "vmdk"),
    (0, b"XFSB", "xfs"),
    (0, b"hsqs", "squashfs"),
    (0x10040, b"_BHRfS_M", "btrfs"),
    (0x8001, b"CD001", "iso9660"),
    (0x400, b"\x10\x20\xf5\xf2", "f2fs"),
    (0x200, b"LABELONE", "lvm"),
    (4086, b"SWAPSPACE2", "swap"),
    (0x52, b"FAT32", "vfat"),
    (0x36, b"FAT1", "vfat"),
)
NOT_RAW = ("qcow2", "vmdk")  # containers of another format: a guest would see garbage


def image_kind(path: str) -> str:
    """A hint at what an image holds: a file system, ``gpt``, ``mbr``, ``raw``, ``empty``…"""
    try:
        head = _read(path, 0x10080)
    except OSError:
        return "unreadable"
    return _holds(head) if head else "empty"


def _holds(head: bytes) -> str:
    if head[0x200:0x208] == b"EFI PART":
        return "gpt"
    if head[0x438:0x43A] == b"\x53\xef":
        return _ext(head)
    for offset, magic, name in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return name
    if head[0x1FE:0x200] == b"\x55\xaa" and any(n for n, _, _ in _mbr(head)):
        return "mbr"
    return "raw"


def _ext(head: bytes) -> str:
    compatible, incompatible = struct.unpack_from("<II", head, 0x400 + 0x5C)
    if incompatible & 0x2C0:  # extents, 64-bit, flexible block groups
        return "ext4"
    return "ext3" if compatible & 0x4 else "ext2"


def _mbr(head: bytes) -> list[tuple[int, int, int]]:
    """(number, type, sectors) of the used primary partitions."""
    entries = []
    for i in range(4):
        at = 0x1BE + 16 * i
        if len(head) >= at + 16 and head[at + 4] and head[at] in (0, 0x80):
            entries.append((i + 1, head[at + 4], struct.unpack_from("<I", head, at + 12)[0]))
    return entries


def root_device(path: str) -> str:
    """The guest's device that most likely holds its root file system: /dev/vda or a partition."""
    kind = image_kind(path)
    number = 0
    try:
        if kind == "mbr":
            linux = [(size, n) for n, type_, size in _mbr(_read(path, 512)) if type_ == 0x83]
            number = max(linux)[1] if linux else 1
        elif kind == "gpt":
            number = _gpt_root(path)
    except (OSError, struct.error):
        number = 0
    return f"/dev/vda{number or ''}"


def _gpt_root(path: str) -> int:
    header = _read(path, 92, 512)
    first, count, size = struct.unpack_from("<QII", header, 72)
    if not 128 <= size <= 4096 or count > 1024:
        return 1
    table = _read(path, count * size, first * 512)
    best = (0, 0, 1)  # (is a root type, sectors, number)
    for i in range(len(table) // size):
        entry = table[i * size : (i + 1) * size]
        start, end = struct.unpack_from("<QQ", entry, 32)
        if entry[:16] in (_ROOT_X86_64, _LINUX_DATA):
            best = max(best, (int(entry[:16] == _ROOT_X86_64), end - start + 1, i + 1))
    return best[2]
