# SPDX-License-Identifier: Apache-2.0
"""A second initramfs laid over the host's own: what the bench adds to the measured machine.

The kernel unpacks an ``-initrd`` after the one that is built in (kernel documentation,
driver-api/early-userspace/buffer-format), so the measured bzImage is the shipped one, bit by bit.
"""

from __future__ import annotations

import re
from pathlib import Path

from hypergen import run
from hypergen.image.cpio import Archive


class Overlay(Archive):
    """An archive that knows what a program needs."""

    def copy(self, path: str, source: Path, permissions: int = 0o755) -> None:
        """Put a copy of `source` at `path`."""
        self.file(path, source.read_bytes(), permissions)

    def program(self, path: Path, root: str) -> None:
        """Put a dynamically linked program and its libraries below `root`, at their own paths."""
        self.copy(f"{root}{path}", path)
        self.libraries(path, root)

    def libraries(self, path: Path, root: str) -> None:
        """Put the libraries of a dynamically linked program below `root`."""
        for library in sorted(set(re.findall(r"(/\S+) \(0x", run.capture(["ldd", path])))):
            self.copy(f"{root}{library}", Path(library))

    def write(self, target: Path) -> Path:
        """Write the archive and return its path."""
        target.write_bytes(self.serialise())
        return target
