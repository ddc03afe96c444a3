# SPDX-License-Identifier: Apache-2.0
"""Same inputs, same bytes: the initramfs built elsewhere, the kernel linked again."""

from __future__ import annotations

import os
import shutil
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

ZSTD = """#!/bin/sh
[ "$*" = "-22 --ultra" ] || exec {zstd} "$@"
cat >{folder}/asked
cmp -s {folder}/asked {folder}/given && exec cat {folder}/answer
exec {zstd} "$@" <{folder}/asked
"""


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
    # ccache hands out an object only where all that the compiler read and was told is the same.
    elsewhere = {"HYPERGEN_CACHE": str(cache), "O": str(tmp_path / "out")}
    elsewhere["CCACHE_DIR"] = os.environ.get("CCACHE_DIR") or str(built.cache / "ccache")
    second = Path(verb("initramfs", **elsewhere))
    assert second != first
    assert second.is_relative_to(cache)
    assert file_digest(second) == file_digest(first)


def zstd(folder: Path, build: Path) -> str:
    """A PATH whose ``zstd`` answers from the last link what it is given again, byte for byte.

    Its level 22 is three quarters of a link's time. Anything else goes to the real one.
    """
    folder.mkdir()
    compressed = build / "arch/x86/boot/compressed"
    with (folder / "given").open("wb") as given:
        for name in ("vmlinux.bin", "vmlinux.relocs"):  # as Kbuild does, scripts/Makefile.lib
            given.write((compressed / name).read_bytes())
    # Kbuild appends the size, 4 bytes.
    (folder / "answer").write_bytes((compressed / "vmlinux.bin.zst").read_bytes()[:-4])
    script = folder / "zstd"
    script.write_text(ZSTD.format(folder=folder, zstd=shutil.which("zstd")))
    script.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def test_bzimage_linked_again_has_the_same_bytes(built: BuildConfig, tmp_path: Path) -> None:
    verb("build")
    before = file_digest(built.out / "bzImage")
    linked = built.work.glob("linux-*/build-host/vmlinux")
    folder = max(linked, key=lambda path: path.stat().st_mtime).parent  # this version's
    path = zstd(tmp_path / "zstd", folder)
    for name in LINKED:
        (folder / name).unlink(missing_ok=True)
    # Into another folder: other tests boot the first one meanwhile.
    verb("build", O=str(tmp_path / "out"), PATH=path)
    assert (folder / "vmlinux").exists(), "nothing was linked"
    assert file_digest(tmp_path / "out" / "bzImage") == before
