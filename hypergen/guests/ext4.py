# SPDX-License-Identifier: Apache-2.0
"""ext4 images from a folder, without root."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from hypergen import run


def fakeroot(state: Path | None = None) -> list[str | Path]:
    """Words to put before a program that must see the files of a tree as root's.

    Args:
        state: a file that carries owners and device numbers from one such program to the next.
    """
    if os.geteuid() == 0:
        return []
    words: list[str | Path] = ["fakeroot"]
    if state is not None:
        state.touch()
        words += ["-i", state, "-s", state]
    return [*words, "--"]


def make(
    image: Path,
    tree: Path,
    *,
    label: str,
    mib: int,
    log: Path,
    state: Path | None = None,
) -> None:
    """Make a sparse image of `mib` MiB with an ext4 file system that holds `tree`.

    The UUID comes from the label, so that the same input makes the same file system.
    """
    identity = uuid.uuid5(uuid.NAMESPACE_URL, f"hypergen:guest:{label}")
    temporary = image.with_name(f".{image.name}.new")
    image.parent.mkdir(parents=True, exist_ok=True)
    temporary.unlink(missing_ok=True)
    try:
        run.run(
            [
                *fakeroot(state),
                *("mke2fs", "-q", "-F", "-t", "ext4", "-L", label, "-U", str(identity)),
                *("-E", f"root_owner=0:0,hash_seed={identity}", "-m", "0"),
                *("-d", tree, temporary, f"{mib}m"),
            ],
            log=log,
        )
        temporary.replace(image)
    finally:
        temporary.unlink(missing_ok=True)
