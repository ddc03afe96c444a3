# SPDX-License-Identifier: Apache-2.0
"""vm_define, vm_undefine, vm_edit, vm_autostart, definition_list."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile

from hypershell import definitions, vm
from hypershell.choose import each
from hypershell.commands import load, vm_create
from hypershell.errors import ShellError, UsageError
from hypershell.spec import JSON, LISTING, Arg, Context, Spec
from hypershell.table import Listing, complain, dump, say, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace


def _from_file(path: str) -> definitions.Definition:
    try:
        if path == "-":
            return definitions.parse(sys.stdin.read())
        with open(path, encoding="utf-8", errors="replace") as file:
            return definitions.parse(file.read())
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def _from_options(args: Namespace) -> definitions.Definition:
    """What was given, and nothing that was not: a default that changes later is followed."""
    spec = load("vm_create")
    result: definitions.Definition = {}
    for arg in spec.args:
        key = arg.name.lstrip("-").replace("-", "_")
        value = getattr(args, key, None)
        if key in definitions.settings() and value not in (None, False, arg.default):
            result[key] = value
    return definitions.check(result)


def _names_not_ids(definition: definitions.Definition) -> definitions.Definition:
    """Ids are numbered anew at each start of the host: names are kept in their place."""
    from hypershell import files

    result = dict(definition)
    for kind in ("kernel", "image"):
        word = result.get(kind)
        if isinstance(word, str) and "/" not in word:
            result[kind] = files.pick(kind, word).name
    return result


def _define(args: Namespace, _: Context) -> int:
    if args.file is not None and args.kernel is not None:
        raise UsageError("give --file, or a kernel and options, not both")
    if args.file is None and args.kernel is None:
        raise UsageError("a kernel is missing; or give --file FILE")
    definition = _from_file(args.file) if args.file else _from_options(args)
    definition = _names_not_ids(definition)
    if args.autostart:
        definition["autostart"] = True
    vm_create.check(definitions.namespace(args.name, definition))
    with definitions.Lock():
        there = definitions.exists(args.name)
        if there and not args.replace:
            raise UsageError(
                f"{args.name} is defined already; vm_edit changes it, --replace replaces it"
            )
        definitions.store(args.name, definition)
    say(f"{args.name} {'defined anew' if there else 'defined'}; vm_start {args.name} starts it")
    return 0


def _undefine(args: Namespace, _: Context) -> int:
    def act(word: str) -> str:
        with definitions.Lock():
            name = definitions.pick(word)
            definitions.remove(name)
        running = [one.title for one in vm.known() if one.name == name]
        return f"{name} is no longer defined" + (f"; {running[0]} stays" if running else "")

    return each("vm_undefine", args.name, act)


def _editor() -> list[str]:
    if told := os.environ.get("VISUAL") or os.environ.get("EDITOR"):
        return shlex.split(told)
    if shutil.which("vi"):
        return ["vi"]
    return ["busybox", "vi"]


def _edit(args: Namespace, _: Context) -> int:
    name = definitions.pick(args.name)
    if not (os.isatty(0) and os.isatty(1)):
        raise UsageError(
            "an editor needs a terminal; vm_define NAME --replace --file FILE does not"
        )
    before = definitions.render(definitions.load(name)) if not args.raw else _raw(name)
    with tempfile.NamedTemporaryFile("w+", suffix=".toml", encoding="utf-8") as file:
        file.write(before)
        file.flush()
        try:
            done = subprocess.run([*_editor(), file.name], check=False)
        except OSError as error:
            raise ShellError(f"no editor: {error.strerror}; EDITOR names one") from error
        if done.returncode:
            raise ShellError(f"the editor ended with {done.returncode}; nothing changed")
        with open(file.name, encoding="utf-8", errors="replace") as again:
            text = again.read()
    if text == before:
        say(f"{name} is as it was")
        return 0
    definition = _names_not_ids(definitions.parse(text))
    vm_create.check(definitions.namespace(name, definition))
    with definitions.Lock():
        definitions.store(name, definition)
    say(f"{name} changed; its next start will be so")
    return 0


def _raw(name: str) -> str:
    with open(f"{definitions.root()}/{name}.toml", encoding="utf-8", errors="replace") as file:
        return file.read()


def _autostart(args: Namespace, _: Context) -> int:
    if args.name is None:
        return _start_all() if args.now else _show_autostart(args)
    with definitions.Lock():
        name = definitions.pick(args.name)
        definition = definitions.load(name)
        if args.state is None:
            say(f"{name}: {'on' if definition.get('autostart') else 'off'}")
            return 0
        definitions.store(name, definition | {"autostart": args.state == "on"})
    say(f"{name} {'is' if args.state == 'on' else 'is not'} started with the host")
    return 0


def _marked() -> list[str]:
    found = []
    for name in definitions.names():
        try:
            if definitions.load(name).get("autostart"):
                found.append(name)
        except ShellError as error:
            complain(f"vm_autostart: {error}")
    return found


def _show_autostart(_: Namespace) -> int:
    for name in _marked():
        say(name)
    return 0


def _start_all() -> int:
    """What the host does when it has started: one that fails does not stop the others."""
    there = {one.name for one in vm.known()}
    names = [name for name in _marked() if name not in there]
    failed = [each(f"vm_autostart: {name}", [name], start) for name in names]
    return int(any(failed))


def start(name: str) -> str:
    """Make and start the VM of a definition; what to say of it. Raises ShellError."""
    asked = vm_create.make(definitions.namespace(name, definitions.load(name)))
    return f"VM {asked['id']} ({name}) runs; vm_console {asked['id']} attaches to it"


def _list(args: Namespace, _: Context) -> int:
    vms = {one.name: one for one in vm.listed()}
    rows, records = [], []
    for name in definitions.names():
        try:
            definition, problem = definitions.load(name), ""
        except ShellError as error:
            definition, problem = {}, str(error)
        one = vms.get(name)
        state = one.told() if one else "not started"
        rows.append(
            [
                name,
                (problem and "damaged") or state,
                str(definition.get("kernel", "?")),
                str(definition.get("image", "-")),
                "yes" if definition.get("autostart") else "no",
            ]
        )
        records.append(
            {
                "name": name,
                "vm": one.id if one else None,
                "state": one.state if one else None,
                "definition": definition or None,
                "problem": problem or None,
            }
        )
    header = ("NAME", "STATE", "KERNEL", "IMAGE", "AUTOSTART")
    nothing = f"Nothing is defined in {definitions.root()}; 'help vm_define' shows how."
    show(Listing(header, rows, records, nothing=nothing), args)
    return 0


def _show(args: Namespace, _: Context) -> int:
    name = definitions.pick(args.name)
    definition = definitions.load(name)
    if args.json:
        dump({"name": name} | definition)
    else:
        say(definitions.render(definition).rstrip())
    return 0


_NAME = Arg("name", "a definition or its beginning, see definition_list", values="definition")


def _create_options() -> list[Arg]:
    """vm_create's options, but for those that make no sense in a file."""
    spec = load("vm_create")
    return [
        arg
        for arg in spec.args
        if arg.option and arg.name[2:] not in ("name", "json", "quiet", "help")
    ]


