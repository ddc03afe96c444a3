# SPDX-License-Identifier: Apache-2.0
"""Files in the folders of kernels and images: copied sparsely, whole or not there at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re

from hypershell import catalog, files, paths
from hypershell.errors import ShellError, UsageError
from hypershell.progress import Line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_FICLONE = 0x40049409  # ioctl_ficlonerange(2)
_CHUNK = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,119}\Z")
BLOCK = 4096
_ZEROS = bytes(BLOCK)


def check_name(name: str) -> str:
    """A file's name that needs no quoting anywhere. Raises UsageError."""
    if not _NAME.match(name):
        raise UsageError(
            f"'{name}': a name has letters, digits and _ . + -, at most 120 of them, "
            "and begins with a letter, a digit or _"
        )
    return name


def folder(kind: str) -> str:
    """The folder of ``kind``; raises ShellError when it cannot be used."""
    if problem := files.folder_problem(kind):
        raise ShellError(problem)
    return os.path.abspath(paths.folder(kind))


class NewFile:
    """A file on its way: written beside its place under a hidden name, then put there in one step.

    Left without :meth:`keep`, or by an exception, nothing of it stays. What a power cut leaves is
    hidden from the lists and taken away by the next one of the same name.
    """

    def __init__(self, kind: str, name: str) -> None:
        self.path = f"{folder(kind)}/{check_name(name)}"
        if os.path.lexists(self.path):
            raise UsageError(f"{kind} {name} exists already; choose another name")
        self.part = f"{folder(kind)}/.{name}.part"
        self.fd = self._open()

    def _open(self) -> int:
        fd = os.open(self.part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            raise UsageError(f"{self.path} is being written by another shell") from None
        os.ftruncate(fd, 0)
        return fd

    def renew(self) -> None:
        """Begin anew with an empty file; what was written belongs to whoever has it open."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.part)
        os.close(self.fd)
        self.fd = self._open()

    def __enter__(self) -> NewFile:
        return self

    def keep(self) -> None:
        """What was written is whole: onto the disk, and into its place."""
        os.fsync(self.fd)
        with catalog.Lock():
            if os.path.lexists(self.path):
                raise UsageError(f"{self.path} has come into being meanwhile; nothing done")
            os.rename(self.part, self.path)
        sync_folder(os.path.dirname(self.path))

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.part)


def sync_folder(path: str) -> None:
    """A rename in ``path`` survives a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _pieces(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """(start, end) of what a file holds besides holes (lseek(2), SEEK_DATA)."""
    at = 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            start = at  # a block device, or a file system that knows no holes
        try:
            end = os.lseek(fd, start, os.SEEK_HOLE)
        except OSError:
            end = size
        yield start, min(end, size)
        at = max(end, start + 1)


def write_sparse(fd: int, data: bytes, at: int) -> None:
    """Write ``data`` at offset ``at``, leaving out blocks of zeros: the file has holes there."""
    view = memoryview(data)
    start = 0
    for begin in range(0, len(data) + BLOCK, BLOCK):
        block = view[begin : begin + BLOCK]
        if len(block) == BLOCK and block != _ZEROS:
            continue
        if begin > start:
            _write(fd, view[start:begin], at + start)
        if block != _ZEROS[: len(block)]:
            _write(fd, block, at + begin)
        start = begin + BLOCK


def _write(fd: int, data: memoryview, at: int) -> None:
    while data:
        done = os.pwrite(fd, data, at)
        data, at = data[done:], at + done


def size_of(fd: int) -> int:
    """Bytes of a file or a block device."""
    return os.lseek(fd, 0, os.SEEK_END)


def copy(source: int, target: int, what: str) -> int:
    """Copy a file or block device, sharing its blocks where the file system can (FICLONE).

    Holes stay holes, zeros become holes. Returns the bytes; draws a bar called ``what``.
    """
    size = size_of(source)
    try:
        fcntl.ioctl(target, _FICLONE, source)
        return size
    except OSError:
        pass
    os.ftruncate(target, size)
    line = Line()
    try:
        for start, end in _pieces(source, size):
            at = start
            while at < end:
                data = os.pread(source, min(_CHUNK, end - at), at)
                if not data:
                    raise ShellError(f"{what}: the source became shorter while it was read")
                write_sparse(target, data, at)
                at += len(data)
                line.bar(what, at, size)
    finally:
        line.clear()
    return size


def users_of(file: files.File) -> list[str]:
    """Titles of the VMs that use a file now."""
    from hypershell import vm

    return [one.title for one in vm.users(vm.listed(), file.key, file.kind)]
