# SPDX-License-Identifier: Apache-2.0
"""docs/shell.md, made of docs/shell.md.in and of what the commands declare.

``python -m tests.shell.doc`` brings the page up to date; test_doc.py says when that is due.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(TOP / "shell"))

from hypershell.app import USAGE  # noqa: E402
from hypershell.commands import ALIASES, COMMANDS, GROUPS, load  # noqa: E402
from hypershell.schema import SCHEMAS, Many, Record, Table, Type  # noqa: E402
from hypershell.spec import FORMAT, HELP, JSON, QUIET, Arg, Spec  # noqa: E402

PAGE = TOP / "docs" / "shell.md"
TEMPLATE = TOP / "docs" / "shell.md.in"

_EVERYWHERE = (HELP, JSON, QUIET, FORMAT)
"""Explained once, before the commands."""


def cell(text: str) -> str:
    """Text inside a table of Markdown."""
    return text.replace("|", "\\|").replace("<", "\\<").replace("\n", " ")


def _argument(arg: Arg) -> str:
    words = f"{arg.short}, {arg.name}" if arg.short else arg.name
    return f"{words} {arg.metavar}" if arg.option and not arg.flag else words


def _command(name: str, summary: str, spec: Spec) -> Iterator[str]:
    yield f"### {name}"
    yield f"{summary[0].upper()}{summary[1:]}."
    yield "\n".join("  " + line for line in spec.usage(name).splitlines())
    yield "\n".join(_plain(spec.about))
    rows = [
        f"| `{cell(_argument(arg))}` | {cell(arg.text)} | {cell(arg.default or '')} |"
        for arg in spec.args
        if arg not in _EVERYWHERE
    ]
    if rows:
        yield "\n".join(["| argument | meaning | default |", "|---|---|---|", *rows])
    if spec.examples:
        width = max(len(command) for command, _ in spec.examples)
        lines = [f"    {command.ljust(width)}  {text}".rstrip() for command, text in spec.examples]
        yield "For example:"
        yield "\n".join(lines)


def _plain(text: str) -> Iterator[str]:
    """Prose stays prose, and indented lines become a block of their own."""
    shown = False
    for line in text.strip().splitlines():
        indented = line[:1].isspace()
        if indented != shown:
            yield ""
        shown = indented
        yield f"    {line.strip()}" if indented else cell(line)


def commands() -> str:
    """The reference of all commands, by what they are about."""
    parts = []
    for group, members in GROUPS.items():
        parts.append(f"## Commands: {'on the host' if group == 'words' else group}")
        for name, (_, summary) in members.items():
            parts += _command(name, summary, load(name))
    return "\n\n".join(parts)


def _type(kind: Type) -> str:
    if isinstance(kind, Many):
        return f"list of {_type(kind.of)}"
    if isinstance(kind, Table):
        return f"object of {_type(kind.of)}" + (" or null" if kind.nullable else "")
    if isinstance(kind, Record):
        return "object" + (" or null" if kind.nullable else "")
    return kind.replace("array", "list").replace("|", " or ")


def _fields(record: Record, prefix: str) -> Iterator[str]:
    for name, (kind, meaning) in record.fields.items():
        place = prefix + name.rstrip("?")
        absent = "may be absent; " if name.endswith("?") else ""
        shown = "others" if name == "*" else f"`{place}`"
        yield f"| {shown} | {_type(kind)} | {cell(absent + meaning)} |"
        inner, mark = (kind.of, "[]") if isinstance(kind, Many) else (kind, "")
        if isinstance(inner, Record):
            yield from _fields(inner, f"{place}{mark}.")


def json() -> str:
    """What every ``--json`` prints."""
    parts = []
    same: dict[int, str] = {}
    for name, kind in SCHEMAS.items():
        record = kind.of if isinstance(kind, Many) else kind
        assert isinstance(record, Record)
        form = "an object"
        if isinstance(kind, Many):
            form = "an object a line, as it comes" if kind.lines else "a list of objects"
        parts.append(f"### {name} --json")
        if id(record) in same:
            parts.append(f"Prints {form} as `{same[id(record)]}` has.")
            continue
        same[id(record)] = name
        rows = ["| field | type | meaning |", "|---|---|---|", *_fields(record, "")]
        parts += [f"Prints {form}:", "\n".join(rows)]
    return "\n\n".join(parts)


def aliases() -> str:
    """Other names that commands answer to."""
    rows = [f"| `{other}` | `{name}` |" for other, name in ALIASES.items()]
    return "\n".join(["| typed | means |", "|---|---|", *rows])


def usage() -> str:
    """The program's own words."""
    return "\n".join(f"    {line}".rstrip() for line in USAGE.splitlines())


def page() -> str:
    """The whole page."""
    text = TEMPLATE.read_text("utf-8")
    for mark, made in (
        ("usage", usage),
        ("commands", commands),
        ("json", json),
        ("aliases", aliases),
    ):
        assert text.count(f"@{mark}@\n") == 1, mark
        text = text.replace(f"@{mark}@\n", made() + "\n")
    return re.sub(r"\n{3,}", "\n\n", text)


def examples() -> list[tuple[str, str]]:
    """(command, line) of every example."""
    return [(name, line) for name in COMMANDS for line, _ in load(name).examples]


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
