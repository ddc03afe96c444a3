# SPDX-License-Identifier: Apache-2.0
"""Definitions of VMs that last: STATE/vm/NAME.toml, settings named as vm_create's options.

A file is written beside its place, synced and renamed, and the folder synced: after a power cut
there is the old definition or the new one. What a VM is like now is still its process's to say.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os

from hypershell import args as arguments
from hypershell import commands, create, paths, storage
from hypershell.choose import choose
from hypershell.errors import ShellError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace

    Definition = dict[str, object]

_LIMIT = 65536  # bytes of a definition
_OWN = ("autostart",)
_NOT_STORED = ("help", "json", "quiet", "name")


def root() -> str:
    """Where the definitions are."""
    return paths.state_dir() + "/vm"


def _path(name: str) -> str:
    return f"{root()}/{name}.toml"


def names() -> list[str]:
    """All definitions, by name."""
    try:
        found = os.listdir(root())
    except OSError:
        return []
    return sorted(n.removesuffix(".toml") for n in found if n.endswith(".toml") and n[0] != ".")


def exists(name: str) -> bool:
    """Is there a definition of this very name?"""
    return os.path.isfile(_path(name))


def pick(word: str) -> str:
    """The name that a word or a unique beginning means. Raises UsageError."""
    return choose(
        "definition",
        word,
        names(),
        lambda shown: f"; there are {shown or 'none: vm_define makes one'}",
        str,
    )


def settings() -> dict[str, bool]:
    """What a definition can hold besides ``autostart``: name, and whether it is a switch."""
    spec = commands.load("vm_create")
    found = {arg.name.lstrip("-").replace("-", "_"): arg.flag for arg in spec.args}
    return {name: flag for name, flag in found.items() if name not in _NOT_STORED}


def parse(text: str) -> Definition:
    """The settings in a TOML document, of the right types. Raises UsageError with the place."""
    import tomllib

    try:
        read = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"no TOML: {error}") from error
    return check(read)


def check(read: Definition) -> Definition:
    """``read`` with strings for figures and switches for switches. Raises UsageError."""
    known = settings()
    result: Definition = {}
    for key, value in read.items():
        if key in _OWN or known.get(key):
            if not isinstance(value, bool):
                raise UsageError(f"{key}: type true or false")
            result[key] = value
        elif key in known:
            if not isinstance(value, (str, int)) or isinstance(value, bool):
                raise UsageError(f"{key}: type a text in quotes")
            result[key] = str(value)
        else:
            raise UsageError(f"unknown setting '{key}'; there are {', '.join([*known, *_OWN])}")
    if "kernel" not in result:
        raise UsageError("'kernel' is missing")
    return result


def render(definition: Definition) -> str:
    """The TOML document; JSON's strings are TOML's but for DEL."""
    lines = []
    for key, value in definition.items():
        text = (
            json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value).lower()
        )
        lines.append(f"{key} = {text}".replace("\x7f", "\\u007f"))
    return "\n".join(lines) + "\n"


def load(name: str) -> Definition:
    """A definition. Raises UsageError when it is not there or cannot be understood."""
    try:
        with open(_path(name), encoding="utf-8", errors="replace") as file:
            return parse(file.read(_LIMIT))
    except FileNotFoundError:
        raise UsageError(f"there is no definition '{name}'") from None
    except OSError as error:
        raise ShellError(f"{_path(name)}: {error.strerror}") from error
    except UsageError as error:
        raise UsageError(f"definition {name}: {error}; vm_edit {name} mends it") from error


class Lock:
    """One shell at a time changes definitions; freed by the kernel when its holder dies."""

    def __enter__(self) -> Lock:
        try:
            os.makedirs(root(), exist_ok=True)
            self._fd = os.open(root(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(self._fd, fcntl.LOCK_EX)
        except OSError as error:
            raise ShellError(f"{root()}: {error.strerror}; HYPERGEN_STATE names it") from error
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def store(name: str, definition: Definition) -> None:
    """Write a definition so that a power cut leaves the old one or this one. Call with the Lock."""
    create.check_name(name, [], "the name")
    part = f"{root()}/.{name}.part"
    try:
        with open(part, "w", encoding="utf-8") as file:
            file.write(render(definition))
            file.flush()
            os.fsync(file.fileno())
        os.rename(part, _path(name))
        storage.sync_folder(root())
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise ShellError(f"{_path(name)}: {error.strerror}") from error


def remove(name: str) -> None:
    """Forget a definition. Call with the Lock."""
    try:
        os.unlink(_path(name))
        storage.sync_folder(root())
    except OSError as error:
        raise ShellError(f"{_path(name)}: {error.strerror}") from error


def namespace(name: str, definition: Definition) -> Namespace:
    """What vm_create would have been given. Raises UsageError as it does."""
    known = settings()
    spec = commands.load("vm_create")
    plain = [arg.name for arg in spec.args if not arg.option]
    words = [str(definition[key]) for key in plain if key in definition]
    for key, value in definition.items():
        if key in plain or key not in known:
            continue
        option = "--" + key.replace("_", "-")
        if known[key]:
            words += [option] if value else []
        else:
            words.append(f"{option}={value}")
    return arguments.parse("vm_create", spec, ["--name", name, *words])
