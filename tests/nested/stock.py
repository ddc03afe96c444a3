# SPDX-License-Identifier: Apache-2.0
"""A distribution's own kernel, as the tests boot it: the image of its package, and its modules."""

from __future__ import annotations

import lzma
import re
from collections.abc import Iterable
from pathlib import Path

from hypergen import run
from hypergen.config import BuildConfig
from hypergen.errors import UserError
from hypergen.image import debs
from tests.bench.overlay import Overlay


def debian(cfg: BuildConfig) -> Path:
    """The unpacked package of Debian's present kernel for clouds.

    Raises:
        HypergenError: it could not be fetched.
    """
    depends = run.capture(["apt-cache", "depends", "linux-image-cloud-amd64"])
    match = re.search(r"Depends: (linux-image-\S+-cloud-amd64)", depends)
    if not match:
        raise UserError("apt knows no linux-image-cloud-amd64", hint="apt-get update")
    return debs.unpack(cfg, debs.fetch(cfg, [match[1]])[match[1]])


def kernel(tree: Path) -> Path:
    """The image in an unpacked package."""
    return next(path for path in tree.rglob("vmlinuz*") if path.is_file())


def busybox(cfg: BuildConfig) -> Path:
    """A busybox that needs no libraries."""
    return debs.unpack(cfg, debs.fetch(cfg, ["busybox-static"])["busybox-static"]) / "bin/busybox"


def initrd(cfg: BuildConfig, init: str, *folders: str) -> Overlay:
    """An archive with that busybox, a shell script as its init, a console and empty folders."""
    files = Overlay()
    files.copy("bin/busybox", busybox(cfg))
    files.file("init", init.encode(), 0o755)
    for folder in ("dev", *folders):
        files.directory(folder)
    files.node("dev/console", "c", 5, 1, 0o600)
    return files


def add_modules(files: Overlay, tree: Path, names: Iterable[str]) -> None:
    """``/modules/NAME.ko`` of those that are not built in, and ``/modules/order``."""
    files.directory("modules")
    order = ""
    for name in names:
        for file in sorted(tree.rglob(f"{name}.ko*")):
            data = file.read_bytes()
            files.file(
                f"modules/{name}.ko", lzma.decompress(data) if file.suffix == ".xz" else data
            )
            order += f"{name}.ko\n"
    files.file("modules/order", order.encode())
