# SPDX-License-Identifier: Apache-2.0
"""A line of the table, and what the observer is asked for it."""

from __future__ import annotations

from dataclasses import dataclass

Plan = list[list[str]]
"""The observer's lines: what to measure, a name, MiB, the root folder, a command line."""


@dataclass(frozen=True)
class Figure:
    """One line of the table: a value with its unit, and the bound that it shall keep."""

    name: str
    value: float
    unit: str
    reach: float | None = None

    @property
    def kept(self) -> bool:
        """Whether the bound is kept; true without one."""
        return self.reach is None or self.value <= self.reach
