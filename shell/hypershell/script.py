# SPDX-License-Identifier: Apache-2.0
"""Scripts: one command a line, ``#`` comments; the first failure ends them."""

from __future__ import annotations

import sys

from hypershell import app
from hypershell.errors import UsageError
from hypershell.spec import Exit
from hypershell.table import complain
from hypershell.units import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def run_file(path: str, keep_going: bool, name: str = "") -> int:
    """Run the lines of the file ``path`` (``-``: stdin), called ``name`` in messages.

    Returns the status of the first command that failed, or 0. Raises UsageError when it cannot be
    read.
    """
    if path == "-":
        return run_lines(sys.stdin, name or "stdin", keep_going)
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not a text of commands") from error
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    return run_lines(lines, name or path, keep_going)


def run_lines(lines: Iterable[str], name: str, keep_going: bool) -> int:
    """Run ``lines``; each error says in which one it was."""
    first = 0
    outer = app.place
    try:
        for number, line in enumerate(lines, start=1):
            app.place = f"{outer}{name}:{number}: "
            app.complained = False
            try:
                code = app.run_line(line, False)
            except Exit:
                break
            if not code:
                continue
            if not app.complained:  # the command has had its own say, without the place
                complain(printable(f"{app.place}status {code}: {line.strip()}"))
            app.complained = True
            first = first or code
            if app.interrupted or not keep_going:
                break
    finally:
        app.place = outer
    return first
