# SPDX-License-Identifier: Apache-2.0
"""Menu entries and whole grub.cfg files from the templates in ``grub/``.

A value passes three readers on its way, and each wants its own quoting:

1. GRUB's script language (GRUB manual, "Quoting"): :func:`quote` puts every word between single
   quotes, in which nothing is special but the quote itself.
2. GRUB's ``linux`` command joins its arguments again (``grub_create_loader_cmdline``): an argument
   with a blank is put between double quotes as a whole, and a backslash goes before each ``\\``,
   ``'`` and ``"``. This cannot be turned off; :func:`kernel_cmdline` tells what comes out of it.
3. The kernel (``next_arg`` in lib/cmdline.c) knows double quotes and nothing else, so a double
   quote inside a value cannot be expressed; :func:`argument` refuses it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jinja2

from hypergen.config import TOP
from hypergen.errors import UserError

COMMAND_LINE_MAX = 2047
"""Bytes of a command line that an x86 kernel keeps (COMMAND_LINE_SIZE less the final NUL)."""

MODULES = ("part_gpt", "part_msdos", "ext2")
"""GRUB modules an entry needs to find its image on an ordinary ext4 partition."""


def check(text: str, what: str) -> str:
    """Return `text` unless it holds what no command line and no menu can carry.

    Raises:
        UserError: there is a control character (a line end, say) in it.
    """
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise UserError(f"{what}: {text!r} has a control character in it, which GRUB cannot pass")
    return text


_PLAIN = re.compile(r"[A-Za-z0-9_./:,=@+-]+")


def quote(text: str) -> str:
    """Quote one word for GRUB's script language, where it needs it."""
    if _PLAIN.fullmatch(text):
        return text
    return "'" + check(text, "grub.cfg").replace("'", "'\\''") + "'"


def argument(name: str, value: str) -> str:
    """One kernel argument, ``name=value``, any value but one with a double quote.

    Raises:
        UserError: the value cannot be passed.
    """
    check(value, name)
    if '"' in value:
        raise UserError(
            f"{name}={value}: a double quote cannot be passed on a kernel command line",
            hint="rename the folder, or reach it through a symbolic link without the quote",
        )
    return f"{name}={value}"


def split_append(text: str) -> list[str]:
    """Split what the user wants appended as the kernel will: blanks part, double quotes join.

    Raises:
        UserError: a quote is not closed, or stands where the kernel would keep it.
    """
    words: list[str] = []
    current, quoted = "", False
    for character in check(text, "--append") + " ":
        if character == " " and not quoted:
            if current:
                words.append(current)
            current = ""
        else:
            quoted ^= character == '"'
            current += character
    if quoted:
        raise UserError(f"--append: {text}: a double quote is not closed")
    return [_unquote(word) for word in words]


def _unquote(word: str) -> str:
    """Take the quotes off ``"name=a b"`` and ``name="a b"``; GRUB puts its own around."""
    bare = word
    if len(word) > 1 and word[0] == word[-1] == '"':
        bare = word[1:-1]
    else:
        name, equals, value = word.partition("=")
        if equals and len(value) > 1 and value[0] == value[-1] == '"':
            bare = f"{name}={value[1:-1]}"
    if '"' in bare:
        raise UserError(f"--append: {word}: a double quote cannot be passed inside a value")
    return bare


def kernel_cmdline(arguments: Sequence[str]) -> str:
    """What ``/proc/cmdline`` will show after ``BOOT_IMAGE=…`` when GRUB passes `arguments`."""
    words = []
    for word in arguments:
        escaped = "".join("\\" + c if c in "\\'\"" else c for c in word)
        words.append(f'"{escaped}"' if " " in word else escaped)
    return " ".join(words)


@dataclass(frozen=True)
class Entry:
    """One menu entry.

    Attributes:
        image: GRUB's path of the bzImage, on the file system found by `fs_uuid` or `fs_label`;
            with neither, on the one that GRUB itself was loaded from (``$root``).
        arguments: the kernel arguments, one string each, unquoted.
        modules: GRUB modules to load before the search.
    """

    image: str
    arguments: tuple[str, ...]
    title: str = "hyper-gen"
    id: str = "hypergen"
    fs_uuid: str = ""
    fs_label: str = ""
    modules: tuple[str, ...] = field(default=MODULES)

    def __post_init__(self) -> None:
        line = f"BOOT_IMAGE={kernel_cmdline([self.image])} {kernel_cmdline(self.arguments)}"
        if len(line.encode()) > COMMAND_LINE_MAX:
            raise UserError(
                f"the kernel command line is {len(line.encode())} bytes long; "
                f"the kernel keeps {COMMAND_LINE_MAX}"
            )


def host_arguments(
    *,
    root: str,
    guest_kernel: str | None = None,
    guest_image: str | None = None,
    consoles: Sequence[str] = ("tty0",),
    append: str = "",
) -> tuple[str, ...]:
    """The arguments of the host's kernel command line, in the order that its documentation has."""
    words = [argument("root", root), "rw"]
    if guest_kernel is not None:
        words.append(argument("guest_kernel", guest_kernel))
    if guest_image is not None:
        words.append(argument("guest_image", guest_image))
    words += [argument("console", console) for console in consoles]
    return (*words, *split_append(append))


def _environment(templates: Path) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # not HTML; every value goes through `quote`
    )
    environment.filters["q"] = quote
    return environment


def render_entry(entry: Entry, templates: Path = TOP / "grub") -> str:
    """The text of one ``menuentry``."""
    return _environment(templates).get_template("entry.cfg.j2").render(entry=entry)


def render_whole(
    entries: Sequence[Entry],
    *,
    timeout: int = 5,
    serial: bool = False,
    templates: Path = TOP / "grub",
) -> str:
    """The text of a whole grub.cfg.

    Args:
        timeout: seconds until the first entry starts; negative: wait for ever.
        serial: show the menu on the first serial port as well as on the screen.
    """
    template = _environment(templates).get_template("grub.cfg.j2")
    return template.render(entries=entries, timeout=timeout, serial=serial)
