# SPDX-License-Identifier: Apache-2.0
"""What the dynamic section of an ELF file says it needs, and the closure of shared libraries.

Format: System V ABI, "Object Files" and "Dynamic Linking"; only 64-bit little-endian files.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from hypergen.errors import UserError

_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NULL, _DT_NEEDED, _DT_STRTAB, _DT_STRSZ, _DT_SONAME = 0, 1, 5, 10, 14
_CLASS64_LITTLE = b"\x7fELF\x02\x01"


@dataclass(frozen=True)
class Dynamic:
    """The names in a dynamic section: libraries needed, own soname, and the interpreter."""

    needed: tuple[str, ...]
    soname: str | None
    interpreter: str | None


def is_elf(data: bytes) -> bool:
    """Whether `data` begins as an ELF file that :func:`dynamic` understands."""
    return data[:6] == _CLASS64_LITTLE


def _string(data: bytes, offset: int) -> str:
    return data[offset : data.index(b"\0", offset)].decode()


def dynamic(data: bytes, name: str) -> Dynamic:
    """Read the dynamic section of the ELF file `data`; a static program has empty names.

    Args:
        data: the whole file.
        name: what to call it in a message.

    Raises:
        UserError: damaged, or not a 64-bit little-endian ELF file.
    """
    if not is_elf(data):
        raise UserError(f"{name}: not a 64-bit little-endian ELF file")
    try:
        offset, size, count = (
            *struct.unpack_from("<Q", data, 32),
            *struct.unpack_from("<HH", data, 54),
        )
        segments = [struct.unpack_from("<IIQQQQQQ", data, offset + size * i) for i in range(count)]
        loads = [(s[3], s[2], s[5]) for s in segments if s[0] == _PT_LOAD]
        interpreter = next((_string(data, s[2]) for s in segments if s[0] == _PT_INTERP), None)
        section = next(((s[2], s[5]) for s in segments if s[0] == _PT_DYNAMIC), None)
        if section is None:
            return Dynamic((), None, interpreter)
        tags = []
        for at in range(section[0], section[0] + section[1], 16):
            tag, value = struct.unpack_from("<qQ", data, at)
            if tag == _DT_NULL:
                break
            tags.append((tag, value))
        table = dict(tags)[_DT_STRTAB]
        strings = next(table - start + at for start, at, length in loads if table < start + length)
        needed = tuple(_string(data, strings + value) for tag, value in tags if tag == _DT_NEEDED)
        soname = next((_string(data, strings + v) for tag, v in tags if tag == _DT_SONAME), None)
    except (struct.error, KeyError, StopIteration, ValueError):
        raise UserError(f"{name}: damaged ELF file") from None
    return Dynamic(needed, soname, interpreter)


def without_unwinding(data: bytes, name: str) -> bytes:
    """`data` with its stack unwinding tables (``.eh_frame``) zeroed; zeros compress to nothing.

    Only C++ exceptions and thread cancellation read them, both through libgcc_s: a file that needs
    that library is returned as it is.

    Raises:
        UserError: a damaged ELF file.
    """
    if any(library.startswith(("libgcc_s", "libstdc++")) for library in dynamic(data, name).needed):
        return data
    out = bytearray(data)
    try:
        (table,) = struct.unpack_from("<Q", data, 40)
        size, count, names = struct.unpack_from("<HHH", data, 58)
        if not table:
            return data
        sections = [struct.unpack_from("<IIQQQQ", data, table + size * i) for i in range(count)]
        for section in sections:
            if _string(data, sections[names][4] + section[0]) in (".eh_frame", ".eh_frame_hdr"):
                start, length = section[4:6]
                if start + length > len(data):
                    raise ValueError
                out[start : start + length] = bytes(length)
    except (struct.error, IndexError, ValueError):
        raise UserError(f"{name}: damaged ELF file") from None
    return bytes(out)


def closure(
    roots: Iterable[tuple[str, bytes]], find: Callable[[str], Path | None]
) -> dict[str, Path]:
    """Every shared library that `roots` need, directly or not.

    Args:
        roots: (name for messages, file contents) of programs and extension modules.
        find: gives a library's file by its soname, or None.

    Returns:
        soname → file, sorted by soname.

    Raises:
        UserError: a library that nothing provides; the message says who needs it.
    """
    found: dict[str, Path] = {}
    queue = list(roots)
    while queue:
        name, data = queue.pop()
        for soname in dynamic(data, name).needed:
            if soname in found:
                continue
            path = find(soname)
            if path is None:
                raise UserError(
                    f"{soname}, which {name} needs, is in no package of the manifest",
                    hint="add its package to initramfs/manifest.toml (`dpkg -S` tells which)",
                )
            found[soname] = path
            queue.append((soname, path.read_bytes()))
    return dict(sorted(found.items()))
