# SPDX-License-Identifier: Apache-2.0
"""Files from elsewhere: fetched whole or not at all, and verified by digest.

A download ``NAME`` has a record ``NAME.json`` beside it (source, version, SHA-256, size). While it
is being fetched it is called ``NAME.part``; an interrupted fetch is resumed from there by an HTTP
range request (RFC 9110 §14), a damaged one is redone from the start.
"""

from __future__ import annotations

import hashlib
import json
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from http.client import HTTPException
from pathlib import Path

from hypergen import progress
from hypergen.errors import BuildError

CHUNK = 1 << 20
TIMEOUT = 20.0
"""Seconds without a byte after which a server counts as out of reach."""


@dataclass(frozen=True)
class Record:
    """What a download is; kept beside it as JSON."""

    source: str
    version: str
    sha256: str
    size: int
    url: str


def _record_path(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def read_record(path: Path) -> Record | None:
    """The record of the download at `path`, or None when it is missing or unreadable."""
    try:
        return Record(**json.loads(_record_path(path).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_record(path: Path, record: Record) -> None:
    """Put `record` beside the download at `path`, atomically."""
    temporary = path.with_name(path.name + ".json.tmp")
    temporary.write_text(json.dumps(asdict(record), indent=2) + "\n", "utf-8")
    temporary.replace(_record_path(path))


def present(path: Path) -> Record | None:
    """The record, when the file stands with the recorded size. Cheap; not a verification."""
    record = read_record(path)
    try:
        return record if record and path.stat().st_size == record.size else None
    except OSError:
        return None


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def discard(path: Path) -> None:
    """Remove a download and its record."""
    path.unlink(missing_ok=True)
    _record_path(path).unlink(missing_ok=True)


def verified(path: Path) -> Record | None:
    """The record, when the file's digest is the recorded one; a damaged file is removed."""
    record = read_record(path)
    if record is None or not path.exists():
        return None
    if present(path) and digest(path) == record.sha256:
        return record
    progress.warn(f"{path}: damaged (its SHA-256 is not the recorded one); fetched again")
    discard(path)
    return None


def _request(url: str, offset: int) -> urllib.request.Request:
    headers = {"User-Agent": "hypergen", "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    return urllib.request.Request(url, headers=headers)


def _transfer(url: str, part: Path) -> bool:
    """Bring `part` to its full length; returns whether it continued an earlier piece.

    Raises:
        OSError, HTTPException: the server cannot be reached or stops early.
    """
    offset = part.stat().st_size if part.exists() else 0
    try:
        response = urllib.request.urlopen(_request(url, offset), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and offset:  # longer than the whole: not ours to continue
            part.unlink()
            return _transfer(url, part)
        raise
    with response:
        resumed = offset > 0 and response.status == 206
        length = response.headers.get("Content-Length")
        done = offset if resumed else 0
        total = done + int(length) if length else 0
        with part.open("ab" if resumed else "wb") as sink:
            while piece := response.read(CHUNK):
                sink.write(piece)
                done += len(piece)
                share = f" ({100 * done // total} %)" if total else ""
                progress.detail(f"{progress.human(done)}{share}")
        if total and done < total:
            raise HTTPException(f"the connection closed after {done} of {total} bytes")
    return resumed


def http(url: str, target: Path, *, source: str, version: str, sha256: str) -> Record:
    """Fetch `url` to `target` unless a verified copy is there already.

    Raises:
        BuildError: it cannot be had, or what came does not have the digest `sha256`.
    """
    if (record := verified(target)) and record.sha256 == sha256:
        return record
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    got = ""
    for _ in range(2):
        try:
            resumed = _transfer(url, part)
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise BuildError(f"{url}: {reason}") from None
        got = digest(part)
        if got == sha256:
            record = Record(source, version, sha256, part.stat().st_size, url)
            write_record(target, record)
            part.replace(target)
            return record
        part.unlink()
        if not resumed:
            break
        progress.warn(f"{target.name}: the resumed download is damaged; starting over")
    raise BuildError(
        f"{url}: SHA-256 is {got}, not {sha256}",
        hint="the pin in kernel-config/sources.toml is wrong, or the server sent something else",
    )
