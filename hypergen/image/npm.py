# SPDX-License-Identifier: Apache-2.0
"""Packages of npm as a source of files: pinned by version and digest, fetched by npm's own client.

Nothing of a package is run or installed: its archive is read. A verified archive in the download
folder serves without npm and without a network.
"""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

from hypergen import fetch, progress, run
from hypergen.config import BuildConfig
from hypergen.errors import BuildError, UserError


def archive_name(name: str, version: str) -> str:
    """The file that ``npm pack`` writes: ``@scope/name`` becomes ``scope-name``."""
    return f"{name.removeprefix('@').replace('/', '-')}-{version}.tgz"


def archive(cfg: BuildConfig, name: str, version: str, sha256: str) -> Path:
    """The package's archive in the download folder, verified.

    Raises:
        BuildError: it cannot be had, or is not what the pin says.
    """
    path = cfg.downloads / "npm" / archive_name(name, version)
    if path.exists() and fetch.digest(path) == sha256:
        return path
    # A folder of its own: a half file must not look like a whole one.
    partial = path.parent / "partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with progress.step(f"npm pack {name} {version}"):
        run.run(
            ["npm", "pack", "--silent", "--ignore-scripts", f"{name}@{version}"],
            cwd=partial,
            log=cfg.logs / "npm-pack.log",
            hint=f"or put {path.name} into {path.parent} on a machine with a network",
        )
    got = partial / path.name
    if not got.is_file():
        raise BuildError(f"npm pack {name}@{version} has left no {path.name}")
    if (told := fetch.digest(got)) != sha256:
        raise BuildError(
            f"{path.name}: SHA-256 is {told}, not {sha256}",
            hint="the pin in initramfs/manifest.toml is wrong, or npm got something else",
        )
    got.replace(path)
    shutil.rmtree(partial)
    return path


def member(path: Path, name: str) -> bytes:
    """The bytes of a file in the archive; npm puts all below ``package/``.

    Raises:
        UserError: there is no such file.
    """
    with tarfile.open(path) as tar:
        try:
            stream = tar.extractfile(f"package/{name}")
        except KeyError:
            stream = None
        if stream is None:
            raise UserError(f"manifest.toml: {path.name} has no file {name}")
        return stream.read()
