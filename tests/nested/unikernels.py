# SPDX-License-Identifier: Apache-2.0
"""Builds the unikernels of ``tests/guests`` for the tests."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

from hypergen.guests import unikernel
from hypergen.guests.unikernel import CORE, SOURCES, V1, V2
from tests.bench.overlay import Overlay

__all__ = [
    "ABIS",
    "CORE",
    "ENTRIES",
    "V1",
    "V2",
    "build",
    "build_all",
    "build_plain",
    "lay",
    "pack",
]


def build(name: str, abi: int, target: Path) -> Path:
    """Compile ``tests/guests/NAME.c`` for an interface."""
    return unikernel.build(name, abi, target, target.with_name(f".{target.name}.log"))


ABIS = {"core": CORE, "v1": V1, "v2": V2}
"""The interfaces, by the suffixes of the images' names."""


def lay(files: Overlay, out: Path, *names: str) -> None:
    """Programs for every interface, at ``/nest/guests/NAME-core`` and so on in the host."""
    for name, image in build_all(out / "nested" / "guests", *names).items():
        files.copy(f"nest/guests/{name}", image)


def build_all(folder: Path, *names: str) -> dict[str, Path]:
    """Programs for every interface, as ``NAME-core``, ``NAME-v1`` and ``NAME-v2``."""
    folder.mkdir(parents=True, exist_ok=True)
    return {
        f"{name}-{suffix}": build(name, abi, folder / f"{name}-{suffix}")
        for name in names
        for suffix, abi in ABIS.items()
    }


_PLAIN = (
    *("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-nostdlib", "-static"),
    *("-no-pie", "-fno-pie", "-fno-stack-protector", "-mgeneral-regs-only", "-fcf-protection=none"),
    *("-fno-asynchronous-unwind-tables", "-mno-red-zone", "-Wl,--build-id=none"),
    *("-Wl,-z,noexecstack", "-Wl,-z,norelro", "-Wl,-Ttext-segment=0x200000"),
)
ENTRIES = {"multiboot": (1, "-m32"), "pvh": (2, "-m32"), "lxboot": (3, "-m64")}
"""The ways in which ``tests/guests/plain.c`` boots."""


def build_plain(folder: Path) -> dict[str, Path]:
    """The unikernel that is none of Hermit's, as ``plain-multiboot`` and so on."""
    built = {}
    for name, (entry, mode) in ENTRIES.items():
        built[f"plain-{name}"] = target = folder / f"plain-{name}"
        argv = ["cc", *_PLAIN, mode, f"-DENTRY={entry}", "-o", str(target), f"{SOURCES}/plain.c"]
        subprocess.run(argv, check=True)
        if name == "pvh":  # 32-bit code in an ELF64 file, as such kernels are
            argv = ["objcopy", "-I", "elf32-i386", "-O", "elf64-x86-64", str(target)]
            subprocess.run(argv, check=True, capture_output=True)
    return built


def pack(target: Path, kernel: Path, manifest: str, files: Mapping[str, bytes]) -> Path:
    """An image archive: `kernel` as ``/kernel``, a ``hermit.toml`` and files."""
    members = {"hermit.toml": manifest.encode(), "kernel": kernel.read_bytes(), **files}
    with tarfile.open(target, "w:gz", format=tarfile.PAX_FORMAT) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o644
            tar.addfile(info, io.BytesIO(content))
    return target
