# SPDX-License-Identifier: Apache-2.0
"""The Python part of the initramfs: chosen modules as sourceless ``.pyc`` files.

A module compiles to ``NAME.pyc`` beside where ``NAME.py`` would be (PEP 3147, "case 4: legacy pyc
files"): the importer takes it without a source and checks no time stamp. The interpreter that will
run the modules compiles them, run from its unpacked package through its own loader, so the build
machine's Python may be another version.

The bytes depend on the sources only: file names in code objects are those of the image, string
hashing is seeded, column tables (``-X no_debug_ranges``) are left out for size.
"""

from __future__ import annotations

import fnmatch
import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hypergen import run
from hypergen.config import BuildConfig
from hypergen.errors import UserError

# Runs in the image's interpreter. argv: a list of [source, output, name in tracebacks].
# The twelve zero bytes are the flags, time stamp and size of PEP 552: a sourceless file's are not
# looked at.
_COMPILER = """
import json, marshal, sys
from importlib.util import MAGIC_NUMBER
for source, output, name in json.load(open(sys.argv[1], encoding="utf-8")):
    with open(source, "rb") as stream:
        text = stream.read()
    code = compile(text, name, "exec", dont_inherit=True, optimize=2)
    with open(output, "wb") as stream:
        stream.write(MAGIC_NUMBER + bytes(12) + marshal.dumps(code))
"""

_OPTIONS = ("-S", "-s", "-X", "no_debug_ranges")


@dataclass(frozen=True)
class Interpreter:
    """An unpacked CPython that can be run where it lies.

    Attributes:
        loader: the dynamic loader of its C library.
        library_path: folders of its shared libraries.
        program: the interpreter.
        home: the prefix whose ``lib/python3.11`` holds the base of the standard library.
        path: more folders of modules.
    """

    loader: Path
    library_path: tuple[Path, ...]
    program: Path
    home: Path
    path: tuple[Path, ...]

    @property
    def argv(self) -> list[str]:
        """The words that start it."""
        libraries = ":".join(map(str, self.library_path))
        return [str(self.loader), "--library-path", libraries, str(self.program)]

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which it finds its modules, and is deterministic."""
        return {
            "PYTHONHOME": str(self.home),
            "PYTHONPATH": ":".join(map(str, self.path)),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONHASHSEED": "0",
        }


@dataclass(frozen=True)
class Module:
    """A source file and the place of its module below the library folder, without suffix."""

    source: Path
    place: str


def _find(roots: Sequence[Path], place: str) -> Path | None:
    for root in roots:
        for name in (f"{place}/__init__.py", f"{place}.py"):
            if (root / name).is_file():
                return root / name
    return None


def stdlib_modules(
    roots: Sequence[Path], names: Iterable[str], exclude: Iterable[str]
) -> list[Module]:
    """Find the modules that the manifest names.

    Args:
        roots: folders that together hold the standard library.
        names: ``a.b`` for one module, ``a.*`` for a package with the modules directly in it.
        exclude: modules that a ``*`` must not bring in.

    Raises:
        UserError: a name that is no module of the standard library.
    """
    left_out = set(exclude)
    found: dict[str, Module] = {}
    for name in names:
        package = name.removesuffix(".*")
        place = package.replace(".", "/")
        source = _find(roots, place)
        if source is None:
            raise UserError(
                f"manifest.toml: python.stdlib: no module {package!r} in the standard library",
                hint="is it written in C? Then it belongs in python.extensions, or is built in",
            )
        members = {package: source}
        if name.endswith(".*"):
            for root in roots:
                for path in sorted((root / place).glob("*.py")):
                    if path.stem != "__init__":
                        members.setdefault(f"{package}.{path.stem}", path)
        for member, path in members.items():
            if member not in left_out:
                stem = member.replace(".", "/")
                found[member] = Module(
                    path, f"{stem}/__init__" if path.stem == "__init__" else stem
                )
    return [found[name] for name in sorted(found)]


def package_modules(name: str, folder: Path, exclude: Iterable[str]) -> list[Module]:
    """Every module of a package folder but those whose relative path matches `exclude`.

    Raises:
        UserError: the folder holds no package.
    """
    if not (folder / "__init__.py").is_file():
        raise UserError(f"manifest.toml: python package {name}: {folder} has no __init__.py")
    patterns = list(exclude)
    modules = []
    for source in sorted(folder.rglob("*.py")):
        relative = source.relative_to(folder).as_posix()
        if not any(fnmatch.fnmatch(relative, pattern) for pattern in patterns):
            modules.append(Module(source, f"{name}/{relative.removesuffix('.py')}"))
    return modules


def package_data(name: str, folder: Path, patterns: Iterable[str]) -> list[Path]:
    """The files of a package folder that match `patterns`, in the order of their names.

    Raises:
        UserError: a pattern that matches nothing.
    """
    found: set[Path] = set()
    for pattern in patterns:
        matching = {path for path in folder.glob(pattern) if path.is_file()}
        if not matching:
            raise UserError(f"manifest.toml: python package {name}: no file {pattern!r}")
        found |= matching
    return sorted(found)


def compile_modules(
    cfg: BuildConfig, interpreter: Interpreter, modules: Sequence[Module], library: str
) -> dict[str, bytes]:
    """Compile `modules`; gives place + ``.pyc`` → bytes.

    Args:
        library: the library folder in the image, for file names in tracebacks.

    Raises:
        BuildError: a module does not compile; the log holds the SyntaxError.
    """
    folder = cfg.work / "initramfs" / "pyc"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    jobs = [
        (str(module.source), str(folder / f"{index}.pyc"), f"/{library}/{module.place}.py")
        for index, module in enumerate(modules)
    ]
    (folder / "jobs.json").write_text(json.dumps(jobs), "utf-8")
    run.run(
        [*interpreter.argv, *_OPTIONS, "-c", _COMPILER, folder / "jobs.json"],
        env=interpreter.environment,
        log=cfg.logs / "initramfs-python.log",
    )
    compiled = {
        f"{module.place}.pyc": Path(job[1]).read_bytes()
        for module, job in zip(modules, jobs, strict=True)
    }
    shutil.rmtree(folder)
    return compiled
