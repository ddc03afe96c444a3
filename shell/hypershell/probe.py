# SPDX-License-Identifier: Apache-2.0
"""A longer look into kernels and images than the lists take."""

from __future__ import annotations

import os
import struct

from hypershell import files

_PVH_NOTE = 18  # XEN_ELFNOTE_PHYS32_ENTRY
_NOTES_LIMIT = 1 << 20
_PT_NOTE = 4


def boot_protocol(path: str) -> str:
    """How the VMM enters a kernel, for people; ``unknown`` where it has no way."""
    kind, _ = files.kernel_kind(path)
    if kind == "vmlinux":
        return "64-bit entry" + (", PVH" if _has_pvh(path) else "")
    if kind == "bzImage":
        with open(path, "rb", buffering=0) as file:
            head = file.read(0x240)
        version, flags = struct.unpack_from("<H", head, 0x206)[0], head[0x236]
        entry = "64-bit entry" if flags & 1 else "32-bit entry"
        return f"Linux boot protocol {version >> 8}.{version & 0xFF:02d}, {entry}"
    return kind


def _has_pvh(path: str) -> bool:
    """Has an ELF64 file Xen's note with the PVH entry? (Linux, include/xen/interface/elfnote.h)"""
    try:
        with open(path, "rb", buffering=0) as file:
            head = file.read(64)
            at, size, count = (
                struct.unpack_from("<Q", head, 32)[0],
                *struct.unpack_from("<HH", head, 54),
            )
            if size < 56 or count > 128:
                return False
            file.seek(at)
            table = file.read(size * count)
            for index in range(len(table) // size):
                kind, _, where, _, _, length = struct.unpack_from("<IIQQQQ", table, index * size)
                if kind == _PT_NOTE and length <= _NOTES_LIMIT:
                    file.seek(where)
                    if _note(file.read(length)):
                        return True
    except (OSError, struct.error):
        pass
    return False


def _note(notes: bytes) -> bool:
    at = 0
    while at + 12 <= len(notes):
        name_size, size, kind = struct.unpack_from("<III", notes, at)
        name = notes[at + 12 : at + 12 + name_size]
        if kind == _PVH_NOTE and name == b"Xen\0":
            return True
        at += 12 + (name_size + 3 & ~3) + (size + 3 & ~3)
    return False


def past_the_end(path: str, size: int) -> list[str]:
    """What of an image's partitions or file system lies behind its last byte."""
    kind = files.image_kind(path)
    try:
        with open(path, "rb", buffering=0) as file:
            head = file.read(0x800)
            if kind in ("ext2", "ext3", "ext4"):
                return _ext(head, size)
            if kind == "gpt":
                return _gpt(file.fileno(), head, size)
    except (OSError, struct.error) as error:
        return [f"it cannot be read: {error}"]
    if kind == "mbr":
        return [
            f"partition {number} ends behind the image's last byte"
            for number in range(1, 5)
            if _mbr_end(head, number) > size
        ]
    return []


def _mbr_end(head: bytes, number: int) -> int:
    first, sectors = struct.unpack_from("<II", head, 0x1BE + 16 * (number - 1) + 8)
    return (first + sectors) * 512 if sectors else 0


def _ext(head: bytes, size: int) -> list[str]:
    """The superblock (Linux, Documentation/filesystems/ext4/super.rst): blocks, and their size."""
    low, shift = (struct.unpack_from("<I", head, 0x400 + at)[0] for at in (4, 24))
    incompatible = struct.unpack_from("<I", head, 0x400 + 0x60)[0]
    high = struct.unpack_from("<I", head, 0x400 + 0x150)[0] if incompatible & 0x80 else 0
    length = (high << 32 | low) << (10 + min(shift, 6))
    if length > size:
        return [f"its file system has {length} bytes, the image {size}: it was cut"]
    return []


def _gpt(fd: int, head: bytes, size: int) -> list[str]:
    """The header and the table of a GPT (UEFI 2.10, 5.3.2, 5.3.3): their checksums, their ends."""
    import zlib

    header = bytearray(os.pread(fd, 92, 512))
    length, told = struct.unpack_from("<II", header, 12)
    backup = struct.unpack_from("<Q", header, 32)[0]
    if length != 92:
        return ["its GPT header has an odd length"]
    header[16:20] = bytes(4)
    problems = []
    if zlib.crc32(header) != told:
        problems.append("the checksum of its GPT header is wrong")
    first, count, entry, told = struct.unpack_from("<QIII", header, 72)
    if not 128 <= entry <= 4096 or count > 1024:
        return [*problems, "its GPT has an impossible table"]
    table = os.pread(fd, count * entry, first * 512)
    if zlib.crc32(table) != told:
        problems.append("the checksum of its partition table is wrong")
    if (backup + 1) * 512 > size:
        problems.append("its GPT's copy lies behind the image's last byte: it was cut")
    for number in range(len(table) // entry):
        last = struct.unpack_from("<Q", table, number * entry + 40)[0]
        if any(table[number * entry : number * entry + 16]) and (last + 1) * 512 > size:
            problems.append(f"partition {number + 1} ends behind the image's last byte")
    return problems
