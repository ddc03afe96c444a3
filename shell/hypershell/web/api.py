# SPDX-License-Identifier: Apache-2.0
"""The verbs over HTTP: POST /api/v1/VERB with its arguments as JSON, as its Spec declares them.

The names of arguments are the shell's without dashes before them, and ``_`` for those inside.
"""

from __future__ import annotations

import json
from argparse import Namespace

from hypershell import commands
from hypershell.commands import ALIASES, COMMANDS
from hypershell.errors import UsageError
from hypershell.schema import SCHEMAS, Many
from hypershell.spec import Arg, Context, Spec
from hypershell.web.http import HttpError, Request
from hypershell.web.jobs import guarded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

TEXT_LIMIT = 4096  # characters of an argument
LIST_LIMIT = 256
NUMBER_LIMIT = 2**53  # what JSON's numbers are good for everywhere (RFC 8259 §6)

LEFT_OUT = {
    "vm_console": "it is a WebSocket: /api/v1/console/VM",
    "vm_edit": "it needs an editor on a terminal; vm_define with replace does the same",
    "vm_debug": "it speaks with a debugger",
    "vm_screenshot": "it writes a file on the host",
    "run": "it needs a terminal",
    "host_web": "whoever may change it is on the host",
    "help": "openapi.json has all of it",
    "watch": "ask again",
    "script": "send its commands one by one",
    "exit": "there is no prompt to leave",
    **dict.fromkeys(("ps", "free", "ls", "cat", "mkdir", "kill"), "it is for a person on the host"),
}
"""Verbs that are not to be had here, and why."""

_IMPLIED = {"json": True, "once": True, "format": "json"}
_UNSAID = {"help": False, "quiet": False, "follow": False, "every": "2"}
"""Arguments that have one sense only here, and are not taken."""


def key(arg: Arg) -> str:
    """An argument's name in JSON."""
    return arg.name.lstrip("-").replace("-", "_")


def arguments(spec: Spec) -> list[Arg]:
    """What of a verb's arguments is taken from JSON."""
    return [arg for arg in spec.args if key(arg) not in _IMPLIED and key(arg) not in _UNSAID]


def streams(name: str) -> bool:
    """Does the verb answer line by line, as things happen?"""
    kind = SCHEMAS.get(name)
    return isinstance(kind, Many) and kind.lines


def find(name: str) -> Spec:
    """The verb's declaration. Raises HttpError."""
    if name in ALIASES:
        raise HttpError(404, f"{name} is {ALIASES[name]} here")
    if name in LEFT_OUT:
        raise HttpError(404, f"{name} is not to be had here: {LEFT_OUT[name]}")
    try:
        return commands.load(name)
    except UsageError as error:
        raise HttpError(404, str(error)) from error


def read_json(request: Request) -> dict[str, object]:
    """The body's object; an empty body is an empty object. Raises HttpError."""
    if not request.body:
        return {}
    if request.media_type() != "application/json":
        raise HttpError(415, "arguments come as application/json")

    def refuse(word: str) -> None:
        raise ValueError(f"{word} is no number of JSON")

    try:
        value = json.loads(request.body.decode("utf-8"), parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise HttpError(400, f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise HttpError(400, "the body is not a JSON object")
    return value


def namespace(name: str, spec: Spec, told: dict[str, object]) -> Namespace:
    """The arguments as argparse would have given them. Raises HttpError."""
    known = {key(arg): arg for arg in arguments(spec)}
    for word, value in told.items():
        if word not in known:
            takes = ", ".join(known) or "nothing"
            raise HttpError(400, f"{name} has no argument '{_shown(word)}'; it takes {takes}")
        if value is None:
            raise HttpError(400, f"{word}: null is no value; leave it out")
    values = {key(arg): _UNSAID[key(arg)] for arg in spec.args if key(arg) in _UNSAID}
    values |= {key(arg): _IMPLIED[key(arg)] for arg in spec.args if key(arg) in _IMPLIED}
    values |= {word: _value(arg, told.get(word)) for word, arg in known.items()}
    return Namespace(**values)


def _shown(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:40])


def _value(arg: Arg, value: object) -> object:
    """One argument; None when it is left out."""
    if arg.flag:
        if value is None:
            return False
        if not isinstance(value, bool):
            raise HttpError(400, f"{key(arg)}: true or false")
        return value
    if arg.many in ("+", "*", "..."):
        items = [] if value is None else value
        if not isinstance(items, list) or len(items) > LIST_LIMIT:
            raise HttpError(400, f"{key(arg)}: a list of at most {LIST_LIMIT}")
        if arg.many == "+" and not items:
            raise HttpError(400, f"{key(arg)}: at least one; {arg.text}")
        return [_text(arg, item) for item in items]
    if value is None:
        if not arg.option and arg.many != "?":
            raise HttpError(400, f"{key(arg)} is missing: {arg.text}")
        return arg.default
    return _text(arg, value)


def _text(arg: Arg, value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value) if 0 <= value <= NUMBER_LIMIT else value
    if not isinstance(value, str):
        raise HttpError(400, f"{key(arg)}: a text, or a whole number from 0")
    if len(value) > TEXT_LIMIT or "\0" in value or any("\ud800" <= c <= "\udfff" for c in value):
        raise HttpError(400, f"{key(arg)}: a text of at most {TEXT_LIMIT} characters without NUL")
    if arg.only and value not in arg.values:
        raise HttpError(400, f"{key(arg)}: one of {', '.join(arg.values)}")
    return value


def work(spec: Spec, args: Namespace) -> Callable[[], int]:
    """What the job of a verb does."""
    return lambda: guarded(lambda: spec.run(args, Context(False)))


def verbs() -> list[str]:
    """The verbs that are to be had, in the order of ``help``."""
    return [name for name in COMMANDS if name not in LEFT_OUT]
