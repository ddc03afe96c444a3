# SPDX-License-Identifier: Apache-2.0
"""The program: one command (-c), lines from a pipe, or the prompt."""

from __future__ import annotations

import os
import sys

from hypershell import __version__
from hypershell.errors import ShellError, UsageError

PROMPT = "hyper-gen:# "

USAGE = """usage: hypershell [-c COMMAND] [--help] [--version]

The hyper-gen shell. Without arguments it prompts; commands also come one a line on stdin.

  -c COMMAND   run one command, for example: hypershell -c 'vm_list --json'
  -h, --help   show this help; hypershell -c help lists the commands
  --version    show the version

Exit status: 0 done, 1 failed, 2 wrong usage.
Environment: HYPERGEN_RUN, HYPERGEN_KERNELS, HYPERGEN_IMAGES, HYPERGEN_VMM (folders, the VMM)."""


def run_line(line: str, interactive: bool) -> int:
    """Run one command line: 0, 1 (failed) or 2 (usage). Raises spec.Exit to leave the shell."""
    import shlex

    name = ""
    try:
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise UsageError(f"{str(error).lower()} in: {line.strip()}") from error
        if not words:
            return 0
        name = words[0]
        return run_words(words, interactive)
    except ShellError as error:
        from hypershell.commands import ALIASES, COMMANDS

        name = ALIASES.get(name, name)

        _complain(f"{name}: {error}" if name in COMMANDS else str(error))
        return error.code
    except KeyboardInterrupt:
        _complain("interrupted")
        return 1
    except BrokenPipeError:
        # The reader went away (| head): nothing more can be said, also not by the exit's flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except (OSError, MemoryError, RecursionError) as error:
        _complain(f"{name}: {error}")
        return 1


def run_words(words: list[str], interactive: bool) -> int:
    """Run a command that has been split into words. Raises ShellError and spec.Exit."""
    from hypershell.args import parse
    from hypershell.commands import ALIASES, COMMANDS, load
    from hypershell.spec import Context, help_text

    name = ALIASES.get(words[0], words[0])
    spec = load(name)
    if name != words[0] and name != "exit" and interactive:
        _complain(f"({words[0]} is {name} here)")
    args = parse(name, spec, words[1:])
    if args.help:
        from hypershell.table import say

        say(help_text(name, COMMANDS[name][1], spec))
        return 0
    return spec.run(args, Context(interactive))


def _complain(text: str) -> None:
    """One line on stderr."""
    from hypershell.table import complain
    from hypershell.units import printable

    try:  # noqa: SIM105 - contextlib would be loaded before the prompt for this alone
        complain(printable(text.replace("\n", " ")))
    except OSError:
        pass


def _from_pipe() -> int:
    """Run the lines of stdin; the status of the last one is the program's, as in sh."""
    from hypershell.spec import Exit

    code = 0
    for line in sys.stdin:
        try:
            code = run_line(line, False)
        except Exit:
            break
    return code


def _end(number: int, _: object) -> None:
    """SIGTERM and SIGHUP unwind the stack, so that the terminal gets its modes back."""
    raise SystemExit(128 + number)


def main(argv: list[str]) -> int:
    """The program; returns its exit status."""
    command = None
    if argv:
        from hypershell.args import parse_program

        try:
            args = parse_program(argv)
        except UsageError as error:
            _complain(f"hypershell: {error}")
            return 2
        if args.help or args.version:
            print(USAGE if args.help else f"hypershell {__version__}")
            return 0
        command = args.command
    try:
        return _main(command)
    except KeyboardInterrupt:
        return 1


def _main(command: str | None) -> int:
    if command is None and os.isatty(0) and os.isatty(1):
        from hypershell.prompt import interactive

        return interactive(_end)
    import signal

    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGHUP, _end)
    if command is None:
        return _from_pipe()
    from hypershell.spec import Exit

    try:
        return run_line(command, os.isatty(0) and os.isatty(1))
    except Exit:
        return 0
