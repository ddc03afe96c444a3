# SPDX-License-Identifier: Apache-2.0
"""The terminal's modes (termios(3)) and what makes it usable again after foreign output."""

from __future__ import annotations

import os
import termios

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Modes = list[Any]

_SANE_INPUT = termios.BRKINT | termios.ICRNL | termios.IXON
_SANE_LOCAL = (
    termios.ICANON
    | termios.ISIG
    | termios.IEXTEN
    | termios.ECHO
    | termios.ECHOE
    | termios.ECHOK
    | termios.ECHOCTL
    | termios.ECHOKE
)

# Attributes off, G0 = ASCII, cursor visible, whole screen scrolls, keys as a shell expects them.
# DECSC/DECRC keep the cursor in its place, as setting the scroll region would move it home.
_RESET = (
    b"\x1b[?1049l\x1b7\x1b[r\x1b8\x1b[0m\x0f\x1b(B\x1b[4l\x1b[?7h\x1b[?25h\x1b[?1l\x1b>"
    b"\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?2004l"
)


def is_dumb() -> bool:
    """Does TERM promise nothing, so that escape sequences would show as rubbish?"""
    return os.environ.get("TERM", "") in ("", "dumb", "unknown")


def modes(fd: int) -> Modes:
    """The terminal's modes, made sane when a killed program left them raw."""
    result = termios.tcgetattr(fd)
    if not result[3] & termios.ICANON:
        result[0] = (result[0] | _SANE_INPUT) & ~(termios.INLCR | termios.IGNCR)
        result[1] |= termios.OPOST | termios.ONLCR
        result[3] |= _SANE_LOCAL
        result[6][termios.VMIN], result[6][termios.VTIME] = b"\x04", b"\0"
        for index, char in ((termios.VEOF, b"\x04"), (termios.VINTR, b"\x03")):
            result[6][index] = char
        result[6][termios.VERASE] = b"\x7f"
    return result


def restore(fd: int, saved: Modes) -> None:
    """Set ``saved`` modes; a terminal that has hung up is no reason to fail."""
    try:  # noqa: SIM105 - contextlib would be loaded before the prompt for this alone
        termios.tcsetattr(fd, termios.TCSANOW, saved)
    except (OSError, termios.error):
        pass


def set_raw(fd: int, saved: Modes, output: bool = True) -> None:
    """Every byte typed goes through (cfmakeraw); ``output`` False leaves newlines their return."""
    raw = list(saved)
    raw[6] = list(saved[6])
    raw[0] &= ~(
        termios.IGNBRK
        | termios.BRKINT
        | termios.PARMRK
        | termios.ISTRIP
        | termios.INLCR
        | termios.IGNCR
        | termios.ICRNL
        | termios.IXON
    )
    if output:
        raw[1] &= ~termios.OPOST
    raw[2] = (raw[2] & ~termios.PARENB & ~termios.CSIZE) | termios.CS8
    raw[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    raw[6][termios.VMIN], raw[6][termios.VTIME] = 1, 0
    termios.tcsetattr(fd, termios.TCSANOW, raw)


def reset_sequence() -> bytes:
    """Bytes that undo what a guest's program may have done to the screen."""
    if is_dumb():
        return b""
    # Only the Linux console knows this one (console_codes(4)): back to UTF-8.
    return _RESET + (b"\x1b%G" if os.environ.get("TERM") == "linux" else b"")


def write_all(fd: int, data: bytes) -> None:
    """Write everything, waiting for the terminal."""
    while data:
        data = data[os.write(fd, data) :]
