# SPDX-License-Identifier: Apache-2.0
"""``make guest``: two raw images to try hyper-gen with.

Both images hold one ext4 file system over the whole disk, no partition table, so that the root is
``/dev/vda``. They are pristine copies: a disk of ``make run`` gets its own, and what VMs write
goes there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hypergen import progress
from hypergen.config import BuildConfig
from hypergen.guests import busybox, debian


def build(cfg: BuildConfig) -> Sequence[Path]:
    """Build the two images that are missing or out of date; returns their paths.

    The guest's kernel is ``hypergen.kernel.build_guest``'s.

    Raises:
        UserError: a program is missing.
        BuildError: a download or a program failed.
    """
    made = [busybox.build(cfg), debian.build(cfg)]
    for path in made:
        used = progress.human(path.stat().st_blocks * 512)
        progress.detail(f"{path.name}: {progress.human(path.stat().st_size)}, {used} used")
    return made
