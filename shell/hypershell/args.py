# SPDX-License-Identifier: Apache-2.0
"""argparse made from a command's declaration; errors become one UsageError line."""

from __future__ import annotations

import argparse
import os

from hypershell.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from hypershell.spec import Spec


class _Parser(argparse.ArgumentParser):
    """argparse exits and prints usage on errors; a shell must live on."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; 'help {self.prog}' explains")


def _declare(parser: argparse.ArgumentParser, spec: Spec) -> None:
    for arg in spec.args:
        names = [arg.name, arg.short] if arg.short else [arg.name]
        if arg.flag:
            parser.add_argument(*names, action="store_true")
        elif arg.option:
            parser.add_argument(*names, default=arg.default, metavar=arg.metavar)
        elif arg.many == "...":
            parser.add_argument(arg.name, nargs=argparse.REMAINDER, metavar=arg.metavar)
        elif arg.many:
            parser.add_argument(arg.name, nargs=arg.many, metavar=arg.metavar)
        else:
            parser.add_argument(arg.name, metavar=arg.metavar)


def _joined(spec: Spec, words: list[str]) -> list[str]:
    """``--option value`` as one word, so that a value may begin with a dash (vm_create --vmm)."""
    if any(arg.many == "..." for arg in spec.args):
        return words  # another program's options look the same
    taking = {arg.name for arg in spec.args if arg.option and not arg.flag}
    result: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--":
            return [*result, word, *rest]
        value = next(rest, None) if word in taking else None
        result.append(word if value is None else f"{word}={value}")
    return result


def parse(name: str, spec: Spec, words: list[str]) -> argparse.Namespace:
    """The arguments of command ``name``; ``help`` is set when -h or --help stands anywhere.

    Raises UsageError with one line.
    """
    if spec.args[0].many == "...":  # another program's words, options and all
        return argparse.Namespace(help=words in (["-h"], ["--help"]), **{spec.args[0].name: words})
    parser = _Parser(prog=name, add_help=False, allow_abbrev=False)
    _declare(parser, spec)
    options = words[: words.index("--")] if "--" in words else words
    if any(arg.many == "..." for arg in spec.args):  # words behind the first plain one are not ours
        plain = [i for i, word in enumerate(words) if not word.startswith("-")]
        options = words[: plain[0]] if plain else words
    if "-h" in options or "--help" in options:
        return argparse.Namespace(help=True)
    words = _joined(spec, words)
    if any(arg.many in ("*", "?") for arg in spec.args):  # options may stand between plain words
        result = parser.parse_intermixed_args(words)
    else:
        result = parser.parse_args(words)
    for arg in spec.args:
        value = getattr(result, arg.name.lstrip("-").replace("-", "_"))
        if arg.only and value is not None and value not in arg.values:
            *first, last = list(arg.values)
            raise UsageError(f"{arg.name} '{value}': type {', '.join(first)} or {last}")
    return result


def parse_program(argv: list[str]) -> argparse.Namespace:
    """The arguments of the program itself. Raises UsageError."""
    parser = _Parser(prog="hypershell", add_help=False, allow_abbrev=False)
    parser.error = _program_error  # type: ignore[method-assign]
    parser.add_argument("-c", dest="command", metavar="COMMAND")
    parser.add_argument("-k", "--keep-going", action="store_true")
    for option in ("host", "guest-kernel", "guest-image", "run-dir", "state-dir", "vmm"):
        parser.add_argument(f"--{option}")
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("--version", action="store_true")
    parser.add_argument("script", nargs="?", metavar="FILE")
    result = parser.parse_args(argv)
    if result.script is not None and result.command is not None:
        raise UsageError(f"a command and a script ({result.script}) at once; type one of them")
    if result.keep_going and result.script is None:
        raise UsageError("--keep-going is for a script; name its FILE")
    if result.script is not None and not os.path.exists(result.script) and result.script != "-":
        from hypershell.commands import ALIASES, COMMANDS

        hint = "'hypershell --help' explains"
        if result.script in COMMANDS or result.script in ALIASES:
            hint = f"for the command type: hypershell -c {result.script}"
        raise UsageError(f"no script {result.script}; {hint}")
    return result


def _program_error(message: str) -> NoReturn:
    raise UsageError(f"{message}; 'hypershell --help' explains")
