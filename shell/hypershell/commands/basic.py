# SPDX-License-Identifier: Apache-2.0
"""help and exit."""

from __future__ import annotations

from hypershell.commands import COMMANDS, load
from hypershell.spec import Arg, Context, Exit, Spec, help_text
from hypershell.table import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace

_KEYS = """
TAB completes commands, options, ids and names; UP and CTRL+r recall earlier lines.
'help COMMAND' or 'COMMAND --help' explains a command with examples.
A kernel, an image or a VM is named by its id, its name or a unique beginning of its name.

A first VM:  kernel_list, image_list, then  vm_create 1 1  and  vm_console 1"""


def overview() -> str:
    """What ``help`` prints."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name.ljust(width)}  {text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(["The hyper-gen shell; its commands:", "", *lines]) + "\n" + _KEYS


def _help(args: Namespace, _: Context) -> int:
    if args.command is None:
        say(overview())
    else:
        spec = load(args.command)
        say(help_text(args.command, COMMANDS[args.command][1], spec))
    return 0


def _exit(_: Namespace, __: Context) -> int:
    raise Exit


SPECS = {
    "help": Spec(
        _help,
        [Arg("command", "the command to explain", values="command", many="?")],
        "Without a command: the list of all. With one: its arguments and examples.",
        [("help vm_create", "how to make a VM")],
    ),
    "exit": Spec(
        _exit,
        [],
        "Leaves the shell, as CTRL+d on an empty line does. VMs are processes of their own and go\n"
        "on. On the host's own consoles the shell is started again at once.",
        [],
    ),
}
