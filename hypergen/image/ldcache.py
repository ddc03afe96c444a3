# SPDX-License-Identifier: Apache-2.0
"""``/etc/ld.so.cache``, where the dynamic loader finds shared libraries at once.

Without it each program's start asks for a library below a dozen names of folders that are not
there (``glibc-hwcaps/x86-64-v3`` and the like). ldconfig(8) would write the file only as root, and
of the running system. Format: glibc, sysdeps/generic/dl-cache.h, ``struct cache_file_new``.
"""

from __future__ import annotations

import functools
import re
import struct
from collections.abc import Iterable
from itertools import zip_longest

_MAGIC = b"glibc-ld.so.cache1.1"
_HEADER = struct.Struct("<20sIIB3xI12x")  # libraries, bytes of strings, byte order, extensions
_ENTRY = struct.Struct("<iIIIQ")  # flags, name, path, OS version, hardware capabilities
_LITTLE_ENDIAN = 2
_X86_64 = 0x0303  # FLAG_X8664_LIB64 | FLAG_ELF_LIBC6


def compare(one: str, other: str) -> int:
    """As the loader's search does (``_dl_cache_libcmp()``): numbers in a name by their value."""
    pieces = (re.findall(r"\d+|\D", name) for name in (one, other))
    for a, b in zip_longest(*pieces, fillvalue=""):
        if a.isdigit() != b.isdigit():
            return 1 if a.isdigit() else -1
        x, y = (int(a), int(b)) if a.isdigit() else (ord(a or "\0"), ord(b or "\0"))
        if x != y:
            return x - y
    return 0


def build(folder: str, sonames: Iterable[str]) -> bytes:
    """The file for x86-64 libraries that lie in one folder.

    Args:
        folder: without a slash at its end.
    """
    names = sorted(sonames, key=functools.cmp_to_key(compare), reverse=True)
    start = _HEADER.size + _ENTRY.size * len(names)
    entries, strings = b"", b""
    for name in names:
        path = f"{folder}/{name}"
        at = start + len(strings)
        # A name is the end of its path.
        entries += _ENTRY.pack(_X86_64, at + len(path) - len(name), at, 0, 0)
        strings += path.encode() + b"\0"
    return _HEADER.pack(_MAGIC, len(names), len(strings), _LITTLE_ENDIAN, 0) + entries + strings
