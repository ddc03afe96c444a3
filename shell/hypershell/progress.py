# SPDX-License-Identifier: Apache-2.0
"""One line on the terminal that says how far something long is; nothing where there is none."""

from __future__ import annotations

import os
import sys
import time

from hypershell import terminal
from hypershell.units import human_size

_EVERY = 0.1  # seconds between two drawings
_BAR = 24


class Line:
    """A line on stderr that replaces itself; on a pipe or a dumb terminal nothing is drawn."""

    def __init__(self) -> None:
        self._on = not terminal.is_dumb() and os.isatty(2)
        self._drawn = 0.0
        self._shown = False

    def show(self, text: str, *, now: bool = False) -> None:
        """Draw ``text``, cut to the terminal's width; not more often than the eye can follow."""
        moment = time.monotonic()
        if not self._on or (not now and moment - self._drawn < _EVERY):
            return
        self._drawn, self._shown = moment, True
        try:
            width = os.get_terminal_size(2).columns
        except OSError:
            width = 80
        sys.stderr.write("\r\x1b[K" + text[: max(width - 1, 1)])
        sys.stderr.flush()

    def bar(self, what: str, done: int, total: int) -> None:
        """Draw how many of ``total`` bytes are done; 0 of them: nobody knows how many."""
        if not total:
            self.show(f"{what}  {human_size(done)}")
            return
        part = min(done / total, 1.0)
        filled = int(part * _BAR)
        graph = "#" * filled + "." * (_BAR - filled)
        sizes = f"{human_size(done)} of {human_size(total)}"
        self.show(f"{what}  [{graph}] {part * 100:3.0f} %  {sizes}", now=done >= total)

    def clear(self) -> None:
        """Take the line away."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._shown = False
