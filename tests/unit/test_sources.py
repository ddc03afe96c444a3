# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from hypergen import fetch, run
from hypergen.config import BuildConfig
from hypergen.errors import BuildError, UserError
from hypergen.linux import sources
from tests.unit import fakes

BODY = b"a tarball" * 100
SHA = hashlib.sha256(BODY).hexdigest()
DEB = b"a package" * 100
DEB_SHA = hashlib.sha256(DEB).hexdigest()
DEB_NAME = "linux-source-6.12_6.12.7-1_all.deb"

APT = f"""
case "$*" in
*--print-uris*)
    echo "'http://deb/{DEB_NAME}' {DEB_NAME} {len(DEB)} SHA256:{DEB_SHA}" ;;
update) ;;
*) cp "$(dirname "$0")/payload" {DEB_NAME} ;;
esac
"""


@pytest.fixture
def cfg(tmp_path: Path) -> BuildConfig:
    return fakes.settings(tmp_path)


def pin(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str, sha256: str = SHA, more: str = ""
) -> None:
    path = tmp_path / "sources.toml"
    path.write_text(
        f'[linux]\nseries = "6.12"\n[[linux.tarball]]\nversion = "6.12.9"\n'
        f'url = "{url}"\nsha256 = "{sha256}"\n{more}'
    )
    monkeypatch.setattr(sources, "PINS", path)


def fake_apt(monkeypatch: pytest.MonkeyPatch, folder: Path, payload: bytes = DEB) -> None:
    program = fakes.program(folder, "apt-get", APT)
    (folder / "payload").write_bytes(payload)
    monkeypatch.setattr(run, "which", lambda name: program if name == "apt-get" else None)


DEBIAN = '[linux.debian]\npackage = "linux-source-6.12"\n'


def dead_url() -> str:
    with fakes.serve(b"") as server:
        return server.url


def test_the_project_pins_are_well_formed() -> None:
    pins = sources.load_pins()
    assert pins.series == "6.12" and pins.package == "linux-source-6.12"
    assert pins.tarballs[0].name == f"linux-{pins.tarballs[0].version}.tar.xz"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[linux", "sources.toml"),
        ("[linux]\n", "malformed"),
        ('[linux]\nseries="6.12"\n[[linux.tarball]]\nversion="6.12.1"\n', "malformed"),
        (
            '[linux]\nseries="6.12"\n[[linux.tarball]]\nversion="6.12.1"\nurl="u"\nsha256="12"\n',
            "64 hexadecimal",
        ),
        (
            '[linux]\nseries="6.12"\n[[linux.tarball]]\nversion="6.1.1"\nurl="u"\n'
            f'sha256="{SHA}"\n',
            "not of the series",
        ),
    ],
)
def test_malformed_pins_are_the_users_mistake(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "sources.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=said):
        sources.load_pins(path)


def test_the_tarball_is_taken_before_the_package(
    cfg: BuildConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fakes.serve(BODY) as server:
        pin(monkeypatch, tmp_path, server.url, more=DEBIAN)
        fake_apt(monkeypatch, tmp_path / "bin")
        source = sources.linux(cfg)
    assert (source.kind, source.version, source.digest) == ("kernel.org", "6.12.9", SHA)
    assert fakes.calls(tmp_path / "bin", "apt-get") == []


def test_without_the_server_the_package_is_taken_and_recorded(
    cfg: BuildConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin(monkeypatch, tmp_path, dead_url(), more=DEBIAN)
    fake_apt(monkeypatch, tmp_path / "bin")
    source = sources.linux(cfg)
    assert (source.kind, source.version, source.digest) == ("debian", "6.12.7-1", DEB_SHA)
    assert source.path.read_bytes() == DEB
    assert fetch.read_record(source.path) is not None


def test_a_warm_cache_needs_neither_server_nor_apt(
    cfg: BuildConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin(monkeypatch, tmp_path, dead_url(), more=DEBIAN)
    fake_apt(monkeypatch, tmp_path / "bin")
    first = sources.linux(cfg)
    monkeypatch.setattr(run, "which", lambda name: None)
    assert sources.checked(cfg) == first


def test_a_damaged_package_is_fetched_again(
    cfg: BuildConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin(monkeypatch, tmp_path, dead_url(), more=DEBIAN)
    fake_apt(monkeypatch, tmp_path / "bin")
    path = sources.linux(cfg).path
    path.write_bytes(b"?" * len(DEB))
    assert sources.checked(cfg).path.read_bytes() == DEB


def test_a_package_that_was_put_there_by_hand_is_adopted_when_apt_vouches(
    cfg: BuildConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin(monkeypatch, tmp_path, dead_url(), more=DEBIAN)
    fake_apt(monkeypatch, tmp_path / "bin")
    cfg.downloads.mkdir(parents=True)
    (cfg.downloads / DEB_NAME).write_bytes(DEB)
    assert sources.linux(cfg).version == "6.12.7-1"
    assert all("--print-uris" in call for call in fakes.calls(tmp_path / "bin", "apt-get"))


def test_a_package_with_another_digest_than_apts_is_refused(
    cfg: BuildConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin(monkeypatch, tmp_path, dead_url(), more=DEBIAN)
    fake_apt(monkeypatch, tmp_path / "bin", payload=b"evil")
    with pytest.raises(BuildError) as caught:
        sources.linux(cfg)
    assert len(caught.value.tail) == 2, "one reason a source"
    assert "SHA-256" in caught.value.tail[1]
    assert not (cfg.downloads / DEB_NAME).exists()


def tree(folder: Path, version: str = "6.12.3") -> Path:
    folder.mkdir()
    major, patchlevel, sublevel = version.split(".")
    (folder / "Makefile").write_text(
        f"VERSION = {major}\nPATCHLEVEL = {patchlevel}\nSUBLEVEL = {sublevel}\n"
    )
    return folder


def test_kernel_src_is_taken_alone(tmp_path: Path) -> None:
    local = tree(tmp_path / "linux")
    source = sources.linux(fakes.settings(tmp_path, kernel_src=str(local)))
    assert (source.kind, source.version, source.path) == ("local", "6.12.3", local)


@pytest.mark.parametrize("version", ["6.1.3", "6.13.0"])
def test_kernel_src_of_another_series_is_refused(tmp_path: Path, version: str) -> None:
    local = tree(tmp_path / "linux", version)
    with pytest.raises(UserError, match=r"6\.12 is needed"):
        sources.linux(fakes.settings(tmp_path, kernel_src=str(local)))


def test_kernel_src_that_is_no_tree_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a Linux tree"):
        sources.linux(fakes.settings(tmp_path, kernel_src=str(tmp_path)))


def test_an_edit_in_a_local_tree_changes_its_digest_and_an_object_file_does_not(
    tmp_path: Path,
) -> None:
    local = tree(tmp_path / "linux")
    before = sources.tree_digest(local)
    (local / "a.o").write_text("")
    assert sources.tree_digest(local) == before
    (local / "a.c").write_text("")
    assert sources.tree_digest(local) != before
