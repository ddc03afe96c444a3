# SPDX-License-Identifier: Apache-2.0
"""A second initramfs laid over the host's own: what the bench adds to the measured machine.

The kernel unpacks an ``-initrd`` after the one that is built in (kernel documentation,
driver-api/early-userspace/buffer-format), so the measured bzImage is the shipped one, bit by bit.
"""

from __future__ import annotations

import re
from pathlib import Path

from hypergen import run


class Overlay:
    """Files by their path in the machine; :meth:`write` makes a newc archive of them."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[int, bytes]] = {}

    def add(self, path: str, content: Path | bytes, mode: int = 0o755) -> None:
        """Put a file at the absolute `path`; its folders come by themselves."""
        data = content if isinstance(content, bytes) else content.read_bytes()
        self._files[path.lstrip("/")] = (0o100000 | mode, data)

    def program(self, path: Path, root: str) -> None:
        """Put a dynamically linked program and its libraries below `root`, at their own paths."""
        self.add(f"{root}{path}", path.resolve())
        for library in re.findall(r"(/\S+) \(0x", run.capture(["ldd", path])):
            self.add(f"{root}{library}", Path(library).resolve())

    def folder(self, path: Path, root: str) -> None:
        """Put the files of a folder below `root`, at their own paths."""
        for file in sorted(path.iterdir()):
            if file.is_file():
                self.add(f"{root}{file}", file.resolve(), 0o644)

    def write(self, target: Path) -> Path:
        """Write the archive; the same files make the same bytes."""
        names = set(self._files)
        for name in self._files:
            names.update(str(parent) for parent in Path(name).parents)
        names.discard(".")
        with target.open("wb") as stream:
            for number, name in enumerate([*sorted(names), "TRAILER!!!"], 1):
                mode, data = self._files.get(name, (0o040755, b""))
                if name == "TRAILER!!!":
                    mode = 0
                links = 2 if mode >> 12 == 4 else 1
                fields = [number, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0]
                head = b"070701" + b"".join(b"%08X" % field for field in fields)
                head += name.encode() + b"\0"
                stream.write(head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4))
        return target
