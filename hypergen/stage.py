# SPDX-License-Identifier: Apache-2.0
"""Stages that are skipped while nothing they depend on has changed.

A stage's *key* is a SHA-256 over everything that determines its result: file contents, versions,
flags. The key is stored in a stamp file after success together with the digests of the outputs'
sizes, so an interrupted stage, a changed input and a deleted output all lead to a rebuild::

    stage = Stage(cfg, "vmm", outputs=[binary])
    stage.tree(cfg.top / "vmm").text("flags", CFLAGS)
    with stage as todo:
        if todo:
            …
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from hypergen.config import BuildConfig
from hypergen.errors import BuildError

_IGNORED = {"__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".git"}


def file_digest(path: Path) -> str:
    """SHA-256 of a file's contents, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def tree_files(root: Path, exclude: Sequence[str] = ()) -> list[Path]:
    """Every file and symlink below `root`, sorted, without caches and `exclude`d names."""
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(f for f in folders if f not in _IGNORED and f not in exclude)
        links = [f for f in folders if (Path(folder) / f).is_symlink()]
        found += [
            Path(folder) / name
            for name in [*files, *links]
            if not name.endswith(".pyc") and name not in exclude
        ]
    return sorted(found)


class Stage:
    """One skippable piece of work; a context manager that yields whether there is work to do."""

    def __init__(self, cfg: BuildConfig, name: str, outputs: Iterable[Path]) -> None:
        self.name = name
        self.outputs = list(outputs)
        self._stamps = cfg.work / "stamps"
        # One stamp an output folder, so that two `O=` do not undo each other's work.
        where = hashlib.sha256("\0".join(map(str, self.outputs)).encode()).hexdigest()[:12]
        self._stamp = self._stamps / f"{name}-{where}.json"
        self._hash = hashlib.sha256(name.encode())
        self._lock: int | None = None
        self._todo = True

    def text(self, label: str, value: object) -> Self:
        """Make the key depend on a value; it must have a stable ``str``."""
        self._hash.update(f"\0{label}={value}".encode())
        return self

    def file(self, path: Path, label: str | None = None) -> Self:
        """Make the key depend on a file's contents and executable bit."""
        self._hash.update(f"\0{label or path.name}:".encode())
        if path.is_symlink():
            self._hash.update(str(path.readlink()).encode())
        else:
            self._hash.update(bytes([bool(path.stat().st_mode & 0o100)]))
            self._hash.update(file_digest(path).encode())
        return self

    def tree(self, root: Path, exclude: Sequence[str] = ()) -> Self:
        """Make the key depend on every file below `root`, names included."""
        for path in tree_files(root, exclude):
            self.file(path, str(path.relative_to(root)))
        return self

    @property
    def key(self) -> str:
        """The key so far, in hexadecimal. Another stage may depend on it by :meth:`text`."""
        return self._hash.hexdigest()

    def fresh(self) -> bool:
        """Whether the stamp says that the outputs, as they stand, came from this key."""
        try:
            stamp = json.loads(self._stamp.read_text("utf-8"))
        except (OSError, ValueError):
            return False
        return bool(stamp.get("key") == self.key and stamp.get("outputs") == self._state())

    def _state(self) -> dict[str, list[int]] | None:
        """Size and mtime (ns) of each output, or None when one is missing."""
        state = {}
        for path in self.outputs:
            try:
                stat = path.stat()
            except OSError:
                return None
            state[str(path)] = [0, 0] if path.is_dir() else [stat.st_size, stat.st_mtime_ns]
        return state

    def __enter__(self) -> bool:
        self._stamps.mkdir(parents=True, exist_ok=True)
        # Two builds at once take turns at a stage; the lock goes with the process.
        self._lock = os.open(self._stamps / f"{self.name}.lock", os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._todo = not self.fresh()
        if self._todo:
            self._stamp.unlink(missing_ok=True)
        return self._todo

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None and self._todo:
                missing = [str(path) for path in self.outputs if not path.exists()]
                if missing:
                    raise BuildError(f"{self.name}: did not make {', '.join(missing)}")
                temporary = self._stamp.with_suffix(".tmp")
                temporary.write_text(json.dumps({"key": self.key, "outputs": self._state()}))
                temporary.replace(self._stamp)
        finally:
            if self._lock is not None:
                os.close(self._lock)
