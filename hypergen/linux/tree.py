# SPDX-License-Identifier: Apache-2.0
"""The patched Linux tree that kernels are built from: ``work/linux-VERSION``.

The tree is made beside its place and renamed, so it is whole or absent. Build folders are
``build-host`` and ``build-guest`` *inside* it: Kbuild then writes every path relative
(``../mm/slab.c``), which makes objects the same bytes wherever the cache folder lies, and lets
ccache find them again. A new series keeps the build folders: unchanged files keep their times, so
only what the patches touch is compiled again.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hypergen import progress, run
from hypergen.config import TOP, BuildConfig
from hypergen.errors import BuildError, UserError
from hypergen.linux import patches, sources
from hypergen.linux.sources import Source

PATCHES = TOP / "kernel-config" / "patches"
_STAMP = ".hypergen-tree.json"
_LAYOUT = "1"
"""Part of the key; another value makes every tree anew."""


@dataclass(frozen=True)
class Tree:
    """A patched tree.

    Attributes:
        path: its folder.
        version: Linux's version, ``6.12.117``.
        key: SHA-256 over source and series.
        source: where it came from.
        patches: the series' file names.
    """

    path: Path
    version: str
    key: str
    source: Source
    patches: tuple[str, ...]

    def build_folder(self, kind: str) -> Path:
        """The O= folder of a kernel, ``host`` or ``guest``."""
        return self.path / f"build-{kind}"


@contextlib.contextmanager
def turn(cfg: BuildConfig) -> Iterator[None]:
    """One process at a time changes trees or builds in them."""
    cfg.work.mkdir(parents=True, exist_ok=True)
    with (cfg.work / "kernel.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.note("another build uses the kernel tree; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def unpack(cfg: BuildConfig, source: Source, target: Path) -> None:
    """Put the source's files into the new folder `target`; a local tree is copied, not changed."""
    log = cfg.logs / "unpack.log"
    if source.kind == "local":
        run.run(["cp", "-a", "--reflink=auto", source.path, target], log=log)
        for folder in target.glob("build-*"):
            shutil.rmtree(folder)
        # Kbuild refuses to build outside a tree in which somebody has built.
        run.run(["make", "-C", target, "mrproper"], log=log)
        return
    target.mkdir()
    archive = source.path
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".deb-") as scratch:
        if source.kind == "debian":
            run.run(["dpkg-deb", "-x", source.path, scratch], log=log)
            found = sorted(Path(scratch).glob("usr/src/linux-source-*.tar.*"))
            if len(found) != 1:
                raise BuildError(f"{source.path.name}: holds no usr/src/linux-source-*.tar.xz")
            archive = found[0]
        run.run(
            ["tar", "-xf", archive, "-C", target, "--strip-components=1", "--no-same-owner"],
            log=log,
            env={"XZ_DEFAULTS": "-T0"},
            hint="is the disk full?",
        )


def _read_stamp(path: Path) -> dict[str, object]:
    try:
        stamp = json.loads((path / _STAMP).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def _replace(new: Path, final: Path, old: dict[str, object]) -> None:
    """Rename `new` to `final`; the build folders of a former tree move along."""
    touched, stamp = old.get("touched"), _read_stamp(new)
    for name in touched if isinstance(touched, list) else []:
        # A file that is back to its original has an old time; make must see that it changed.
        if (new / str(name)).exists():
            os.utime(new / str(name))
    retired = final.with_name(final.name + ".old")
    shutil.rmtree(retired, ignore_errors=True)
    if final.exists():
        # Of another origin the files' times say nothing about what changed; ccache helps then.
        if old.get("origin") == stamp.get("origin"):
            for folder in final.glob("build-*"):
                folder.rename(new / folder.name)
        final.rename(retired)
    new.rename(final)
    shutil.rmtree(retired, ignore_errors=True)


def _prune(cfg: BuildConfig, keep: Path) -> None:
    """Remove trees of other versions: each is 1.5 GB and ccache has what they compiled."""
    for path in cfg.work.glob("linux-*"):
        if path != keep and path.name != "linux-local":
            shutil.rmtree(path, ignore_errors=True)


def prepare(cfg: BuildConfig) -> Tree:
    """The patched tree, made when it is missing or its source or series changed. Hold :func:`turn`.

    Raises:
        BuildError: no source, or a patch does not apply.
    """
    if " " in str(cfg.work) or ":" in str(cfg.work):
        raise UserError(
            f"{cfg.work}: Kbuild cannot work in a path with a space or a colon",
            hint="set HYPERGEN_CACHE to another folder",
        )
    source = sources.linux(cfg)
    series = patches.series(PATCHES)
    key = hashlib.sha256(
        "\0".join([_LAYOUT, source.kind, source.digest, patches.digest(series)]).encode()
    ).hexdigest()
    names = tuple(patch.path.name for patch in series)
    for path in sorted(cfg.work.glob("linux-*")):
        stamp = _read_stamp(path)
        if stamp.get("key") == key:
            return Tree(path, str(stamp["version"]), key, source, names)

    fresh = cfg.work / "new-linux"
    shutil.rmtree(fresh, ignore_errors=True)
    with progress.step(f"unpack Linux {source.version} ({source.kind})"):
        if source.kind != "local":
            source = sources.checked(cfg)
        unpack(cfg, source, fresh)
    version = sources.tree_version(fresh)
    if series:
        with progress.step(f"apply {len(series)} patches"):
            patches.apply(series, fresh, log=cfg.logs / "patch.log", version=version)
    final = cfg.work / ("linux-local" if source.kind == "local" else f"linux-{version}")
    old = _read_stamp(final)
    stamp = {
        "key": key,
        "version": version,
        "origin": str(source.path) if source.kind == "local" else source.digest,
        "touched": sorted({name for patch in series for name in patch.files}),
    }
    (fresh / _STAMP).write_text(json.dumps(stamp), "utf-8")
    _replace(fresh, final, old)
    _prune(cfg, final)
    return Tree(final, version, key, source, names)


def check_series(cfg: BuildConfig) -> tuple[str, list[patches.Patch]]:
    """Try the series on pristine copies of just the files that it names.

    Returns:
        Linux's version and the patches.

    Raises:
        BuildError: a patch does not apply.
    """
    series = patches.series(PATCHES)
    source = sources.checked(cfg)
    cfg.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cfg.work, prefix="check-") as scratch:
        pristine = Path(scratch) / "linux"
        if source.kind == "local":
            pristine.mkdir()
            for name in {"Makefile", *(name for patch in series for name in patch.files)}:
                if (source.path / name).exists():
                    (pristine / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(source.path / name, pristine / name)
        else:
            unpack(cfg, source, pristine)
        version = sources.tree_version(pristine)
        patches.apply(series, pristine, log=cfg.logs / "patch-check.log", version=version)
    return version, series
