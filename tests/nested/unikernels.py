# SPDX-License-Identifier: Apache-2.0
"""Builds the unikernels of ``tests/guests`` with the host's compiler."""

from __future__ import annotations

import subprocess
from pathlib import Path

GUESTS = Path(__file__).resolve().parents[1] / "guests"
CORE, V1, V2 = 0, 1, 2
"""C HermitCore, and Rust Hermit's hypercall interfaces."""

_CFLAGS = (
    *("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-nostdlib"),
    *("-fno-stack-protector", "-mno-red-zone", "-mgeneral-regs-only", "-fcf-protection=none"),
    *("-Wl,--build-id=none", "-Wl,-z,noexecstack", "-Wl,-z,norelro"),
)
_PLACE = {
    CORE: ("-static", "-no-pie", "-fno-pie", "-Wl,-Ttext-segment=0x800000"),
    V1: ("-static-pie", "-fPIE", "-Wl,--no-dynamic-linker"),
    V2: ("-static-pie", "-fPIE", "-Wl,--no-dynamic-linker"),
}
_EI_OSABI, _STANDALONE = 7, 0xFF


def build(name: str, abi: int, target: Path) -> Path:
    """Compile ``tests/guests/NAME.c`` for an interface."""
    source = GUESTS / f"{name}.c"
    argv = ["cc", *_CFLAGS, *_PLACE[abi], f"-DABI={abi}", "-o", str(target), str(source)]
    subprocess.run(argv, check=True)
    if abi == CORE:  # what tells such an image from a Linux program
        data = bytearray(target.read_bytes())
        data[_EI_OSABI] = _STANDALONE
        target.write_bytes(data)
    return target
