# SPDX-License-Identifier: Apache-2.0
"""Debian packages: apt's word is checked, the cache serves offline, damage is noticed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from hypergen import config, run
from hypergen.config import BuildConfig
from hypergen.errors import BuildError, UserError
from hypergen.image import debs
from hypergen.image.debs import Archive, Deb


def _deb(version: str, content: bytes) -> Deb:
    return Deb("tool", version, "amd64", hashlib.sha256(content).hexdigest())


class Apt:
    """Stands in for apt: an index, and a download that may fail or lie."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.index: dict[str, Deb] = {}
        self.content = b""
        self.network = True
        self.downloads = 0
        self.asked = 0
        monkeypatch.setattr(debs, "candidates", self._candidates)
        monkeypatch.setattr(debs, "index_state", lambda _: str(self.index))
        monkeypatch.setattr(run, "run", self._run)

    def offer(self, version: str, content: bytes) -> Deb:
        deb = _deb(version, content)
        self.index[deb.name], self.content = deb, content
        return deb

    def _candidates(self, names: Sequence[str], _: Archive) -> dict[str, Deb]:
        self.asked += 1
        return {name: self.index[name] for name in names if name in self.index}

    def _run(self, argv: Sequence[object], *, cwd: Path, **_: object) -> None:
        self.downloads += 1
        if not self.network:
            raise BuildError("apt-get failed with status 100")
        (cwd / self.index["tool"].file).write_bytes(self.content)


@pytest.fixture
def cfg(tmp_path: Path) -> BuildConfig:
    return config.load({"cache": str(tmp_path / "cache"), "out": str(tmp_path / "out")}, {})


@pytest.fixture
def apt(monkeypatch: pytest.MonkeyPatch) -> Apt:
    return Apt(monkeypatch)


def test_index_is_parsed_candidate_first() -> None:
    text = (
        "Package: a\nVersion: 1:2-3\nArchitecture: amd64\nSHA256: 11\nDescription: x\n y: z\n\n"
        "Package: a\nVersion: 1\nArchitecture: amd64\nSHA256: 22\n\n"
        "Package: local\nVersion: 1\nArchitecture: all\n"
    )
    found = debs.parse_index(text)
    assert found == {"a": Deb("a", "1:2-3", "amd64", "11")}
    assert found["a"].file == "a_1%3a2-3_amd64.deb"


def test_fetched_once_then_served_from_the_cache(cfg: BuildConfig, apt: Apt) -> None:
    deb = apt.offer("1", b"one")
    assert debs.fetch(cfg, ["tool"]) == {"tool": deb}
    apt.network = False
    assert debs.fetch(cfg, ["tool"]) == {"tool": deb}
    assert (apt.downloads, apt.asked) == (1, 1)


def test_offline_without_an_index(cfg: BuildConfig, apt: Apt) -> None:
    deb = apt.offer("1", b"one")
    debs.fetch(cfg, ["tool"])
    apt.index = {}
    apt.network = False
    assert debs.fetch(cfg, ["tool"]) == {"tool": deb}


def test_newer_version_is_taken_or_the_old_one_serves(cfg: BuildConfig, apt: Apt) -> None:
    old = apt.offer("1", b"one")
    debs.fetch(cfg, ["tool"])
    new = apt.offer("2", b"two")
    apt.network = False
    assert debs.fetch(cfg, ["tool"]) == {"tool": old}
    apt.network = True
    assert debs.fetch(cfg, ["tool"]) == {"tool": new}


def test_damaged_file_is_fetched_again(cfg: BuildConfig, apt: Apt) -> None:
    deb = apt.offer("1", b"one")
    debs.fetch(cfg, ["tool"])
    path = cfg.downloads / "debs" / deb.file
    path.write_bytes(b"damaged")
    debs.fetch(cfg, ["tool"])
    assert path.read_bytes() == b"one"
    path.write_bytes(b"damaged")
    apt.network = False
    with pytest.raises(BuildError):
        debs.fetch(cfg, ["tool"])


def test_download_that_is_not_what_the_index_says(cfg: BuildConfig, apt: Apt) -> None:
    apt.offer("1", b"one")
    apt.content = b"something else"
    with pytest.raises(BuildError, match="SHA-256 is not that of apt's index"):
        debs.fetch(cfg, ["tool"])
    assert not (cfg.downloads / "debs" / apt.index["tool"].file).exists()


def test_unknown_package_is_named(cfg: BuildConfig, apt: Apt) -> None:
    with pytest.raises(UserError, match="package tool: not known to apt"):
        debs.fetch(cfg, ["tool"])


def test_damaged_record_is_no_obstacle(cfg: BuildConfig, apt: Apt) -> None:
    deb = apt.offer("1", b"one")
    debs.fetch(cfg, ["tool"])
    (cfg.downloads / "debs" / "packages.json").write_text("{broken")
    assert debs.fetch(cfg, ["tool"]) == {"tool": deb}
    assert apt.downloads == 1
