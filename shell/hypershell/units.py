# SPDX-License-Identifier: Apache-2.0
"""Sizes and times as people read and type them; text made safe for a terminal."""

from __future__ import annotations

from hypershell.errors import UsageError

MIB = 1 << 20
_SUFFIX = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def human_size(size: int) -> str:
    """``size`` bytes with a binary unit and three figures at most: ``512 MiB``, ``1.5 GiB``."""
    value, unit = float(size), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1000:
            break
        value, unit = value / 1024, larger
    if value >= 100 or value == int(value):
        return f"{value:.0f} {unit}"
    return f"{value:.1f} {unit}"


def parse_size(text: str) -> int:
    """Bytes of ``512M``, ``2G``, ``1.5GiB``; a bare number is MiB. Raises UsageError."""
    word = text.strip().upper()
    for tail in ("IB", "B"):
        if word.endswith(tail) and len(word) > len(tail) and word[-len(tail) - 1] in _SUFFIX:
            word = word[: -len(tail)]
            break
    factor = MIB
    if word[-1:] in _SUFFIX:
        factor = _SUFFIX[word[-1]]
        word = word[:-1]
    if not word or not word.replace(".", "", 1).isdigit() or not word.isascii():
        raise UsageError(f"'{text}' is not a size; type for example 512M or 2G")
    return int(float(word) * factor)


def human_time(seconds: float) -> str:
    """A duration in its two largest units: ``42s``, ``3m 07s``, ``2h 05m``, ``4d 03h``."""
    total = max(int(seconds), 0)
    if total < 60:
        return f"{total}s"
    if total < 3600:
        return f"{total // 60}m {total % 60:02d}s"
    if total < 86400:
        return f"{total // 3600}h {total % 3600 // 60:02d}m"
    return f"{total // 86400}d {total % 86400 // 3600:02d}h"


def parse_cpu_list(text: str) -> list[int]:
    """CPUs of ``0-2,5``, in that order. Raises UsageError; that they exist is others' to say."""
    result: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        ends = (first, last) if dash else (first, first)
        if not all(end.isascii() and end.isdigit() and len(end) < 5 for end in ends):
            raise UsageError(f"'{text}' is no list of CPUs; type for example 0-2,5")
        if int(ends[0]) > int(ends[1]):
            raise UsageError(f"'{part}' in '{text}' runs backwards")
        result += range(int(ends[0]), int(ends[1]) + 1)
    return result


def parse_lines(word: str, option: str = "--lines") -> int:
    """How many lines an option asks for; 0 for ``all``. Raises UsageError."""
    if word == "all":
        return 0
    if not (word.isascii() and word.isdigit() and int(word) > 0):
        raise UsageError(f"{option} {word}: type a number, or all")
    return int(word)


def parse_seconds(text: str, option: str) -> float:
    """Seconds of ``90``, ``2.5``, ``90s``, ``5m``, ``1h``. Raises UsageError naming ``option``."""
    word = text.strip().lower()
    factor = {"s": 1, "m": 60, "h": 3600}.get(word[-1:], 0)
    number = word[:-1] if factor else word
    if not number.isascii() or not number.replace(".", "", 1).isdigit():
        raise UsageError(f"{option} '{text}': type seconds, or for example 90s, 5m or 1h")
    return float(number) * (factor or 1)


def printable(text: str) -> str:
    """``text`` without what could move a cursor: control characters become ``?``."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isprintable() else "?" for c in text)
