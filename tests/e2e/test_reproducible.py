# SPDX-License-Identifier: Apache-2.0
"""Same inputs, same bytes: the initramfs built elsewhere, the kernel linked again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from hypergen.config import BuildConfig
from hypergen.stage import file_digest

TOP = Path(__file__).resolve().parents[2]

# What a link of the kernel makes from its objects, below the build folder.
LINKED = (
    "vmlinux",
    "vmlinux.o",
    "System.map",
    "init/version-timestamp.o",
    "usr/initramfs_data.o",
    "arch/x86/boot/bzImage",
    "arch/x86/boot/compressed/vmlinux",
)


def verb(name: str, **variables: str) -> str:
    """Run ``python -m hypergen NAME`` with settings; returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "hypergen", name],
        cwd=TOP,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_initramfs_is_the_same_from_another_folder(built: BuildConfig, tmp_path: Path) -> None:
    first = Path(verb("initramfs"))
    cache = tmp_path / "another" / "cache"
    cache.mkdir(parents=True)
    (cache / "downloads").symlink_to(built.downloads)
    os.utime(TOP / "shell" / "hypershell" / "app.py")  # time stamps must not matter
    second = Path(verb("initramfs", HYPERGEN_CACHE=str(cache), O=str(tmp_path / "out")))
    assert second != first
    assert second.is_relative_to(cache)
    assert file_digest(second) == file_digest(first)


def test_bzimage_linked_again_has_the_same_bytes(built: BuildConfig, tmp_path: Path) -> None:
    verb("build")
    before = file_digest(built.out / "bzImage")
    folders = list(built.work.glob("linux-*/build-host"))
    assert folders
    for folder in folders:
        for name in LINKED:
            (folder / name).unlink(missing_ok=True)
    # Into another folder: other tests boot the first one meanwhile.
    verb("build", O=str(tmp_path / "out"))
    assert file_digest(tmp_path / "out" / "bzImage") == before
