# SPDX-License-Identifier: Apache-2.0
"""``out/manifest.json``, what went into a build, and the summary at its end.

The manifest is begun before the work, so that it tells of the tools even when the build fails, and
each part is added when it is known. It holds no times of day: the same inputs give the same one.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Mapping
from pathlib import Path

from hypergen import __version__, progress, run
from hypergen.config import BuildConfig
from hypergen.stage import file_digest

TOOLS = ("gcc", "ld", "make", "flex", "bison", "zstd", "xz", "patch", "ccache")


def path(cfg: BuildConfig) -> Path:
    """Where the manifest is."""
    return cfg.out / "manifest.json"


def read(cfg: BuildConfig) -> dict[str, object]:
    """The manifest so far; empty when there is none or it is damaged."""
    try:
        manifest = json.loads(path(cfg).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


def record(cfg: BuildConfig, section: str, facts: object) -> None:
    """Set one section of the manifest; the file is replaced as a whole."""
    manifest = read(cfg)
    manifest[section] = facts
    text = json.dumps(manifest, indent=2, sort_keys=True) + "\n"
    target = path(cfg)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(".manifest.json.new")
    temporary.write_text(text, "utf-8")
    temporary.replace(target)


def file_facts(file: Path) -> dict[str, object]:
    """Size in bytes and SHA-256 of a result."""
    return {"size": file.stat().st_size, "sha256": file_digest(file)}


def tool_versions() -> dict[str, str]:
    """The first line that each tool says about its version; ``absent`` where it is not."""
    versions = {"python": platform.python_version()}
    for tool in TOOLS:
        if run.which(tool):
            versions[tool] = run.capture([tool, "--version"]).strip().partition("\n")[0]
        else:
            versions[tool] = "absent"
    return versions


def begin(cfg: BuildConfig) -> None:
    """Start the manifest: this tool, the settings that shape the result, the other tools."""
    local = {"kernel_src": str(cfg.kernel_src)} if cfg.kernel_src else {}
    record(cfg, "hypergen", {"version": __version__, **local})
    record(cfg, "tools", tool_versions())


def summary(cfg: BuildConfig, results: Mapping[str, Path], started: float) -> None:
    """Print what the run made: size and path of each result, and the time.

    Args:
        cfg: the settings.
        results: what it is, where it is; those that do not exist are left out.
        started: :func:`time.monotonic` at the start.
    """
    rows = [
        (what, progress.human(file.stat().st_size), str(file))
        for what, file in results.items()
        if file.exists()
    ]
    rows.append(("manifest", "", str(path(cfg))))
    rows.append(("logs", "", str(cfg.logs)))
    progress.summary(rows)
    work = sum(seconds for _, seconds in progress.times())
    took = time.monotonic() - started
    state = "nothing had changed" if work == 0 else f"{work:.1f} s of work"
    progress.note(f"{took:.1f} s, {state}")
