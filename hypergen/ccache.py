# SPDX-License-Identifier: Apache-2.0
"""The compiler by way of ccache, where that is installed."""

from __future__ import annotations

from pathlib import Path

from hypergen import run
from hypergen.config import BuildConfig


def compiler() -> str:
    """The words for ``CC=``."""
    return "ccache gcc" if run.which("ccache") else "gcc"


def environment(cfg: BuildConfig, base: Path) -> dict[str, str]:
    """ccache's settings: one cache for all checkouts, in which paths below `base` are relative."""
    return {
        "CCACHE_DIR": run.variable("CCACHE_DIR") or str(cfg.cache / "ccache"),
        "CCACHE_BASEDIR": str(base),
        "CCACHE_NOHASHDIR": "1",
        # Not CCACHE_DEPEND: without a look at the preprocessed text ccache misses the .incbin of
        # the initramfs and hands out the object of an older one. The name space leaves the
        # entries behind that were made that way.
        "CCACHE_NAMESPACE": "hypergen-2",
    }
