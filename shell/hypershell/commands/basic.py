# SPDX-License-Identifier: Apache-2.0
"""help, watch and exit."""

from __future__ import annotations

import contextlib
import io
import shlex
import textwrap

from hypershell.commands import ALIASES, COMMANDS, GROUPS, load
from hypershell.errors import UsageError
from hypershell.spec import Arg, Context, Exit, Spec, help_text
from hypershell.table import say
from hypershell.units import parse_seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace

_KEYS = """
'help vm' says what each does; 'help vm_create' explains one, with examples.
TAB completes, UP and CTRL+r recall; ids, names and beginnings name things.
A first VM:  kernel_list, image_list, then  vm_create 1 1  and  vm_console 1"""


def overview() -> str:
    """What ``help`` prints: one screen, by what the commands are about."""
    lines = []
    for group, commands in GROUPS.items():
        words = "on the host" if group == "words" else group
        lines += textwrap.wrap(
            "  ".join(commands), 78, initial_indent=f"{words:<13}", subsequent_indent=" " * 13
        )
    return "\n".join(lines) + "\n" + _KEYS


_ROWS = 22
"""Lines of a screen that a list may take, so that what is typed next stays on it."""


def _about(word: str) -> str:
    """The commands of a noun (``vm``) or of a group, each with what it does."""
    found = GROUPS.get(word) or {n: e for n, e in COMMANDS.items() if n.startswith(word + "_")}
    more = ""
    if len(found) > _ROWS and word not in GROUPS:
        first, *others = [name for name, group in GROUPS.items() if group.keys() & found.keys()]
        found = {name: entry for name, entry in GROUPS[first].items() if name in found}
        more = f"\n\nMore: {', '.join(f'help {name}' for name in others)}"
    width = max(map(len, found), default=0)
    return "\n".join(f"  {name.ljust(width)}  {text}" for name, (_, text) in found.items()) + more


def _schema(word: str | None) -> int:
    from hypershell.schema import SCHEMAS, schema
    from hypershell.table import dump

    name = ALIASES.get(word or "", word or "")
    if name not in SCHEMAS:
        raise UsageError(f"--schema: type a command that has --json: {', '.join(SCHEMAS)}")
    dump(schema(name))
    return 0


def _help(args: Namespace, _: Context) -> int:
    if args.schema:
        return _schema(args.command)
    if args.command is None:
        say(overview())
    elif args.command not in COMMANDS and (text := _about(args.command)):
        say(text)
    else:
        name = ALIASES.get(args.command, args.command)
        spec = load(name)
        say(help_text(name, COMMANDS[name][1], spec))
    return 0


def _watch(args: Namespace, context: Context) -> int:
    from hypershell.app import run_line
    from hypershell.live import live

    if not args.words:
        raise UsageError("watch what? type for example: watch vm_list")
    line = shlex.join(args.words)
    every = max(parse_seconds(args.every, "--every"), 0.1)

    def draw() -> str:
        output, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            run_line(line, False)
        return f"every {args.every}s: {line}\n\n{output.getvalue()}{errors.getvalue()}"

    live(draw, every, 1 if args.once else 0)
    return 0


def _exit(_: Namespace, __: Context) -> int:
    raise Exit


SPECS = {
    "help": Spec(
        _help,
        [
            Arg("command", "a command, or a noun such as vm", values="command", many="?"),
            Arg("--schema", "the JSON Schema of what the command's --json prints", flag=True),
        ],
        "Without a command: the list of all. With one: its arguments and examples.",
        [
            ("help vm_create", "how to make a VM"),
            ("help image", "what can be done to images"),
            ("help vm_list --schema", "what its --json prints"),
        ],
    ),
    "watch": Spec(
        _watch,
        [
            Arg("--every", "seconds between two runs", metavar="TIME", default="2"),
            Arg("--once", "one run, and out", flag=True),
            Arg("words", "the command", metavar="command", values="command", many="..."),
        ],
        "Runs a command again and again and shows what it prints. q leaves.",
        [("watch vm_list", "live"), ("watch --every 1 net_info hg1", "")],
    ),
    "exit": Spec(
        _exit,
        [],
        "Leaves the shell, as CTRL+d on an empty line does. VMs are processes of their own and go\n"
        "on. On the host's own consoles the shell is started again at once.",
        [],
    ),
}
