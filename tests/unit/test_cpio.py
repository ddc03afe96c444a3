# SPDX-License-Identifier: Apache-2.0
"""The newc archive: what is written can be read back, by us and others, and is always the same."""

from __future__ import annotations

import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from hypergen.errors import UserError
from hypergen.image import cpio
from hypergen.image.cpio import Archive


def _sample() -> Archive:
    archive = Archive()
    archive.file("usr/bin/tool", b"\x7fELF" + bytes(9), 0o755)
    archive.symlink("bin", "usr/bin")
    archive.node("dev/console", "c", 5, 1, 0o600)
    archive.directory("tmp", 0o1777)
    archive.file("etc/empty", b"")
    archive.file("etc/name with blanks é", b"x")
    return archive


def test_entries_survive_writing_and_reading(tmp_path: Path) -> None:
    path = tmp_path / "a.cpio"
    path.write_bytes(_sample().serialise())
    entries = {entry.path: entry for entry in cpio.read(path)}
    assert list(entries.values()) == list(_sample())
    assert entries["usr/bin/tool"].data == b"\x7fELF" + bytes(9)
    assert entries["usr/bin/tool"].mode == stat.S_IFREG | 0o755
    assert entries["bin"].data == b"usr/bin"
    assert entries["dev/console"].device == (5, 1)
    assert entries["dev/console"].mode == stat.S_IFCHR | 0o600
    assert entries["tmp"].mode == stat.S_IFDIR | 0o1777


def test_parents_appear_and_precede_what_they_hold() -> None:
    paths = [entry.path for entry in _sample()]
    assert "usr" in paths
    for path in paths:
        if "/" in path:
            assert paths.index(path.rsplit("/", 1)[0]) < paths.index(path)


def test_order_of_adding_does_not_matter() -> None:
    one, two = Archive(), Archive()
    one.file("a/b", b"1")
    one.file("a.c", b"2")
    two.file("a.c", b"2")
    two.file("a/b", b"1")
    assert one.serialise() == two.serialise()


def test_other_programs_read_the_archive(tmp_path: Path) -> None:
    tools = [["cpio", "-t", "--quiet"], ["busybox", "cpio", "-t"]]
    present = [tool for tool in tools if shutil.which(tool[0])]
    if not present:
        pytest.skip("neither cpio nor busybox is installed")
    path = tmp_path / "a.cpio"
    path.write_bytes(_sample().serialise())
    for tool in present:
        with path.open("rb") as stream:
            listing = subprocess.run(tool, stdin=stream, capture_output=True, check=True).stdout
        assert len(listing.splitlines()) == len(list(_sample()))
        assert b"usr/bin/tool" in listing.splitlines()


@pytest.mark.parametrize("path", ["", "a//b", "../a", "a/../b", "./a"])
def test_paths_that_leave_the_archive_are_refused(path: str) -> None:
    with pytest.raises(UserError, match="not a path inside"):
        Archive().file(path, b"")


def test_one_path_with_two_contents_is_refused() -> None:
    archive = _sample()
    archive.file("etc/empty", b"")  # the same again is fine
    with pytest.raises(UserError, match="/etc/empty is given twice"):
        archive.file("etc/empty", b"other")


def test_a_file_cannot_be_a_folder() -> None:
    archive = _sample()
    with pytest.raises(UserError, match="/etc/empty is not a directory"):
        archive.file("etc/empty/below", b"")


def test_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.cpio"
    whole = _sample().serialise()
    path.write_bytes(b"not cpio at all" * 20)
    with pytest.raises(UserError, match="not a newc cpio archive"):
        cpio.read(path)
    path.write_bytes(whole[:300])
    with pytest.raises(UserError):
        cpio.read(path)
