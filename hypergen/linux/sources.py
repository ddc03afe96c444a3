# SPDX-License-Identifier: Apache-2.0
"""The Linux source: which one is used, fetched into the download folder, verified.

``kernel-config/sources.toml`` says what there is. A source that cannot be had leaves a reason, and
the next one is tried.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import tomllib
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hypergen import fetch, progress, run
from hypergen.config import TOP, BuildConfig
from hypergen.errors import BuildError, HypergenError, UserError

PINS = TOP / "kernel-config" / "sources.toml"


@dataclass(frozen=True)
class Tarball:
    """A release on a web server, with its digest."""

    version: str
    url: str
    sha256: str

    @property
    def name(self) -> str:
        """The file's name in the download folder."""
        return Path(urllib.parse.urlsplit(self.url).path).name


@dataclass(frozen=True)
class Pins:
    """The contents of ``sources.toml``."""

    series: str
    tarballs: tuple[Tarball, ...]
    package: str | None


@dataclass(frozen=True)
class Source:
    """A source that is at hand.

    Attributes:
        kind: ``local`` (a tree), ``kernel.org`` (a tarball) or ``debian`` (a package).
        version: as its giver calls it.
        digest: SHA-256 of the file; of the files' names, sizes and times for a tree.
        path: the tree or the file.
    """

    kind: str
    version: str
    digest: str
    path: Path


def load_pins(path: Path | None = None) -> Pins:
    """Read and check ``sources.toml``.

    Raises:
        UserError: something in it is missing or malformed.
    """
    path = path or PINS
    try:
        table = tomllib.loads(path.read_text("utf-8"))["linux"]
        tarballs = tuple(
            Tarball(t["version"], t["url"].format(version=t["version"]), t["sha256"].lower())
            for t in table.get("tarball", [])
        )
        package = table.get("debian", {}).get("package")
        series = table["series"]
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path}: {error}") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: malformed: {error!r}") from None
    for tarball in tarballs:
        if not re.fullmatch(r"[0-9a-f]{64}", tarball.sha256):
            raise UserError(
                f"{path}: {tarball.version}: sha256 must be 64 hexadecimal digits",
                hint="take it from sha256sums.asc beside the tarball",
            )
        if not (tarball.version + ".").startswith(series + "."):
            raise UserError(f"{path}: {tarball.version} is not of the series {series}")
    return Pins(series, tarballs, package)


def tree_version(tree: Path) -> str:
    """The version in a kernel tree's top Makefile: ``6.12.117``.

    Raises:
        UserError: this is no kernel tree.
    """
    try:
        head = (tree / "Makefile").read_text("utf-8", "replace")[:2000]
    except OSError as error:
        raise UserError(
            f"{tree}: not a Linux tree: {error.strerror} (Makefile)",
            hint="KERNEL_SRC= names the top folder of a Linux source",
        ) from None
    found = dict(re.findall(r"^(VERSION|PATCHLEVEL|SUBLEVEL) *= *(\d+) *$", head, re.M))
    if len(found) != 3:
        raise UserError(f"{tree}: not a Linux tree: no version in its Makefile")
    return f"{found['VERSION']}.{found['PATCHLEVEL']}.{found['SUBLEVEL']}"


_PRODUCTS = (".o", ".cmd", ".a", ".d", ".order", ".symvers", ".mod")


def tree_digest(tree: Path) -> str:
    """A digest of names, sizes and times of a tree's files; build products and VCS data apart."""
    lines = []
    stack = [str(tree)]
    while stack:
        folder = stack.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if entry.name != ".git":
                        stack.append(entry.path)
                elif not entry.name.endswith(_PRODUCTS):
                    stat = entry.stat(follow_symlinks=False)
                    lines.append(f"{entry.path}\0{stat.st_size}\0{stat.st_mtime_ns}")
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def _local(tree: Path, pins: Pins) -> Source:
    version = tree_version(tree)
    if not version.startswith(pins.series + "."):
        raise UserError(
            f"{tree}: Linux {version}, but {pins.series} is needed",
            hint="the fragments and patches in kernel-config/ are written for that series",
        )
    return Source("local", version, tree_digest(tree), tree)


def _tarball(cfg: BuildConfig, tarball: Tarball) -> Source:
    path = cfg.downloads / tarball.name
    with progress.step(f"fetch {tarball.name}"):
        record = fetch.http(
            tarball.url,
            path,
            source="kernel.org",
            version=tarball.version,
            sha256=tarball.sha256,
        )
    return Source(record.source, record.version, record.sha256, path)


_URI = re.compile(r"^'(?P<url>[^']+)' (?P<name>\S+) (?P<size>\d+) SHA256:(?P<sha256>[0-9a-f]{64})$")


def _apt_metadata(package: str, version: str | None = None) -> tuple[str, fetch.Record]:
    """File name and record of a package, from apt's own verified lists.

    Raises:
        BuildError: apt does not know it. UserError: this machine has no apt.
    """
    wanted = package if version is None else f"{package}={version}"
    text = run.capture(
        ["apt-get", "download", "--print-uris", wanted],
        hint="`apt-get update` as root, and a line for bookworm-security in apt's sources",
    )
    for line in text.splitlines():
        if match := _URI.match(line):
            exact = urllib.parse.unquote(match["name"].split("_")[1])
            return match["name"], fetch.Record(
                "debian", exact, match["sha256"], int(match["size"]), match["url"]
            )
    raise BuildError(f"apt-get gave no SHA-256 for {wanted}")


