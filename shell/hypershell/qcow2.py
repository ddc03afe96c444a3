# SPDX-License-Identifier: Apache-2.0
"""Reading qcow2 images (QEMU docs/interop/qcow2.txt), versions 2 and 3, to make raw ones of them.

Without backing files, encryption, external data, zstd clusters and extended L2 entries: each is
refused by name. The file is not trusted: every offset is checked against its size.
"""

from __future__ import annotations

import os
import struct
import zlib

from hypershell.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC = b"QFI\xfb"
_HEADER = struct.Struct(">4sIQIIQIIQQIIQ")  # to snapshots_offset, 72 bytes
_OFFSET = 0x00FFFFFFFFFFFE00
_COMPRESSED = 1 << 62
_ZERO = 1
_LARGEST = 1 << 46  # bytes of a disk
_L1_LARGEST = 32 << 20  # bytes of the L1 table, QEMU's own bound
_REFUSED = {
    1: "it is marked corrupt; qemu-img check -r all repairs it",
    2: "its data is in another file",
    3: "its clusters are compressed by another method than deflate",
    4: "it has extended L2 entries",
}


class Qcow2:
    """An open image: ``size`` is the disk's, in bytes. Raises UsageError for what is not read."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._file_size = os.lseek(fd, 0, os.SEEK_END)
        head = os.pread(fd, 104, 0)
        if len(head) < _HEADER.size or head[:4] != MAGIC:
            raise UsageError("this is no qcow2 image")
        fields = _HEADER.unpack_from(head)
        _, version, backing, _, bits, self.size, crypt, l1_count, l1_at = fields[:9]
        features = struct.unpack_from(">Q", head, 72)[0] if version >= 3 and len(head) >= 80 else 0
        if version not in (2, 3):
            raise UsageError(f"qcow2 version {version} is not known here")
        if backing:
            raise UsageError("it needs a backing file; qemu-img convert makes one image of both")
        if crypt:
            raise UsageError("it is encrypted")
        for bit, reason in _REFUSED.items():
            if features >> bit & 1:
                raise UsageError(reason)
        if features >> 5:
            raise UsageError("it uses features of qcow2 that are not known here")
        if not 9 <= bits <= 21 or self.size > _LARGEST or self.size % 512:
            raise UsageError("its header is damaged")
        self._bits, self._cluster = bits, 1 << bits
        needed = -(-self.size // (self._cluster * (self._cluster // 8)))
        if l1_count * 8 > _L1_LARGEST or l1_count < needed:
            raise UsageError("its L1 table has an impossible size")
        self._l1 = self._table(l1_at, needed)

    def _table(self, at: int, count: int) -> tuple[int, ...]:
        return struct.unpack(f">{count}Q", self._read(at, 8 * count)) if count else ()

    def _read(self, at: int, length: int) -> bytes:
        if at + length > self._file_size:
            raise UsageError("it is truncated or damaged: a table points behind its end")
        return os.pread(self._fd, length, at)

    def clusters(self) -> Iterator[tuple[int, bytes]]:
        """(offset on the disk, bytes) of everything that is not known to be zero, ascending."""
        for number, entry in enumerate(self._l1):
            if not entry & _OFFSET:
                continue
            per_table = self._cluster // 8
            table = self._table(entry & _OFFSET, per_table)
            for index, l2 in enumerate(table):
                at = (number * per_table + index) << self._bits
                if at >= self.size:
                    return
                data = self._data(l2)
                if data:
                    yield at, data[: self.size - at]

    def _data(self, entry: int) -> bytes:
        if entry & _COMPRESSED:
            return self._inflate(entry)
        if entry & _ZERO or not entry & _OFFSET:
            return b""
        at = entry & _OFFSET
        # The last cluster of a file may be cut where its data ends.
        if at >= self._file_size:
            raise UsageError("it is truncated or damaged: a cluster lies behind its end")
        return os.pread(self._fd, self._cluster, at)

    def _inflate(self, entry: int) -> bytes:
        shift = 62 - (self._bits - 8)
        at = entry & ((1 << shift) - 1)
        sectors = (entry >> shift & ((1 << (self._bits - 8)) - 1)) + 1
        packed = os.pread(self._fd, sectors * 512 - at % 512, at)
        try:
            data = zlib.decompressobj(-12).decompress(packed, self._cluster)
        except zlib.error as error:
            raise UsageError(f"it is damaged: a compressed cluster: {error}") from error
        if len(data) != self._cluster:
            raise UsageError("it is damaged: a compressed cluster is too short")
        return data
