# SPDX-License-Identifier: Apache-2.0
"""Which QEMU emulates: the one asked for, a good one, a newer one, or with a warning an old one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from plumbum import local

from hypergen.boot import emulator
from hypergen.boot.emulator import PROGRAM
from hypergen.config import BuildConfig
from hypergen.errors import BuildError
from hypergen.image import debs
from hypergen.image.debs import Archive, Deb
from tests.unit.fakes import calls, program, settings

MIRROR = "http://mirror.example/debian/"


@pytest.fixture
def cfg(tmp_path: Path) -> BuildConfig:
    return settings(tmp_path, qemu="auto")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A Debian 12 with QEMU 7.2 and with an apt that finds backports; returns its programs."""
    folder = tmp_path / "bin"
    program(folder, PROGRAM, "echo QEMU emulator version 7.2.22 '(Debian 1:7.2+dfsg-7)'")
    lists = "for word; do case $word in Dir::State::lists=*) lists=${word#*=};; esac; done"
    update = f'{lists}; case "$*" in *update) touch $lists/x_Packages;;'
    program(folder, "apt-get", f"{update} *indextargets*) echo {MIRROR};; esac")
    monkeypatch.setattr(emulator, "_release", lambda: "bookworm")
    emulator.words.cache_clear()
    with local.env(PATH=f"{folder}:/usr/bin:/bin"):
        yield folder


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Archive]:
    """The archives from which packages were fetched."""
    asked: list[Archive] = []

    def fetch(_: BuildConfig, names: Iterable[str], archive: Archive) -> dict[str, Deb]:
        asked.append(archive)
        return {name: Deb(name, "1:10.0", "amd64", name) for name in names}

    monkeypatch.setattr(debs, "fetch", fetch)
    monkeypatch.setattr(debs, "unpack", lambda *_, **__: tmp_path / "tree")
    return asked


def test_the_one_that_was_asked_for_is_taken(tmp_path: Path) -> None:
    assert emulator.words(settings(tmp_path, qemu="/opt/qemu")) == ("/opt/qemu",)


def test_an_old_one_is_passed_over(
    cfg: BuildConfig, machine: Path, archive: list[Archive], tmp_path: Path
) -> None:
    found = emulator.words(cfg)
    tree = tmp_path / "tree"
    modules = f"QEMU_MODULE_DIR={tree}/usr/lib/x86_64-linux-gnu/qemu"
    assert found[:3] == ("env", modules, str(tree / "usr/bin" / PROGRAM))
    emulator.words.cache_clear()
    assert emulator.words(cfg) == found
    # The index is asked for once; what was fetched is kept.
    assert sum(line.endswith("update") for line in calls(machine, "apt-get")) == 1
    options = dict(word.split("=", 1) for word in archive[0].options if "=" in word)
    # Nothing of the machine's own apt is written.
    for name in ("Dir::State::lists", "Dir::Cache", "Dir::Etc::sourcelist"):
        assert Path(options[name]).is_relative_to(cfg.cache)
    line = Path(options["Dir::Etc::sourcelist"]).read_text()
    assert f"{MIRROR} bookworm-backports main" in line


def test_a_good_one_is_taken(cfg: BuildConfig, machine: Path, archive: list[Archive]) -> None:
    program(machine, PROGRAM, "echo QEMU emulator version 8.1.0")
    assert emulator.words(cfg) == (PROGRAM,)
    assert not archive


def test_elsewhere_the_distributions_is_taken(
    cfg: BuildConfig, machine: Path, archive: list[Archive], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emulator, "_release", lambda: "")
    assert emulator.words(cfg) == (PROGRAM,)
    assert not archive


def test_without_a_network_the_old_one_serves_with_a_warning(
    cfg: BuildConfig, machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program(machine, "apt-get", f"case $* in *indextargets*) echo {MIRROR};; *) exit 100;; esac")
    assert emulator.words(cfg) == (PROGRAM,)
    said = "".join(capsys.readouterr())
    assert "warning" in said and "8.1" in said


def test_an_index_of_yesterday_is_renewed(
    cfg: BuildConfig, machine: Path, archive: list[Archive], monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.words(cfg)
    emulator.words.cache_clear()
    fetch, failures = debs.fetch, [BuildError("404")]

    def once(cfg: BuildConfig, names: Iterable[str], archive: Archive) -> dict[str, Deb]:
        if failures:
            raise failures.pop()
        return fetch(cfg, names, archive)

    monkeypatch.setattr(debs, "fetch", once)
    assert emulator.words(cfg)[0] != PROGRAM
    assert sum(line.endswith("update") for line in calls(machine, "apt-get")) == 2


def test_only_a_server_leads_to_backports() -> None:
    assert f" {MIRROR} bookworm-backports" in emulator.sources("bookworm", f"file:/cd\n{MIRROR}\n")
    with pytest.raises(BuildError, match="no server"):
        emulator.sources("bookworm", "cdrom:[Debian]/\n")


def test_the_version_is_read(machine: Path) -> None:
    assert emulator.version() == (7, 2)
    program(machine, PROGRAM, "echo something else")
    with pytest.raises(BuildError, match="says no version"):
        emulator.version()
