# SPDX-License-Identifier: Apache-2.0
"""What a kernel file is: Linux, or one of the kinds of unikernel; from its first bytes and notes.

The file may be anybody's: each read is bounded, and whatever does not add up is ``unknown``.

Formats read: the ELF header, program headers and notes (System V gABI, chapters 4 and 5); the GNU
ABI tag (Linux Standard Base, 11.3.2); Hermit's notes (hermit-entry); the PVH note (Xen
docs/misc/pvh.pandoc); the multiboot header (Multiboot 0.6.96, 3.1); the bzImage header (Linux
Documentation/arch/x86/boot.rst: boot_flag 0x1fe, "HdrS" 0x202, kernel_version 0x20e); gzip (RFC
1952) and tar (POSIX ustar) for image archives.
"""

from __future__ import annotations

import contextlib
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

HERMIT = ("hermit", "hermitcore", "archive")
"""Kinds that run like programs: they have no disk, and their calls are the VMM's."""

BARE = ("multiboot", "pvh")
"""Kinds of other kernels that may do without a disk."""

_HEAD = 8192  # bytes: a multiboot header lies within them
_NOTES = 4096  # bytes of a note segment that are looked at, as hg-vmm does
_HEADERS = 64  # program headers
_PT_NOTE = 4
_STANDALONE, _ET_EXEC, _X86_64 = 255, 2, 62
_MACHINES = {183: "aarch64", 243: "riscv64"}
_BANNER = b"Linux version "
_BANNER_LIMIT = 96 << 20  # bytes of a vmlinux that are searched for its version
_CHUNK = 1 << 20
_ARCHIVE = 1 << 16  # bytes of an unpacked archive that are searched for its configuration


def identify(path: str) -> tuple[str, str]:
    """(kind, version): kind is ``vmlinux``, ``bzImage``, one of HERMIT or BARE, ``program`` (for
    Linux), ``unknown``, ``empty`` or ``unreadable``; the version may be empty.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            head = file.read(_HEAD) or b""
            return _identify(file, head) if head else ("empty", "")
    except OSError:
        return "unreadable", ""


def _identify(file: BinaryIO, head: bytes) -> tuple[str, str]:
    try:
        if head[:5] == b"\x7fELF\x02":
            return _elf64(file, head)
        if head[0x202:0x206] == b"HdrS" and head[0x1FE:0x200] == b"\x55\xaa":
            (offset,) = struct.unpack_from("<H", head, 0x20E)
            return "bzImage", _first_word(_read(file, offset + 0x200, 128)) if offset else ""
        if head[:2] == b"\x1f\x8b":
            return ("archive", "") if _is_archive(head) else ("unknown", "")
    except struct.error:
        return "unknown", ""
    return ("multiboot", "") if _is_multiboot(head) else ("unknown", "")


def _read(file: BinaryIO, offset: int, length: int) -> bytes:
    if offset >= 1 << 62:
        return b""
    file.seek(offset)
    return file.read(length) or b""


def _elf64(file: BinaryIO, head: bytes) -> tuple[str, str]:
    kind, machine = struct.unpack_from("<HH", head, 16)
    found = dict(_notes(file, head))
    if kinds := found.keys() & {"hermit", "interface", "tag"}:
        return "hermit", _hermit_version(found, machine, kinds)
    if machine != _X86_64:
        return "unknown", f"for {_MACHINES.get(machine, f'machine {machine}')}"
    if "linux" in found:
        return "program", "for Linux"
    if head[7] == _STANDALONE and kind == _ET_EXEC:
        return "hermitcore", ""
    if version := _linux_version(file):
        return "vmlinux", version
    bare = "pvh" if "pvh" in found else "multiboot" if _is_multiboot(head) else ""
    return bare or "vmlinux", ""


def _hermit_version(found: dict[str, bytes], machine: int, kinds: set[str]) -> str:
    """``0.11.0, interface 1``."""
    words = struct.unpack("<4I", found["tag"])[1:] if "tag" in kinds else ()
    interface = struct.unpack(">I", found["interface"])[0] if "interface" in kinds else 1
    name = ".".join(map(str, words)) or "before 0.10"
    foreign = "" if machine == _X86_64 else f", for {_MACHINES.get(machine, machine)}"
    return f"{name}, interface {interface}{foreign}"


def _notes(file: BinaryIO, head: bytes) -> Iterator[tuple[str, bytes]]:
    """(what it is, its descriptor) of the notes that tell something."""
    (table,) = struct.unpack_from("<Q", head, 32)
    size, count = struct.unpack_from("<HH", head, 54)
    if size != 56 or count > _HEADERS:
        return
    data = _read(file, table, size * count)
    for at in range(0, len(data) - size + 1, size):
        kind, _, offset, _, _, length = struct.unpack_from("<IIQQQQ", data, at)
        (align,) = struct.unpack_from("<Q", data, at + 48)
        if kind == _PT_NOTE:
            segment = _read(file, offset, min(length, _NOTES))
            yield from _notes_of(segment, 8 if align == 8 else 4)


def _notes_of(data: bytes, align: int) -> Iterator[tuple[str, bytes]]:
    at = 0
    while at + 12 <= len(data):
        name_size, size, kind = struct.unpack_from("<III", data, at)
        start = at + -(-(12 + name_size) // align) * align
        if start + size > len(data):
            return
        name, text = data[at + 12 : at + 12 + name_size], data[start : start + size]
        if what := _meaning(name, kind, text):
            yield what, text
        at = start + -(-size // align) * align


def _meaning(name: bytes, kind: int, text: bytes) -> str:
    if name == b"HERMIT\0" and kind == 0x5A00 and text:
        return "hermit"
    if name == b"UHYVEIF\0" and kind == 0x5B00 and len(text) == 4:
        return "interface"
    if name == b"GNU\0" and kind == 1 and len(text) == 16:
        return {b"\6\0\0\0": "tag", b"\0\0\0\0": "linux"}.get(text[:4], "")
    return "pvh" if name == b"Xen\0" and kind == 18 else ""


def _is_multiboot(head: bytes) -> bool:
    """Is there a header: three words, 4-byte aligned, that add up to nothing?"""
    at = head.find(b"\x02\xb0\xad\x1b")
    while 0 <= at <= len(head) - 12:
        words = struct.unpack_from("<3I", head, at)
        if at % 4 == 0 and sum(words) & 0xFFFFFFFF == 0:
            return True
        at = head.find(b"\x02\xb0\xad\x1b", at + 1)
    return False


def _is_archive(head: bytes) -> bool:
    """A packed tar with Hermit's configuration among its first files?"""
    import zlib

    data = b""
    with contextlib.suppress(zlib.error):
        data = zlib.decompressobj(31).decompress(head, _ARCHIVE)
    return data[257:262] == b"ustar" and b"hermit.toml\0" in data


def _linux_version(file: BinaryIO) -> str:
    file.seek(0)
    tail = b""
    for _ in range(_BANNER_LIMIT // _CHUNK):
        chunk = file.read(_CHUNK)
        if not chunk:
            break
        data = tail + chunk
        at = data.find(_BANNER)
        while at >= 0:
            word = data[at + len(_BANNER) : at + len(_BANNER) + 80]
            if word[:1].isdigit():
                return _first_word(word)
            at = data.find(_BANNER, at + 1)
        tail = data[-128:]
    return ""


def _first_word(text: bytes) -> str:
    words = text.split(b"\0", 1)[0].split()
    return words[0].decode("ascii", "replace") if words else ""
