# SPDX-License-Identifier: Apache-2.0
"""The mini-VMM: ``vmm/Makefile`` driven from here, and the binary stripped for the initramfs."""

from __future__ import annotations

import shutil
from pathlib import Path

from hypergen import ccache, progress, run
from hypergen.config import TOP, BuildConfig
from hypergen.stage import Stage

SOURCES = TOP / "vmm"
TARGETS = {"all": "hg-vmm", "asan": "hg-vmm.asan", "fuzz": "fuzz-devices"}
"""What ``vmm/Makefile`` can make, and the file that comes of it."""


def fuzzers() -> list[str]:
    """The names of the fuzzers, each a ``tests/vmm/fuzz_NAME.c``."""
    sources = (TOP / "tests" / "vmm").glob("fuzz_*.c")
    return sorted(path.stem.removeprefix("fuzz_") for path in sources)


def folder(cfg: BuildConfig) -> Path:
    """The build folder. One a source tree: two checkouts' file times cannot be compared."""
    path = cfg.work / "vmm"
    origin = path / "origin"
    if not origin.exists() or origin.read_text("utf-8") != str(TOP):
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        origin.write_text(str(TOP), "utf-8")
    return path


def make(cfg: BuildConfig, target: str = "all") -> Path:
    """Build one of :data:`TARGETS`; returns the file, with its symbols.

    Raises:
        BuildError: it does not compile.
    """
    built = folder(cfg) / TARGETS[target]
    stage = Stage(cfg, f"vmm-{target}", outputs=[built]).tree(SOURCES)
    stage.text("cc", run.capture(["gcc", "--version"]).partition("\n")[0])
    if (tests := TOP / "tests" / "vmm").is_dir() and target == "fuzz":
        stage.tree(tests)
    with stage as todo:
        if todo:
            with progress.step(f"build {built.name}"):
                compile_in(cfg, built.parent, target, log=cfg.logs / f"vmm-{target}.log")
    return built


def compile_in(cfg: BuildConfig, folder: Path, *targets: str, log: Path) -> None:
    """Run ``vmm/Makefile`` with an output folder of the caller's choice.

    Raises:
        BuildError: it does not compile.
    """
    words = (f"O={folder.resolve()}", f"-j{cfg.jobs}", f"CC={ccache.compiler()}", *targets)
    env = ccache.environment(cfg, TOP)
    run.run(["make", "-C", SOURCES, *words], env=env, log=log, verbose=cfg.verbose)


def build(cfg: BuildConfig) -> Path:
    """Build and strip ``hg-vmm``; returns the stripped binary, ``work/vmm/stripped/hg-vmm``."""
    built = make(cfg)
    stripped = built.parent / "stripped" / built.name
    with Stage(cfg, "vmm-strip", outputs=[stripped]).file(built) as todo:
        if todo:
            stripped.parent.mkdir(exist_ok=True)
            run.run(["strip", "-s", "-o", stripped, built], log=cfg.logs / "vmm-strip.log")
    return stripped
