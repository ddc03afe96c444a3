# SPDX-License-Identifier: Apache-2.0
"""Tables for people, JSON for programs."""

from __future__ import annotations

import os
import sys

from hypershell.units import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence


NARROWEST = 8
"""Columns that a cell keeps, however narrow the terminal is."""


def _terminal_width() -> int:
    """Columns of the terminal on standard output; 0 where there is none or it does not say."""
    try:
        return os.get_terminal_size(1).columns if os.isatty(1) else 0
    except OSError:
        return 0


def _shrink(widths: list[int], right: frozenset[int], limit: int) -> None:
    """Take from the widest text column until a row fits; figures are never cut."""
    text = [i for i in range(len(widths)) if i not in right]
    while text and sum(widths) + 2 * (len(widths) - 1) > limit:
        widest = max(text, key=lambda i: widths[i])
        if widths[widest] <= NARROWEST:
            return
        widths[widest] -= 1


def _cut(cell: str, width: int) -> str:
    return cell if len(cell) <= width else cell[: width - 1] + "~"


def render(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: frozenset[int],
    limit: int | None = None,
) -> str:
    """Columns as wide as their widest cell, two spaces apart; columns in ``right`` flush right.

    Where a row would be wider than ``limit`` (default: the terminal; 0: no limit), the widest texts
    end in ``~``: a wrapped table cannot be read, and a unique beginning names a thing as well.
    """
    cells = [list(header)] + [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    if limit := _terminal_width() if limit is None else limit:
        _shrink(widths, right, limit)
    lines = []
    for row in cells:
        parts = [
            cell.rjust(width) if i in right else _cut(cell, width).ljust(width)
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


class Listing:
    """Rows for people and records for programs, of one list.

    ``right`` are the columns of figures; ``records`` has an object a row, ``ids`` what ``-q``
    prints; ``nothing`` is said in place of an empty table.
    """

    def __init__(
        self,
        header: Sequence[str],
        rows: Sequence[Sequence[str]],
        records: Sequence[object],
        *,
        right: frozenset[int] = frozenset(),
        ids: Sequence[str] | None = None,
        nothing: str = "",
    ) -> None:
        self.header, self.rows, self.records, self.right = header, rows, records, right
        self.ids = [row[0] for row in rows] if ids is None else ids
        self.nothing = nothing


def show(listing: Listing, args: Namespace) -> None:
    """Print a list as ``--json``, ``--format`` and ``-q`` (spec.LISTING) ask for it."""
    if args.json or args.format == "json":
        dump(list(listing.records))
    elif args.quiet:
        for one in listing.ids:
            say(one)
    elif args.format == "csv":
        for row in ([name.lower().replace(" ", "_") for name in listing.header], *listing.rows):
            say(",".join(_csv_cell(cell) for cell in row))
    elif listing.rows:
        say(render(listing.header, listing.rows, listing.right))
    elif listing.nothing:
        say(listing.nothing)


def _csv_cell(cell: str) -> str:
    """RFC 4180: what holds a comma, a quote or a line's end is quoted."""
    if any(char in cell for char in ',"\r\n'):
        return '"' + cell.replace('"', '""') + '"'
    return cell


def pairs(rows: Sequence[tuple[str, str]]) -> str:
    """Names and values in two columns, for the facts about one thing."""
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"{name.ljust(width)}  {printable(text)}".rstrip() for name, text in rows)


def dump(value: object) -> None:
    """Print ``value`` as indented JSON."""
    import json

    say(json.dumps(value, indent=2))
