# SPDX-License-Identifier: Apache-2.0
"""How a command describes itself: one declaration feeds the parser, the help and the completion."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Sequence


class Arg:
    """An argument: positional when ``name`` has no dashes.

    ``values`` says what completes it: kernel, image, vm, isle,
    command, initrd, file, or a list of words;
    with ``only``, nothing but these words is taken. ``many`` is argparse's nargs (``+``, ``*`` or
    ``?``; ``...`` takes all that follows as it stands); ``flag`` marks an option without a value.
    """

    def __init__(
        self,
        name: str,
        text: str,
        *,
        short: str = "",
        metavar: str = "",
        values: str | Sequence[str] = (),
        default: str | None = None,
        many: str = "",
        flag: bool = False,
        only: bool = False,
    ) -> None:
        self.name, self.text, self.short = name, text, short
        self.metavar = metavar or (name[2:].upper() if name.startswith("-") else name)
        self.values, self.default, self.many, self.flag = values, default, many, flag
        self.only = only

    @property
    def option(self) -> bool:
        """Has it dashes?"""
        return self.name.startswith("-")

    def usage(self) -> str:
        """How the argument looks in a usage line."""
        if self.option:
            return f"[{self.name}]" if self.flag else f"[{self.name} {self.metavar}]"
        plain = f"<{self.metavar}>"
        several = f"[{self.metavar}...]"
        forms = {"+": plain + "...", "?": f"[{self.metavar}]", "*": several, "...": several}
        return forms.get(self.many, plain)


JSON = Arg("--json", "print JSON for programs", flag=True)
QUIET = Arg("--quiet", "print ids only, one a line", short="-q", flag=True)
FORMAT = Arg(
    "--format",
    "table, csv or json",
    values=("table", "csv", "json"),
    default="table",
    only=True,
)
LISTING = (JSON, FORMAT, QUIET)
"""What every list takes."""
FORCE = Arg("--force", "end it the hard way when it does not end by itself", flag=True)
HELP = Arg("--help", "show this help", short="-h", flag=True)


class Context:
    """What a command may know of its caller."""

    def __init__(self, interactive: bool) -> None:
        self.interactive = interactive


class Exit(Exception):
    """Raised by ``exit`` to leave the shell."""


class Spec:
    """A command: what it takes, how it is explained, and the function that does it."""

    def __init__(
        self,
        run: Callable[[Namespace, Context], int],
        args: Sequence[Arg],
        about: str,
        examples: Sequence[tuple[str, str]],
    ) -> None:
        self.run, self.args, self.about, self.examples = run, (*args, HELP), about, examples

    def usage(self, name: str) -> str:
        """The usage, in lines of 78 columns; without --help, which every command has."""
        lines = [f"  {name}"]
        for arg in self.args:
            if arg is HELP:
                continue
            if len(lines[-1]) + 1 + len(arg.usage()) > 78:
                lines.append(" " * (len(name) + 2))
            lines[-1] += " " + arg.usage()
        return "\n".join(lines)


def fill(text: str, width: int = 78) -> list[str]:
    """Lines of at most ``width`` columns; empty and indented lines stay as they are."""
    lines: list[str] = []
    joinable = False
    for line in text.strip().splitlines():
        if not line.strip() or line[0].isspace():
            lines.append(line)
            joinable = False
            continue
        for word in line.split(" "):
            if joinable and len(lines[-1]) + 1 + len(word) <= width:
                lines[-1] += " " + word
            else:
                lines.append(word)
            joinable = True
    return lines


def help_text(name: str, summary: str, spec: Spec) -> str:
    """The page that ``help NAME`` and ``NAME --help`` print."""
    lines = [f"{name} - {summary}", "", spec.usage(name), "", *fill(spec.about)]
    rows = []
    for arg in spec.args:
        title = arg.name if arg.option else f"<{arg.metavar}>"
        if arg.short:
            title = f"{arg.short}, {title}"
        if arg.option and not arg.flag:
            title += f" {arg.metavar}"
        default = f" (default: {arg.default})" if arg.default else ""
        rows.append((title, arg.text + default))
    width = max(len(title) for title, _ in rows)
    lines.append("")
    for title, text in rows:
        first, *more = fill(text, 78 - width - 4)
        lines.append(f"  {title.ljust(width)}  {first}")
        lines += [" " * (width + 4) + line for line in more]
    if spec.examples:
        lines += ["", "Examples:"]
        lines += [f"  {command}\n      {text}" for command, text in spec.examples]
    return "\n".join(lines)
