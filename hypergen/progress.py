# SPDX-License-Identifier: Apache-2.0
"""What the user sees of long work: a live line on a terminal, plain lines in a log.

Everything goes to standard error; standard output is for results (``grub render``, ``--json``).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table

from hypergen.errors import HypergenError

# emoji=False: a compiler's "file.c:100: …" is not a picture.
console = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)

_depth: list[str] = []
_times: list[tuple[str, float]] = []
_live: Status | None = None


def note(text: str) -> None:
    """Print one line of information."""
    console.print("  " * len(_depth) + escape(text))


def warn(text: str) -> None:
    """Print one line that the user should read."""
    console.print(f"[yellow]warning:[/yellow] {escape(text)}")


def detail(text: str) -> None:
    """Show `text` as the latest thing the running step did; kept only while it is the latest."""
    if _live is not None and _depth:
        width = max(20, console.width - len(_depth[-1]) - 8)
        _live.update(f"{escape(_depth[-1])} [dim]{escape(text.strip()[:width])}[/dim]")


@contextlib.contextmanager
def step(title: str) -> Iterator[None]:
    """Announce a piece of work, show that it goes on, and say how long it took."""
    global _live
    outermost = not _depth
    _depth.append(title)
    start = time.monotonic()
    if console.is_terminal:
        if _live is None:
            _live = console.status(escape(title))
            _live.start()
        else:
            _live.update(escape(title))
    else:
        console.print("  " * (len(_depth) - 1) + escape(title) + " …")
    done = False
    try:
        yield
        done = True
    finally:
        seconds = time.monotonic() - start
        _depth.pop()
        if _live is not None and outermost:
            _live.stop()
            _live = None
        elif _live is not None:
            _live.update(escape(_depth[-1]))
        if done:
            mark = "[green]✓[/green]" if console.encoding.startswith("utf") else "ok"
            console.print("  " * len(_depth) + f"{mark} {escape(title)} [dim]{seconds:.1f} s[/dim]")
            if outermost:
                _times.append((title, seconds))


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """Give the terminal to another program for a while."""
    if _live is not None:
        _live.stop()
    try:
        yield
    finally:
        if _live is not None:
            _live.start()


def human(size: int) -> str:
    """`size` bytes in binary units, three significant digits: ``9.53 MiB``."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            return f"{int(value)} B" if unit == "B" else f"{value:.3g} {unit}"
        value /= 1024
    raise AssertionError("unreachable")


def summary(rows: list[tuple[str, str, str]]) -> None:
    """Close a run with a table of (what, size or state, path)."""
    table = Table(show_header=False, box=None, pad_edge=False)
    for what, size, path in rows:
        table.add_row(escape(what), escape(size), escape(path))
    console.print(table)


def times() -> list[tuple[str, float]]:
    """The outermost steps finished so far with their seconds."""
    return list(_times)


def failure(error: HypergenError) -> None:
    """Print an error: what, the program's last lines, where the whole log is, what to do."""
    console.print(f"[bold red]hypergen:[/bold red] {escape(error.message)}")
    for line in error.tail:
        console.print(f"  [dim]|[/dim] {escape(line)}")
    if error.log is not None:
        console.print(f"log:  {escape(str(error.log))}")
    if error.hint:
        console.print(f"hint: {escape(error.hint)}")
