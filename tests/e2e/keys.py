# SPDX-License-Identifier: Apache-2.0
"""Text to key presses on a US keyboard, in QEMU's key names (qapi/ui.json, QKeyCode)."""

from __future__ import annotations

_PLAIN = {
    "\n": "ret",
    "\t": "tab",
    "\x1b": "esc",
    "\x7f": "backspace",
    " ": "spc",
    "-": "minus",
    "=": "equal",
    "[": "bracket_left",
    "]": "bracket_right",
    ";": "semicolon",
    "'": "apostrophe",
    "`": "grave_accent",
    "\\": "backslash",
    ",": "comma",
    ".": "dot",
    "/": "slash",
}
_NAMES = (
    "1 2 3 4 5 6 7 8 9 0 minus equal bracket_left bracket_right semicolon apostrophe "
    "grave_accent backslash comma dot slash"
)
_SHIFTED = dict(zip('!@#$%^&*()_+{}:"~|<>?', _NAMES.split(), strict=True))


def chord(name: str) -> list[str]:
    """``alt-f3`` → ``[alt, f3]``; ``ctrl-]`` → ``[ctrl, bracket_right]``."""
    *modifiers, last = name.split("-")
    return [*modifiers, _PLAIN.get(last, last)]


def keys(text: str) -> list[list[str]]:
    """The chords that type `text`.

    Raises:
        ValueError: a character that a US keyboard does not have.
    """
    chords = []
    for character in text:
        if character in _PLAIN:
            chords.append([_PLAIN[character]])
        elif character in _SHIFTED:
            chords.append(["shift", _SHIFTED[character]])
        elif character.isascii() and character.isalnum():
            lower = character.lower()
            chords.append([lower] if character == lower else ["shift", lower])
        else:
            raise ValueError(f"no key for {character!r}")
    return chords
