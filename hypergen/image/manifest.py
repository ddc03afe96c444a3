# SPDX-License-Identifier: Apache-2.0
"""Read ``initramfs/manifest.toml`` and say clearly what is wrong with it.

The tables (all paths relative to the root of the image unless said otherwise):

- ``format``: 1.
- ``[[package]]``: ``name`` of a Debian package, ``why``, optional ``files``, each ``"from"`` or
  ``"from -> to"``.
- ``[[npm]]``: ``name``, ``version`` and ``sha256`` of a package of npm, ``why``, and ``files`` as
  ``"from -> to"``.
- ``[[compile]]``: ``sources`` (C files and linker scripts of the room) become the program ``to``;
  ``why``; optional ``libraries``, names of archives of the build machine that go into it.
- ``[[shim]]``: ``name`` (``shims/NAME.c`` and ``.map``) and ``soname`` of a small library.
- ``[[built]]``: ``from`` (relative to the work folder) → ``to``; ``why``.
- ``[layout]``: ``directories``, ``symlinks`` (``"path -> target"``), ``nodes``
  (``[path, "c" or "b", major, minor, mode]``).
- ``[busybox]``: ``path`` of busybox and its ``applets``.
- ``[python]``: ``interpreter``, ``library``, ``stdlib``, ``exclude``, ``extensions``; and
  ``[[python.package]]`` with ``name``, ``from``, optional ``deb`` (else the source tree),
  ``exclude`` and ``data`` (patterns of files that are no modules).
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypergen.errors import UserError

FORMAT = 1
Node = tuple[str, str, int, int, int]


@dataclass(frozen=True)
class Package:
    """A Debian package and the (path in it, path in the image) pairs wanted from it."""

    name: str
    files: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class NpmPackage:
    """A package of npm and the (path in it, path in the image) pairs wanted from it."""

    name: str
    version: str
    sha256: str
    files: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Program:
    """A program compiled from C files of the room."""

    to: str
    sources: tuple[str, ...]
    libraries: tuple[str, ...] = ()

    def link_flags(self) -> tuple[str, ...]:
        """Words for the compiler, after the sources: the libraries, in the archives' form."""
        return tuple(f"-l:lib{name}.a" for name in self.libraries)


@dataclass(frozen=True)
class PythonPackage:
    """A Python package: of a Debian package, or of the source tree when `deb` is empty."""

    name: str
    deb: str
    folder: str
    exclude: tuple[str, ...]
    data: tuple[str, ...]


@dataclass(frozen=True)
class Manifest:
    """The whole file."""

    packages: tuple[Package, ...]
    npm: tuple[NpmPackage, ...]
    compiled: tuple[Program, ...]
    shims: tuple[tuple[str, str], ...]
    built: tuple[tuple[str, str], ...]
    directories: tuple[str, ...]
    symlinks: tuple[tuple[str, str], ...]
    nodes: tuple[Node, ...]
    busybox: str
    applets: tuple[str, ...]
    interpreter: str
    library: str
    stdlib: tuple[str, ...]
    stdlib_exclude: tuple[str, ...]
    extensions: tuple[str, ...]
    python_packages: tuple[PythonPackage, ...]


class _Table:
    """A TOML table that knows its name and notices keys that nobody asked for."""

    def __init__(self, file: Path, where: str, values: object) -> None:
        self.file, self.where = file, where
        if not isinstance(values, dict):
            raise UserError(f"{file}: {where}: must be a table")
        self._values: dict[str, Any] = values
        self._asked: set[str] = set()

    def fail(self, key: str, what: str) -> UserError:
        return UserError(f"{self.file}: {self.where}: {key}: {what}")

    def text(self, key: str, default: str | None = None) -> str:
        self._asked.add(key)
        value = self._values.get(key, default)
        if value is None:
            raise self.fail(key, "is missing")
        if not isinstance(value, str):
            raise self.fail(key, "must be a string")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self.items(key)
        if not all(isinstance(item, str) for item in value):
            raise self.fail(key, "must be a list of strings")
        return tuple(value)

    def items(self, key: str) -> list[Any]:
        self._asked.add(key)
        value = self._values.get(key, [])
        if not isinstance(value, list):
            raise self.fail(key, "must be a list")
        return value

    def tables(self, key: str) -> list[_Table]:
        label = key if not self.where else f"{self.where}.{key}"
        return [
            _Table(self.file, f"{label} {index}", value)
            for index, value in enumerate(self.items(key), start=1)
        ]

    def table(self, key: str) -> _Table:
        self._asked.add(key)
        return _Table(self.file, key, self._values.get(key, {}))

    def arrows(self, key: str, *, needed: bool) -> tuple[tuple[str, str], ...]:
        """Strings ``"a -> b"``; a bare ``"a"`` means the same name twice unless `needed`."""
        pairs = []
        for item in self.texts(key):
            left, arrow, right = (part.strip() for part in item.partition("->"))
            if not left or (arrow and not right) or (needed and not arrow):
                raise self.fail(key, f"{item!r} must read 'from -> to'")
            pairs.append((left, right or left))
        return tuple(pairs)

    def done(self) -> None:
        """Complain about keys that were not asked for: a typing error, most likely."""
        for key in self._values:
            if key not in self._asked:
                raise UserError(
                    f"{self.file}: {self.where or 'top level'}: unknown key {key!r}",
                    hint=f"known: {', '.join(sorted(self._asked))}",
                )