SPECS = {
    "vm_define": Spec(
        _define,
        [
            Arg("name", "of the VM: a letter, then letters, digits, - _ ."),
            Arg("kernel", "as for vm_create", values="kernel", many="?"),
            Arg("image", "as for vm_create", values="image", many="?"),
            Arg("--file", "a TOML file with the settings, or -", metavar="FILE", values="file"),
            Arg("--autostart", "start it with the host", flag=True),
            Arg("--replace", "an older definition may be there", flag=True),
            *_create_options(),
        ],
        """Writes down how a VM is to be, beside the images on the host's disk: it outlives the
host's reboots and power cuts; vm_start makes and starts it by its name. Nothing is started yet.
The settings of a file are named as the options: kernel = "vmlinux", cpus = 2, read_only = true,
autostart = true.""",
        [
            ("vm_define web vmlinux debian --memory 1G --autostart", "then vm_start web"),
            ("vm_define web --file web.toml --replace", "from a file"),
        ],
    ),
    "vm_undefine": Spec(
        _undefine,
        [Arg("name", "definitions or beginnings of them", values="definition", many="+")],
        "Forgets definitions. A VM that runs stays until vm_destroy.",
        [("vm_undefine web", "")],
    ),
    "vm_edit": Spec(
        _edit,
        [_NAME, Arg("--raw", "the file as it lies there, also when it is damaged", flag=True)],
        "Opens a definition in an editor (EDITOR, else vi); it is checked before it is kept.",
        [("vm_edit web", "")],
    ),
    "vm_autostart": Spec(
        _autostart,
        [
            Arg("name", "a definition", values="definition", many="?"),
            Arg("state", "on or off", values=("on", "off"), many="?", only=True),
            Arg("--now", "start all that are marked, as the host's start does", flag=True),
        ],
        "Says whether a definition is started with the host, or changes that. Alone, lists those.",
        [("vm_autostart web on", "from the next start of the host on")],
    ),
    "definition_list": Spec(
        _list,
        [*LISTING],
        "What is defined, and how the VMs of these names are.",
        [("definition_list", "")],
    ),
    "definition_show": Spec(
        _show,
        [_NAME, JSON],
        "A definition's settings, as vm_define --file takes them.",
        [("definition_show web", "what vm_define web --file takes")],
    ),
}
