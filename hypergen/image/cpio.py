# SPDX-License-Identifier: Apache-2.0
"""Write and read initramfs archives: cpio, "newc" format.

The format is that of the kernel's ``Documentation/driver-api/early-userspace/buffer-format.rst``:
a 110-byte header of ASCII hexadecimal fields, the name with a NUL, then the data, each padded to 4
bytes; the entry ``TRAILER!!!`` ends the archive. Writing needs no root: owners, modes and device
numbers are only written down.

The same entries give the same bytes: entries are sorted by path, every time stamp is 0, every owner
root, inode numbers count from 1. Hard links are not written; the kernel's unpacker would join
files of equal inode number otherwise.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hypergen.errors import UserError

_MAGIC = b"070701"
_TRAILER = "TRAILER!!!"
_HEADER = 110
_FIELDS = 13
_PATH_MAX = 4096  # the kernel's limit for a name with its NUL


@dataclass(frozen=True)
class Entry:
    """One file of an archive.

    Attributes:
        path: relative to the root, no leading slash, no ``.`` or ``..``.
        mode: type and permission bits as in ``st_mode``.
        data: contents of a regular file, target of a symbolic link, else empty.
        device: (major, minor) of a device node, else (0, 0).
    """

    path: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


class Archive:
    """The entries of an archive to be written; parent folders appear by themselves (0755)."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}

    def __contains__(self, path: str) -> bool:
        return path.strip("/") in self._entries

    def __iter__(self) -> Iterator[Entry]:
        # By components, so that a folder comes right before what it holds.
        for path in sorted(self._entries, key=lambda name: name.split("/")):
            yield self._entries[path]

    def get(self, path: str) -> Entry | None:
        """The entry at `path`, or None."""
        return self._entries.get(path.strip("/"))

    def _add(self, entry: Entry) -> None:
        path = entry.path
        parts = path.split("/")
        if not path or any(part in ("", ".", "..") for part in parts):
            raise UserError(f"initramfs: {path!r} is not a path inside the archive")
        if path == _TRAILER or len(path.encode()) >= _PATH_MAX or "\0" in path:
            raise UserError(f"initramfs: {path[:80]!r} cannot be a name in the archive")
        old = self._entries.get(path)
        if old is not None and old != entry:
            raise UserError(
                f"initramfs: /{path} is given twice, differently",
                hint="each path of the manifest and the overlay may have one origin",
            )
        for depth in range(1, len(parts)):
            parent = "/".join(parts[:depth])
            above = self._entries.setdefault(parent, Entry(parent, stat.S_IFDIR | 0o755))
            if not stat.S_ISDIR(above.mode):
                raise UserError(f"initramfs: /{path}: /{parent} is not a directory")
        self._entries[path] = entry

    def directory(self, path: str, permissions: int = 0o755) -> None:
        """Add a directory; one that was only implied takes these permissions."""
        path = path.strip("/")
        old = self._entries.get(path)
        if old is not None and stat.S_ISDIR(old.mode):
            del self._entries[path]
        self._add(Entry(path, stat.S_IFDIR | permissions))

    def file(self, path: str, data: bytes, permissions: int = 0o644) -> None:
        """Add a regular file."""
        self._add(Entry(path.strip("/"), stat.S_IFREG | permissions, data))

    def symlink(self, path: str, target: str) -> None:
        """Add a symbolic link."""
        self._add(Entry(path.strip("/"), stat.S_IFLNK | 0o777, target.encode()))

    def node(self, path: str, kind: str, major: int, minor: int, permissions: int) -> None:
        """Add a device node; `kind` is ``c`` (character) or ``b`` (block)."""
        file_type = {"c": stat.S_IFCHR, "b": stat.S_IFBLK}[kind]
        self._add(Entry(path.strip("/"), file_type | permissions, b"", (major, minor)))

    def serialise(self) -> bytes:
        """The archive's bytes."""
        out = bytearray()
        inode = 0
        for inode, entry in enumerate(self, start=1):
            _append(out, entry, inode)
        _append(out, Entry(_TRAILER, 0), 0)
        out += bytes(-len(out) % 512)
        return bytes(out)


def _append(out: bytearray, entry: Entry, inode: int) -> None:
    name = entry.path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    fields = (inode, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, *entry.device, len(name), 0)
    out += _MAGIC + b"".join(b"%08X" % field for field in fields)
    out += name
    out += bytes(-len(out) % 4)
    out += entry.data
    out += bytes(-len(out) % 4)


def read(path: Path) -> list[Entry]:
    """Read an archive back, in its own order.

    Raises:
        UserError: not a newc archive, or cut short.
    """
    raw = path.read_bytes()
    entries: list[Entry] = []
    at = 0
    while True:
        header = raw[at : at + _HEADER]
        if len(header) < _HEADER or header[:6] != _MAGIC:
            raise UserError(f"{path}: not a newc cpio archive (offset {at})")
        try:
            field = [int(header[6 + 8 * i : 14 + 8 * i], 16) for i in range(_FIELDS)]
        except ValueError:
            raise UserError(f"{path}: damaged cpio header (offset {at})") from None
        mode, size, name_size = field[1], field[6], field[11]
        name_end = at + _HEADER + name_size
        start = name_end + -name_end % 4
        name = raw[at + _HEADER : name_end - 1].decode("utf-8", "surrogateescape")
        if name == _TRAILER:
            return entries
        if start + size > len(raw):
            raise UserError(f"{path}: cut short in {name}")
        entries.append(Entry(name, mode, raw[start : start + size], (field[9], field[10])))
        at = start + size + -size % 4
