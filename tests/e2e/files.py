# SPDX-License-Identifier: Apache-2.0
"""The guests on the test disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


def only(folder: Path, pattern: str) -> Path:
    """The first file of a pattern; that there is none is a failure, not a reason to skip."""
    found = sorted(folder.glob(pattern))
    assert found, f"{folder}/{pattern}: not built"
    return found[0]


@dataclass(frozen=True)
class Files:
    """Names of what lies on the test disk: kernels and images, good and bad."""

    vmlinux: str = "vmlinux"
    bzimage: str = "bzImage"
    initrd: str = "initrd.cpio"
    corrupt: str = "corrupt"
    cut: str = "cut-vmlinux"
    busybox: str = "busybox.img"
    second: str = "second.img"
    debian: str = "debian.img"
    blank: str = "blank.img"
    zero: str = "zero.img"


FILES = Files()
