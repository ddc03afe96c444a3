# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from hypergen.errors import BuildError, UserError
from hypergen.linux import patches

PATCH = """\
From: A Person <a@example.org>
Subject: [PATCH] kvm: do less
 of it

Because it is not needed.
---
--- a/virt/kvm.c
+++ b/virt/kvm.c
@@ -1,3 +1,3 @@
 one
-two
+TWO
 three
@@ -11,3 +11,3 @@
 eleven
-twelve
+TWELVE
 thirteen
--- /dev/null
+++ b/virt/new.c
@@ -0,0 +1 @@
+new
"""

WORDS = "one two three four five six seven eight nine ten eleven twelve thirteen".split()


@pytest.fixture
def linux(tmp_path: Path) -> Path:
    folder = tmp_path / "linux"
    (folder / "virt").mkdir(parents=True)
    (folder / "virt/kvm.c").write_text("\n".join(WORDS) + "\n")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "patches"
    path.mkdir()
    (path / "0001-less.patch").write_text(PATCH)
    (path / "series").write_text("# the series\n\n0001-less.patch  # why\n")
    return path


def apply(folder: Path, linux: Path) -> None:
    log = linux.parent / "log"
    patches.apply(patches.series(folder), linux, log=log, version="6.12.9")


def test_a_series_is_applied(folder: Path, linux: Path) -> None:
    apply(folder, linux)
    assert "TWELVE" in (linux / "virt/kvm.c").read_text()
    assert sorted(p.name for p in linux.rglob("*.*")) == ["kvm.c", "new.c"], "no .orig, no .rej"


def test_moved_lines_are_accepted(folder: Path, linux: Path) -> None:
    (linux / "virt/kvm.c").write_text("zero\n" * 9 + "\n".join(WORDS) + "\n")
    apply(folder, linux)
    assert "TWO" in (linux / "virt/kvm.c").read_text()


def test_changed_context_stops_naming_patch_file_and_hunk(folder: Path, linux: Path) -> None:
    (linux / "virt/kvm.c").write_text("\n".join(WORDS).replace("eleven", "11") + "\n")
    with pytest.raises(BuildError) as caught:
        apply(folder, linux)
    assert caught.value.message == (
        "0001-less.patch does not apply to Linux 6.12.9: virt/kvm.c: hunk #2 (line 11)"
    )
    assert caught.value.hint and caught.value.log and caught.value.exit_code == 1


def test_a_missing_file_is_named(folder: Path, linux: Path) -> None:
    (linux / "virt/kvm.c").unlink()
    with pytest.raises(BuildError, match=r"virt/kvm\.c: no such file in the tree"):
        apply(folder, linux)


def test_a_patch_that_the_tree_has_already_is_named(folder: Path, linux: Path) -> None:
    apply(folder, linux)
    with pytest.raises(BuildError, match=r"0001-less\.patch .*already applied"):
        apply(folder, linux)


def test_purpose_and_files(folder: Path) -> None:
    (patch,) = patches.series(folder)
    assert patch.purpose == "kvm: do less of it"
    assert patch.files == ["virt/kvm.c", "virt/new.c"]


def test_the_digest_follows_contents_and_order(folder: Path) -> None:
    (folder / "0002-b.patch").write_text(PATCH)
    (folder / "series").write_text("0001-less.patch\n0002-b.patch\n")
    first = patches.digest(patches.series(folder))
    (folder / "series").write_text("0002-b.patch\n0001-less.patch\n")
    assert patches.digest(patches.series(folder)) != first


def test_a_series_that_names_a_missing_patch_is_refused(folder: Path) -> None:
    (folder / "series").write_text("0001-less.patch\nnone.patch\n")
    with pytest.raises(UserError, match=r"series:2: none\.patch"):
        patches.series(folder)


def test_a_patch_outside_the_series_is_refused(folder: Path) -> None:
    (folder / "stray.patch").write_text("")
    with pytest.raises(UserError, match=r"stray\.patch"):
        patches.series(folder)


def test_an_empty_folder_is_an_empty_series(tmp_path: Path) -> None:
    assert patches.series(tmp_path) == []
