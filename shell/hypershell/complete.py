# SPDX-License-Identifier: Apache-2.0
"""What TAB offers: commands, options, and the live ids and names of kernels, images and VMs."""

from __future__ import annotations

import os

from hypershell import files, paths, vm
from hypershell.commands import ALIASES, COMMANDS, load
from hypershell.errors import ShellError
from hypershell.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hypershell.spec import Arg, Spec


def candidates(text: str) -> list[tuple[str, str]]:
    """(word, description) for the word at the end of ``text``, what stands before the cursor."""
    words = text.split()
    word = words.pop() if words and not text[-1].isspace() else ""
    if not words:
        return [(name, about) for name, (_, about) in COMMANDS.items() if name.startswith(word)]
    try:
        spec = load(words[0])
        return [c for c in _of_command(spec, words[1:], word) if c[0].startswith(word)]
    except (ShellError, OSError):
        return []


def _of_command(spec: Spec, words: list[str], word: str) -> list[tuple[str, str]]:
    options = {name: a for a in spec.args if a.option for name in (a.name, a.short) if name}
    last = options.get(words[-1]) if words else None
    if last is not None and not last.flag:
        return _values(last, word)
    if word.startswith("-"):
        return [(a.name, a.text) for a in spec.args if a.option and a.name not in words]
    place = 0
    skip = False
    for one in words:
        option = options.get(one)
        place += not (skip or option is not None or one.startswith("--"))
        skip = option is not None and not option.flag
    positionals = [a for a in spec.args if not a.option]
    if positionals and positionals[-1].many in ("+", "*", "..."):
        place = min(place, len(positionals) - 1)
    if place < len(positionals):
        return [c for c in _values(positionals[place], word) if c[0] not in words[place:]]
    return [(a.name, a.text) for a in spec.args if a.option and a.name not in words]


def _values(arg: Arg, word: str) -> list[tuple[str, str]]:
    if not isinstance(arg.values, str):
        return [(value, "") for value in arg.values]
    if arg.values == "command":
        return [(name, about) for name, (_, about) in COMMANDS.items()]
    if arg.values == "initrd":
        return [(f.name, human_size(f.size)) for f in files.scan("kernel")]
    if arg.values in _MORE:
        return _MORE[arg.values](word)
    return _files(arg.values, word)


# What only some commands take is imported when one of them is completed, not with the editor.


def _startable(word: str) -> list[tuple[str, str]]:
    from hypershell import definitions

    there = {one.name for one in vm.known()}
    return _vms(word) + [(n, "defined") for n in definitions.names() if n not in there]


def _paths_on_disk(word: str) -> list[tuple[str, str]]:
    """Files and folders below what has been typed of a path."""
    folder, _, start = word.rpartition("/")
    found = []
    with os.scandir(folder + "/" if folder or word.startswith("/") else ".") as entries:
        for entry in entries:
            if entry.name.startswith(start) and (start or not entry.name.startswith(".")):
                path = f"{folder}/{entry.name}" if "/" in word else entry.name
                found.append((path + ("/" if entry.is_dir() else ""), ""))
    return sorted(found)


def _snapshots(_: str) -> list[tuple[str, str]]:
    from hypershell import snapshots

    return [(one.name, str(one.asked.get("name", ""))) for one in snapshots.known()]


def _definitions(_: str) -> list[tuple[str, str]]:
    from hypershell import definitions

    return [(name, "") for name in definitions.names()]


def _isles(_: str) -> list[tuple[str, str]]:
    from hypershell import isles

    return [(str(one.number), f"CPUs {one.cpus}, {one.path}") for one in isles.known()]


def _nets(_: str) -> list[tuple[str, str]]:
    return [(name, "") for name in sorted(os.listdir("/sys/class/net"))]


def _vms(word: str) -> list[tuple[str, str]]:
    """Ids, or names once a letter is typed: never two lines for one VM."""
    vms = vm.listed()
    if word and not word.isdigit():
        found = [(one.name, f"{one.id}, {one.told()}") for one in vms if one.name != "?"]
        return found + ([("all", "every VM")] if vms else [])
    return [(str(one.id), f"{one.name}, {one.told()}") for one in vms]


def _files(kind: str, word: str) -> list[tuple[str, str]]:
    result = []
    for file in files.scan(kind):
        if kind == "kernel":
            about = " ".join(files.kernel_kind(file.path)).strip()
        else:
            about = f"{files.image_kind(file.path)}, {human_size(file.size)}"
        if word and (not word.isdigit() or not str(file.id).startswith(word)):
            result.append((file.name, f"{file.id}, {about}"))
        else:
            result.append((str(file.id), f"{file.name}, {about}"))
    return result


_MORE = {
    "vm": _vms,
    "startable": _startable,
    "file": _paths_on_disk,
    "net": _nets,
    "snapshot": _snapshots,
    "definition": _definitions,
    "isle": _isles,
}
"""What completes a word, by an argument's ``values``."""


def history_path() -> str:
    """Where lines typed are kept: HYPERGEN_HISTORY, else on the host's root, where they last."""
    return os.environ.get("HYPERGEN_HISTORY") or paths.state_dir() + "/history"


def hint(text: str) -> str:
    """What the line under the prompt says of the command being typed; empty when it is none."""
    words = text.split(None, 1)
    name = ALIASES.get(words[0], words[0]) if words else ""
    if name not in COMMANDS or not text[len(words[0]) :]:
        return ""
    return f"{COMMANDS[name][1]}:  {' '.join(load(name).usage(name).split())}"
