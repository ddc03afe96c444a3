# SPDX-License-Identifier: Apache-2.0
"""Tables for people, JSON for programs."""

from __future__ import annotations

import sys

from hypershell.units import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def render(header: Sequence[str], rows: Sequence[Sequence[str]], right: frozenset[int]) -> str:
    """Columns as wide as their widest cell, two spaces apart; columns in ``right`` flush right."""
    cells = [list(header)] + [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = []
    for row in cells:
        parts = [
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(parts).rstrip())
    return "\n".join(lines)


def say(text: str) -> None:
    """Print one or more lines; a name that the terminal's encoding lacks must not end the shell."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "replace").decode(encoding) + "\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    """One line on stderr, after everything that stdout still holds."""
    sys.stdout.flush()
    sys.stderr.write(text.encode("utf-8", "replace").decode("utf-8") + "\n")
    sys.stderr.flush()


def dump(value: object) -> None:
    """Print ``value`` as indented JSON."""
    import json

    say(json.dumps(value, indent=2))
