# SPDX-License-Identifier: Apache-2.0
"""The program: one command (-c), a script, lines from a pipe, or the prompt; here or elsewhere."""

from __future__ import annotations

import os
import sys

from hypershell import __version__
from hypershell.errors import ShellError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace

PROMPT = "hyper-gen:# "

USAGE = """usage: hypershell [OPTION]... [-c COMMAND | FILE]

The hyper-gen shell. Without arguments it prompts; commands also come one a line on stdin.

  -c COMMAND          run one command, for example: hypershell -c 'vm_list --json'
  FILE                run a script, one command a line; the first failure ends it
  -k, --keep-going    go on after a failure, and end with the first one's status
  --host HOST         do all that on another host, by ssh (HOST, USER@HOST, ssh://HOST:PORT)
  --guest-kernel DIR  where the guest kernels are
  --guest-image DIR   where the disk images are
  --run-dir DIR       where running VMs have their folders
  --state-dir DIR     where definitions and snapshots are
  --vmm PROGRAM       the mini-VMM
  -h, --help          show this help; hypershell -c help lists the commands
  --version           show the version

Exit status: 0 done, 1 failed, 2 wrong usage.
Environment: HYPERGEN_KERNELS, HYPERGEN_IMAGES, HYPERGEN_RUN, HYPERGEN_STATE, HYPERGEN_VMM stand for
the options."""

place = ""
"""What errors begin with: where a script's command stands."""
complained = False
"""Has an error been printed since this was cleared?"""
interrupted = False
"""Did CTRL+c end the last command?"""


def run_line(line: str, interactive: bool) -> int:
    """Run one command line: 0, 1 (failed) or 2 (usage). Raises spec.Exit to leave the shell."""
    import shlex

    global interrupted
    interrupted = False
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
        interrupted = True
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

    global complained
    complained = True
    try:  # noqa: SIM105 - contextlib would be loaded before the prompt for this alone
        complain(printable(f"{place}{text}".replace("\n", " ")))
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


def entry() -> int:
    """The program as an installed package starts it."""
    return main(sys.argv[1:])


def main(argv: list[str]) -> int:
    """The program; returns its exit status."""
    command = host = script = None
    keep_going = False
    if argv:
        from hypershell.args import parse_program

        try:
            args = parse_program(argv)
            if args.help or args.version:
                print(USAGE if args.help else f"hypershell {__version__}")
                return 0
            _move(args)
        except UsageError as error:
            _complain(f"hypershell: {error}")
            return 2
        command, host, script, keep_going = args.command, args.host, args.script, args.keep_going
    try:
        if host is not None or script is not None:
            return _elsewhere(command, host, script, keep_going)
        return _main(command)
    except ShellError as error:
        _complain(f"hypershell: {error}")
        return error.code
    except KeyboardInterrupt:
        return 1


def _move(args: Namespace) -> None:
    """Options that say where things are hold for whatever this process starts as well."""
    for option, variable in (
        ("guest_kernel", "HYPERGEN_KERNELS"),
        ("guest_image", "HYPERGEN_IMAGES"),
        ("run_dir", "HYPERGEN_RUN"),
        ("state_dir", "HYPERGEN_STATE"),
        ("vmm", "HYPERGEN_VMM"),
    ):
        value = getattr(args, option)
        if value is None:
            continue
        if option in ("guest_kernel", "guest_image") and not os.path.isdir(value):
            raise UsageError(f"--{option.replace('_', '-')} {value}: no such folder")
        os.environ[variable] = os.path.abspath(value) if option != "vmm" or "/" in value else value


def _elsewhere(command: str | None, host: str | None, script: str | None, keep_going: bool) -> int:
    """A script, or anything on another host."""
    if host is None:
        from hypershell.script import run_file

        _end_well()
        return run_file(str(script), keep_going)
    import shlex

    from hypershell import remote

    if script is None:
        return remote.run(host, command)
    words = ["script", "-", "--called", script, *(["-k"] if keep_going else [])]
    if script == "-":
        return remote.run(host, shlex.join(words))
    try:
        with open(script, "rb") as file:
            return remote.run(host, shlex.join(words), file.fileno())
    except OSError as error:
        raise UsageError(f"{script}: {error.strerror}") from error


def _end_well() -> None:
    import signal

    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGHUP, _end)


def _main(command: str | None) -> int:
    if command is None and os.isatty(0) and os.isatty(1):
        from hypershell.prompt import interactive

        return interactive(_end)
    _end_well()
    if command is None:
        return _from_pipe()
    from hypershell.spec import Exit

    try:
        return run_line(command, os.isatty(0) and os.isatty(1))
    except Exit:
        return 0