def _packages(top: _Table) -> tuple[Package, ...]:
    found: dict[str, Package] = {}
    for table in top.tables("package"):
        name = table.text("name")
        table.text("why")
        if name in found:
            raise table.fail("name", f"{name!r} is listed twice")
        found[name] = Package(name, table.arrows("files", needed=False))
        table.done()
    return tuple(found.values())


def _npm(top: _Table) -> tuple[NpmPackage, ...]:
    found = []
    for table in top.tables("npm"):
        table.text("why")
        name, version, sha256 = table.text("name"), table.text("version"), table.text("sha256")
        if not re.fullmatch(r"[0-9a-f]{64}", sha256):
            raise table.fail("sha256", "must be 64 hexadecimal digits")
        found.append(NpmPackage(name, version, sha256, table.arrows("files", needed=True)))
        table.done()
    return tuple(found)


def _nodes(layout: _Table) -> tuple[Node, ...]:
    nodes: list[Node] = []
    for item in layout.items("nodes"):
        try:
            path, kind, major, minor, mode = item
            if kind not in ("c", "b") or not isinstance(path, str):
                raise ValueError
            nodes.append((path, kind, int(major), int(minor), int(mode, 8)))
        except (TypeError, ValueError):
            raise layout.fail(
                "nodes", f"{item!r} must read [path, 'c' or 'b', major, minor, 'octal mode']"
            ) from None
    return tuple(nodes)


def _python_packages(python: _Table, debs: set[str]) -> tuple[PythonPackage, ...]:
    packages = []
    for table in python.tables("package"):
        deb = table.text("deb", "")
        if deb and deb not in debs:
            raise table.fail("deb", f"{deb!r} is not among the packages")
        packages.append(
            PythonPackage(
                table.text("name"),
                deb,
                table.text("from"),
                table.texts("exclude"),
                table.texts("data"),
            )
        )
        table.done()
    return tuple(packages)


def _compiled(top: _Table) -> tuple[Program, ...]:
    programs = []
    for table in top.tables("compile"):
        table.text("why")
        sources, libraries = table.texts("sources"), table.texts("libraries")
        programs.append(Program(table.text("to"), sources, libraries))
        table.done()
    return tuple(programs)


def _pairs(top: _Table, key: str, left: str, right: str) -> tuple[tuple[str, str], ...]:
    pairs = []
    for table in top.tables(key):
        table.text("why", "")
        pairs.append((table.text(left), table.text(right)))
        table.done()
    return tuple(pairs)


def load(file: Path) -> Manifest:
    """Read and check the manifest.

    Raises:
        UserError: missing, not TOML, or not what the module's text says; names file, table and key.
    """
    try:
        values = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: not valid TOML: {error}") from None
    version = values.pop("format", None)
    if version != FORMAT:
        raise UserError(f"{file}: format is {version!r}, this tool reads {FORMAT}")
    top = _Table(file, "", values)
    layout, busybox, python = top.table("layout"), top.table("busybox"), top.table("python")
    packages = _packages(top)
    manifest = Manifest(
        packages=packages,
        npm=_npm(top),
        compiled=_compiled(top),
        shims=_pairs(top, "shim", "name", "soname"),
        built=_pairs(top, "built", "from", "to"),
        directories=layout.texts("directories"),
        symlinks=layout.arrows("symlinks", needed=True),
        nodes=_nodes(layout),
        busybox=busybox.text("path"),
        applets=busybox.texts("applets"),
        interpreter=python.text("interpreter"),
        library=python.text("library"),
        stdlib=python.texts("stdlib"),
        stdlib_exclude=python.texts("exclude"),
        extensions=python.texts("extensions"),
        python_packages=_python_packages(python, {package.name for package in packages}),
    )
    for table in (top, layout, busybox, python):
        table.done()
    return manifest
