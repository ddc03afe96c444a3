# SPDX-License-Identifier: Apache-2.0
"""``make guest``: a guest kernel and two raw images to try it with.

Both images hold one ext4 file system over the whole disk, no partition table, so that the root is
``/dev/vda``. They are pristine copies: a disk of ``make run`` gets its own, and what VMs write
goes there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hypergen import guest_busybox, guest_debian, progress
from hypergen.config import BuildConfig


def build(cfg: BuildConfig) -> Sequence[Path]:
    """Build guest kernels and images that are missing or out of date; returns the images.

    Raises:
        UserError: a program is missing.
        BuildError: a download or a program failed.
    """
    from hypergen import kernel

    kernel.build_guest(cfg)
    return images(cfg)


def images(cfg: BuildConfig) -> Sequence[Path]:
    """Build the two images alone; returns their paths."""
    made = [guest_busybox.build(cfg), guest_debian.build(cfg)]
    for path in made:
        used = path.stat().st_blocks * 512
        size = progress.human(path.stat().st_size)
        progress.detail(f"{path.name}: {size}, {progress.human(used)} used")
    return made
