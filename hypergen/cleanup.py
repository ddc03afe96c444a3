# SPDX-License-Identifier: Apache-2.0
"""``clean`` and ``distclean``: remove what hypergen made, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

from hypergen.config import BuildConfig
from hypergen.errors import UserError

CACHE_FOLDERS = ("downloads", "ccache", "mypy", "pytest", "ruff", "pycache", "venv")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def clean(cfg: BuildConfig) -> None:
    """Remove the output folder and the build trees.

    Raises:
        UserError: the output folder is one that hypergen did not make (a mistyped ``O=``).
    """
    if cfg.out.exists():
        names = {path.name for path in cfg.out.iterdir()}
        if "manifest.json" not in names and not names <= {"log"}:
            raise UserError(
                f"{cfg.out}: no manifest.json in it, so hypergen did not make it; not removed",
                hint="check O= (--out)",
            )
        _remove(cfg.out)
    if cfg.work.exists():
        _remove(cfg.work)


def distclean(cfg: BuildConfig) -> None:
    """Remove the cache as well, our own folders in it one by one; the venv we run from is last."""
    clean(cfg)
    for name in CACHE_FOLDERS:
        if (cfg.cache / name).exists():
            _remove(cfg.cache / name)
    if cfg.cache.exists() and not any(cfg.cache.iterdir()):
        cfg.cache.rmdir()
