# SPDX-License-Identifier: Apache-2.0
"""Debian packages as a source of files: fetched by apt, verified, unpacked; no root needed.

apt knows the packages' digests from its signed index. A package that was fetched once is recorded
with version and digest beside the download, so with a warm cache the index is not needed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from hypergen import progress, run
from hypergen.config import BuildConfig
from hypergen.errors import BuildError, UserError
from hypergen.stage import file_digest

_RECORD = "packages.json"


@dataclass(frozen=True)
class Archive:
    """Where apt is to look for packages.

    Attributes:
        options: for every call of apt; none is the machine's own settings.
        lists: apt's folder of indexes.
        folder: below the downloads, where packages from here are kept.
    """

    options: tuple[str, ...] = ()
    lists: Path = Path("/var/lib/apt/lists")
    folder: str = "debs"


SYSTEM = Archive()


@dataclass(frozen=True)
class Deb:
    """One binary package: what apt offers, or what was fetched."""

    name: str
    version: str
    architecture: str
    sha256: str

    @property
    def file(self) -> str:
        """The file's name as ``apt-get download`` writes it (the epoch's colon is quoted)."""
        return f"{self.name}_{self.version.replace(':', '%3a')}_{self.architecture}.deb"


def parse_index(text: str) -> dict[str, Deb]:
    """Read what ``apt-cache show`` prints; the first stanza of a name is the candidate."""
    found: dict[str, Deb] = {}
    for stanza in text.split("\n\n"):
        fields = dict(
            line.split(": ", 1) for line in stanza.splitlines() if ": " in line and line[0] != " "
        )
        try:
            deb = Deb(
                fields["Package"], fields["Version"], fields["Architecture"], fields["SHA256"]
            )
        except KeyError:
            continue  # installed by hand, in no archive: nothing to download
        found.setdefault(deb.name, deb)
    return found


def candidates(names: Sequence[str], archive: Archive = SYSTEM) -> dict[str, Deb]:
    """What apt's index offers of `names`; names that it does not know are left out."""
    if run.which("apt-cache") is None:
        return {}
    show = ["apt-cache", *archive.options, "show", "--no-all-versions"]
    try:
        return parse_index(run.capture([*show, *names]))
    except BuildError:  # apt-cache fails when one name is unknown, and prints the others
        found: dict[str, Deb] = {}
        for name in names:
            try:
                found |= parse_index(run.capture([*show, name]))
            except BuildError:
                continue
        return found


def index_state(archive: Archive = SYSTEM) -> str:
    """A value that changes when apt's index does; asking apt itself takes a second."""
    try:
        files = sorted(
            (entry.name, entry.stat().st_size, entry.stat().st_mtime_ns)
            for entry in os.scandir(archive.lists)
        )
    except OSError:
        files = []
    return hashlib.sha256(repr(files).encode()).hexdigest()


def _read_record(folder: Path) -> tuple[str, dict[str, Deb]]:
    """The index's state at the last fetch, and what was fetched; empty when unreadable."""
    try:
        table = json.loads((folder / _RECORD).read_text("utf-8"))
        packages = {name: Deb(**fields) for name, fields in table["packages"].items()}
        return str(table["index"]), packages
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return "", {}


def _write_record(folder: Path, state: str, record: dict[str, Deb]) -> None:
    temporary = folder / f"{_RECORD}.tmp"
    packages = {name: asdict(record[name]) for name in sorted(record)}
    temporary.write_text(json.dumps({"index": state, "packages": packages}, indent=1), "utf-8")
    temporary.replace(folder / _RECORD)


def _intact(folder: Path, deb: Deb) -> bool:
    path = folder / deb.file
    return path.is_file() and file_digest(path) == deb.sha256


def _download(cfg: BuildConfig, folder: Path, debs: Sequence[Deb], archive: Archive) -> None:
    """Let apt download `debs`; it checks the digests, and so do we afterwards."""
    # A folder of its own: apt resumes nothing here, and a half file must not look like a whole one.
    partial = folder / "partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    run.run(
        # _apt, the user that apt would change to, can rarely write into a home directory.
        ["apt-get", *archive.options, "-qq", "-o", "APT::Sandbox::User=root", "download"]
        + [f"{deb.name}={deb.version}" for deb in debs],
        cwd=partial,
        log=cfg.logs / "apt-download.log",
        hint="if apt speaks of 404, its index is old: `apt-get update` (as root) renews it",
    )
    for deb in debs:
        if not _intact(partial, deb):
            raise BuildError(f"{deb.file}: the download's SHA-256 is not that of apt's index")
        (partial / deb.file).replace(folder / deb.file)
    partial.rmdir()


def fetch(cfg: BuildConfig, names: Iterable[str], archive: Archive = SYSTEM) -> dict[str, Deb]:
    """Have every package of `names` in the cache, verified; returns what each one is.

    apt's candidate is taken; when apt knows nothing of a package (no index, no apt) or cannot
    download (no network), the version fetched last time serves.

    Raises:
        UserError: a package that neither apt nor the cache has.
        BuildError: a download failed and nothing in the cache can stand in.
    """
    wanted = sorted(set(names))
    folder = cfg.downloads / archive.folder
    folder.mkdir(parents=True, exist_ok=True)
    seen, record = _read_record(folder)
    state = index_state(archive)
    # The same index offers the same packages as last time.
    known = seen == state and all(name in record for name in wanted)
    offered = {name: record[name] for name in wanted} if known else candidates(wanted, archive)
    for name in wanted:
        if name not in offered and name not in record:
            raise UserError(
                f"package {name}: not known to apt and not in {folder}",
                hint="the image is made of Debian 12's packages: build on Debian 12, with "
                "`apt-get update` done once",
            )
    chosen = {name: offered.get(name) or record[name] for name in wanted}
    missing = [deb for deb in chosen.values() if not _intact(folder, deb)]
    if missing:
        with progress.step(f"Downloading {len(missing)} Debian packages"):
            try:
                _download(cfg, folder, missing, archive)
            except BuildError as error:
                for deb in missing:
                    old = record.get(deb.name)
                    if old is None or not _intact(folder, old):
                        raise
                    chosen[deb.name] = old
                    state = ""  # try again next time
                progress.warn(f"{error.message}; the packages in the cache are used")
    if not known or missing:
        _write_record(folder, state, record | chosen)
    return chosen


def unpack(cfg: BuildConfig, *debs: Deb, archive: Archive = SYSTEM) -> Path:
    """The packages' files as one folder of the work tree, unpacked once a digest.

    It is named for the first of them.
    """
    digest = hashlib.sha256("".join(deb.sha256 for deb in debs).encode()).hexdigest()
    target = cfg.work / "debs" / f"{debs[0].name}-{digest[:16]}"
    if target.is_dir():
        return target
    temporary = target.with_suffix(".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    for deb in debs:
        run.run(
            ["dpkg-deb", "-x", cfg.downloads / archive.folder / deb.file, temporary],
            log=cfg.logs / f"dpkg-{deb.name}.log",
        )
    temporary.replace(target)
    return target
