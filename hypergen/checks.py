# SPDX-License-Identifier: Apache-2.0
"""``check`` (linters and quick tests side by side), ``test`` and ``bench``."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from hypergen import config, progress, run
from hypergen.config import TOP, BuildConfig
from hypergen.errors import BuildError, HypergenError
from hypergen.stage import tree_files

C_FOLDERS = ("vmm", "initramfs", "tests")
SH_FOLDERS = ("initramfs", "grub", "tests", ".ci")


@dataclass(frozen=True)
class Check:
    """One linter or quick test: its name and command line."""

    name: str
    argv: tuple[str | Path, ...]


def _tool(name: str) -> Path:
    """A program of the project's own environment."""
    return Path(sys.executable).parent / name


def environment(cfg: BuildConfig) -> dict[str, str]:
    """The settings as variables, for tests that load them again."""
    values = cfg.as_json()
    given = {s.variable: values[s.name] for s in config.SETTINGS}
    text = {name: str(value) for name, value in given.items() if value not in (None, False)}
    # Python compiles once, whatever the environment says of it, and not into the source tree.
    text |= {"PYTHONPYCACHEPREFIX": str(cfg.cache / "pycache"), "PYTHONDONTWRITEBYTECODE": ""}
    return {**text, **({"V": "1"} if cfg.verbose else {})}


def c_files() -> list[Path]:
    """The project's C sources and headers."""
    return [
        path
        for folder in C_FOLDERS
        if (TOP / folder).is_dir()
        for path in tree_files(TOP / folder)
        if path.suffix in (".c", ".h")
    ]


def shell_scripts() -> list[Path]:
    """The project's shell scripts, known by their first line or their suffix."""
    found = []
    for folder in SH_FOLDERS:
        for path in tree_files(TOP / folder) if (TOP / folder).is_dir() else []:
            if path.is_symlink():
                continue
            with path.open("rb") as stream:
                first = stream.readline(80)
            if path.suffix == ".sh" or re.match(rb"#!.*\b(ba|da)?sh\b", first):
                found.append(path)
    return found


def plan(cfg: BuildConfig) -> list[Check]:
    """What ``check`` runs; the slowest first, because they run side by side."""
    python = Path(sys.executable)
    packages = [p for p in ("hypergen", "shell", "tests") if any((TOP / p).rglob("*.py"))]
    quick = [p for p in ("tests/unit", "tests/shell") if any((TOP / p).rglob("test_*.py"))]
    checks = [
        Check(
            "mypy --strict",
            (python, "-m", "mypy", "--strict", "--cache-dir", cfg.cache / "mypy", *packages),
        ),
        Check(
            "ruff check",
            (_tool("ruff"), "check", "--cache-dir", cfg.cache / "ruff", *packages),
        ),
        Check(
            "ruff format",
            (_tool("ruff"), "format", "--check", "--cache-dir", cfg.cache / "ruff", *packages),
        ),
    ]
    if quick:
        # One process more than there are CPUs, as these tests wait now and then. The plugins are of
        # no use here and take a second to load, in each process.
        plugins = ("-p", "no:cacheprovider", "-p", "no:schemathesis", "-p", "no:hypothesispytest")
        workers = ("-n", str(cfg.jobs + 1), "--dist", "worksteal")
        words = ("-q", "-m", "not slow", *plugins, *workers)
        checks.insert(0, Check("quick tests", (python, "-m", "pytest", *words, *quick)))
    if sources := c_files():
        checks.append(
            Check("clang-format", (_tool("clang-format"), "--dry-run", "-Werror", *sources))
        )
    if scripts := shell_scripts():
        follow = ("--external-sources", "--source-path=SCRIPTDIR")
        checks.append(Check("shellcheck", (_tool("shellcheck"), *follow, *scripts)))
    return checks


_FILE_NAME = str.maketrans("/ ", "--")


def _run(cfg: BuildConfig, check: Check) -> tuple[Check, float, HypergenError | None]:
    start = time.monotonic()
    failed: HypergenError | None = None
    log = cfg.logs / f"check-{check.name.translate(_FILE_NAME)}.log"
    try:
        run.run(check.argv, cwd=TOP, env=environment(cfg), log=log)
    except HypergenError as error:
        failed = error
    return check, time.monotonic() - start, failed


def check(cfg: BuildConfig) -> int:
    """Run every check, print each with its time; returns 0 when all pass.

    Raises:
        BuildError: with the names of those that failed.
    """
    failures = []
    with progress.step("check"), ThreadPoolExecutor(max_workers=max(2, cfg.jobs)) as pool:
        for done, seconds, error in pool.map(lambda one: _run(cfg, one), plan(cfg)):
            progress.note(f"{'FAILED' if error else 'ok    '} {done.name} {seconds:.1f} s")
            if error:
                failures.append(done.name)
                progress.failure(error)
        if failures:
            raise BuildError(f"failed: {', '.join(failures)}")
    return 0


def pytest(cfg: BuildConfig, arguments: Sequence[str]) -> int:
    """Run all of ``tests/``; pytest's summary is the last that is printed.

    Returns:
        1 when a test failed or none ran, 2 for a usage error, 130 when interrupted, else 0.
    """
    argv = [sys.executable, "-m", "pytest", "-o", f"cache_dir={cfg.cache / 'pytest'}"]
    # Two files at a time: a machine that is booted waits more than it works. More would only make
    # the machines slow, each has two CPUs of its own.
    if not any(word.startswith(("-n", "--numprocesses", "-p")) for word in arguments):
        # In their own order, in which those that boot the same machine follow each other.
        argv += ["-n", str(min(2, cfg.jobs)), "--dist", "loadfile", "--no-loadscope-reorder"]
    status = run.interactive([*argv, *arguments], cwd=TOP, env=environment(cfg))
    return {0: 0, 2: 130, 4: 2}.get(status, 1)


def bench(cfg: BuildConfig, arguments: Sequence[str]) -> int:
    """Run ``tests/bench`` as a program; returns its exit status."""
    argv = [sys.executable, "-m", "tests.bench", *arguments]
    return run.interactive(argv, cwd=TOP, env=environment(cfg))