def _debian(cfg: BuildConfig, package: str) -> Source:
    """Fetch the newest version of a source package that apt knows."""
    if run.which("apt-get") is None:
        raise BuildError("this machine has no apt-get")
    try:
        name, record = _apt_metadata(package)
    except BuildError:
        if os.geteuid() != 0:
            raise
        run.run(["apt-get", "update"], log=cfg.logs / "apt-update.log")
        name, record = _apt_metadata(package)
    path = cfg.downloads / name
    if path.exists() and fetch.digest(path) == record.sha256:  # put there by hand, and good
        fetch.write_record(path, record)
        return Source("debian", record.version, record.sha256, path)
    partial = cfg.downloads / "partial"
    partial.mkdir(parents=True, exist_ok=True)
    with progress.step(f"apt-get download {package} {record.version}"):
        for attempt in (1, 2):
            run.run(
                ["apt-get", "download", "-q", f"{package}={record.version}"],
                cwd=partial,
                log=cfg.logs / "apt-download.log",
                verbose=cfg.verbose,
            )
            if (partial / name).exists() and fetch.digest(partial / name) == record.sha256:
                break
            shutil.rmtree(partial)
            if attempt == 2:
                raise BuildError(f"{name}: SHA-256 is not the one in apt's lists")
            partial.mkdir()
    fetch.write_record(path, record)
    (partial / name).replace(path)
    return Source("debian", record.version, record.sha256, path)


def _adopt(path: Path, package: str) -> Source | None:
    """Take a package file that lies in the download folder without a record, if apt vouches."""
    version = urllib.parse.unquote(path.name.split("_")[1])
    try:
        _, record = _apt_metadata(package, version)
    except HypergenError:
        return None
    if fetch.digest(path) != record.sha256:
        progress.warn(f"{path}: damaged (its SHA-256 is not the one in apt's lists); removed")
        fetch.discard(path)
        return None
    fetch.write_record(path, record)
    return Source("debian", record.version, record.sha256, path)


def _natural(name: str) -> list[int | str]:
    return [int(word) if word.isdigit() else word for word in re.split(r"(\d+)", name)]


def cached(cfg: BuildConfig, pins: Pins) -> Source | None:
    """The first source in the download folder, judged by its record (a full check is at use)."""
    for tarball in pins.tarballs:
        path = cfg.downloads / tarball.name
        record = fetch.present(path)
        if record and record.sha256 == tarball.sha256:
            return Source("kernel.org", record.version, record.sha256, path)
    if pins.package is None:
        return None
    files = sorted(
        cfg.downloads.glob(f"{pins.package}_*.deb"), key=lambda p: _natural(p.name), reverse=True
    )
    for path in files:
        if record := fetch.present(path):
            return Source("debian", record.version, record.sha256, path)
    for path in files:
        if fetch.read_record(path) is None and (source := _adopt(path, pins.package)):
            return source
    return None


@contextlib.contextmanager
def _turn(cfg: BuildConfig) -> Iterator[None]:
    """One process at a time works on the download folder."""
    cfg.downloads.mkdir(parents=True, exist_ok=True)
    with (cfg.downloads / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def linux(cfg: BuildConfig, *, update: bool = False) -> Source:
    """The Linux source of this build, fetched when it has to be.

    Args:
        cfg: the settings; ``kernel_src`` overrides every other source.
        update: ask the servers even when something is cached.

    Raises:
        BuildError: none of the sources can be had; the message holds each one's reason.
    """
    pins = load_pins()
    if cfg.kernel_src is not None:
        return _local(cfg.kernel_src, pins)
    with _turn(cfg):
        if not update and (source := cached(cfg, pins)):
            return source
        reasons = []
        for tarball in pins.tarballs:
            try:
                return _tarball(cfg, tarball)
            except HypergenError as error:
                reasons.append(f"kernel.org {tarball.version}: {error.message}")
                progress.note(f"{reasons[-1]}; trying the next source")
        if pins.package:
            try:
                return _debian(cfg, pins.package)
            except HypergenError as error:
                tail = f": {error.tail[-1]}" if error.tail else ""
                reasons.append(f"Debian {pins.package}: {error.message}{tail}")
        if update and (source := cached(cfg, pins)):
            progress.warn("no server can be reached; the cached source is kept")
            return source
    raise BuildError(
        "no Linux source can be had",
        tail=tuple(reasons),
        hint="KERNEL_SRC=DIR takes a tree of your own; or put the tarball into "
        f"{cfg.downloads} on a machine with a network",
    )


def checked(cfg: BuildConfig) -> Source:
    """:func:`linux`, with the file's digest verified now; a damaged one is fetched again."""
    source = linux(cfg)
    if source.kind == "local" or fetch.verified(source.path):
        return source
    return linux(cfg)
