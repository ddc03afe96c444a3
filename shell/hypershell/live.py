# SPDX-License-Identifier: Apache-2.0
"""A picture of text that is drawn again and again until a key ends it."""

from __future__ import annotations

import os
import select
import sys
import time

from hypershell import terminal
from hypershell.table import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def live(draw: Callable[[], str], every: float, rounds: int) -> None:
    """Draw again and again; q, Ctrl+C or CTRL+d ends it. On a pipe the pictures follow each other.

    ``rounds`` 0 never ends by itself.
    """
    screen = os.isatty(1) and os.isatty(0) and not terminal.is_dumb()
    saved = terminal.modes(0) if screen else None
    try:
        if saved is not None:
            terminal.set_raw(0, saved, output=False)
            terminal.write_all(1, b"\x1b[H\x1b[2J")
        number = 0
        while True:
            number += 1
            text = draw()
            if saved is None:
                say(text)
            else:
                _paint(text)
            if rounds and number >= rounds:
                break
            if saved is None:
                time.sleep(every)
            elif _leave(every):
                break
    finally:
        if saved is not None:
            terminal.restore(0, saved)
            say("")


def _paint(text: str) -> None:
    """From the top left; no clearing in between, which would flicker."""
    size = os.get_terminal_size(1)
    lines = [*text.splitlines()[: size.lines - 2], "", "q leaves"]
    cut = "".join(f"{line[: size.columns - 1]}\x1b[K\r\n" for line in lines[: size.lines - 1])
    encoding = sys.stdout.encoding or "utf-8"
    terminal.write_all(1, ("\x1b[H" + cut + "\x1b[J").encode(encoding, "replace"))


def _leave(seconds: float) -> bool:
    """Wait; True when a key says to leave, or the terminal has hung up."""
    poll = select.poll()
    poll.register(0, select.POLLIN)
    if not poll.poll(seconds * 1000):
        return False
    key = os.read(0, 1)  # what is typed behind it is for the prompt
    while key == b"\x1b" and poll.poll(0):
        more = os.read(0, 1)
        if not more or more not in b"[O;0123456789":
            break  # the end of an arrow's sequence, or of everything
    return key in (b"q", b"Q", b"\x03", b"\x04", b"\x1b", b"")
