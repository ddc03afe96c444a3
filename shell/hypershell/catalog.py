# SPDX-License-Identifier: Apache-2.0
"""Numbers that stay: ids of kernels, images and VMs, kept in RUN/catalog.json under a lock.

A number is given at first sight and never again to something else while the host runs (RUN is a
tmpfs). The file holds ``{"kernel": {PATH: id}, "image": {PATH: id}, "next_vm": id}``; a damaged
one counts as empty, so that a torn write can cost numbers but never the shell.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os

from hypershell import paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class Lock:
    """Exclusive lock of RUN shared by all shells; freed by the kernel when its holder dies.

    Raises OSError when RUN cannot be made or the lock file not opened.
    """

    def __enter__(self) -> Lock:
        os.makedirs(paths.run_dir(), mode=0o755, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._fd = os.open(paths.run_dir() + "/lock", flags, 0o644)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def locked(path: str) -> bool:
    """Does a living process hold an exclusive flock(2) on ``path``?"""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def read_json(path: str) -> dict[str, object]:
    """The JSON object in ``path``; an empty one when it is missing, damaged or something else."""
    try:
        with open(path, "rb") as file:
            value = json.loads(file.read(1 << 20))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def write_json(path: str, value: object) -> None:
    """Replace ``path`` in one step: readers see the old or the new text. Raises OSError."""
    temporary = f"{path}.{os.getpid()}"
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(value, file, indent=1)
            file.write("\n")
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _path() -> str:
    return paths.run_dir() + "/catalog.json"


def _known(catalog: dict[str, object], kind: str) -> dict[str, int]:
    table = catalog.get(kind)
    if not isinstance(table, dict):
        return {}
    return {k: v for k, v in table.items() if isinstance(v, int) and v > 0}


def numbers(kind: str, names: Iterable[str]) -> dict[str, int]:
    """Ids of the files ``names`` (paths) of ``kind`` (kernel or image); new ones are numbered.

    When RUN cannot be written (a full disk), the numbers hold for this call only.
    """
    wanted = sorted(names)
    known = _known(read_json(_path()), kind)
    if all(name in known for name in wanted):
        return {name: known[name] for name in wanted}
    try:
        with Lock():
            catalog = read_json(_path())
            known = _number(_known(catalog, kind), wanted)
            write_json(_path(), catalog | {kind: known})
    except OSError:
        known = _number(known, wanted)
    return {name: known[name] for name in wanted}


def _number(known: dict[str, int], wanted: list[str]) -> dict[str, int]:
    result = dict(known)
    number = max(result.values(), default=0)
    for name in wanted:
        if name not in result:
            number += 1
            result[name] = number
    return result


def vm_ids() -> list[int]:
    """Ids of the VM folders that exist, ascending."""
    try:
        names = os.listdir(paths.vm_root())
    except OSError:
        return []
    return sorted(int(n) for n in names if n.isascii() and n.isdigit() and n[0] != "0")


def next_vm_id() -> int:
    """The id that the next VM gets: above every id given before and every folder that exists."""
    stored = read_json(_path()).get("next_vm")
    return max(stored if isinstance(stored, int) else 1, max(vm_ids(), default=0) + 1)


def take_vm_id() -> tuple[int, str]:
    """Take the next VM id and make its folder, under a name that is not a VM's yet.

    Whoever looks meanwhile would see a VM that nobody starts. Call with the Lock held; raises
    OSError.
    """
    number = next_vm_id()
    folder = paths.vm_root() + "/.new"
    os.makedirs(folder, mode=0o755, exist_ok=True)  # whose shell was killed has left one
    try:
        write_json(_path(), read_json(_path()) | {"next_vm": number + 1})
    except OSError:
        os.rmdir(folder)
        raise
    return number, folder


def give_back_vm_id(number: int) -> None:
    """Undo take_vm_id for a VM that never ran, its folder gone, unless a later one was taken."""
    with contextlib.suppress(OSError), Lock():
        catalog = read_json(_path())
        if catalog.get("next_vm") == number + 1:
            write_json(_path(), catalog | {"next_vm": number})
