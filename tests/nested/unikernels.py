# SPDX-License-Identifier: Apache-2.0
"""Builds the unikernels of ``tests/guests`` for the tests."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

from hypergen import unikernel
from hypergen.unikernel import CORE, V1, V2

__all__ = ["ABIS", "CORE", "V1", "V2", "build", "build_all", "pack"]


def build(name: str, abi: int, target: Path) -> Path:
    """Compile ``tests/guests/NAME.c`` for an interface."""
    return unikernel.build(name, abi, target, target.with_name(f".{target.name}.log"))


ABIS = {"core": CORE, "v1": V1, "v2": V2}
"""The interfaces, by the suffixes of the images' names."""


def build_all(folder: Path, *names: str) -> dict[str, Path]:
    """Programs for every interface, as ``NAME-core``, ``NAME-v1`` and ``NAME-v2``."""
    folder.mkdir(parents=True, exist_ok=True)
    return {
        f"{name}-{suffix}": build(name, abi, folder / f"{name}-{suffix}")
        for name in names
        for suffix, abi in ABIS.items()
    }


def pack(target: Path, kernel: Path, manifest: str, files: Mapping[str, bytes]) -> Path:
    """An image archive: `kernel` as ``/kernel``, a ``hermit.toml`` and files."""
    members = {"hermit.toml": manifest.encode(), "kernel": kernel.read_bytes(), **files}
    with tarfile.open(target, "w:gz", format=tarfile.PAX_FORMAT) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o644
            tar.addfile(info, io.BytesIO(content))
    return target
