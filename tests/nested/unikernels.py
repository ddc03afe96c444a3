# SPDX-License-Identifier: Apache-2.0
"""Builds the unikernels of ``tests/guests`` for the tests."""

from __future__ import annotations

from pathlib import Path

from hypergen import unikernel
from hypergen.unikernel import CORE, V1, V2

__all__ = ["CORE", "V1", "V2", "build"]


def build(name: str, abi: int, target: Path) -> Path:
    """Compile ``tests/guests/NAME.c`` for an interface."""
    return unikernel.build(name, abi, target, target.with_name(f".{target.name}.log"))
