# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from pathlib import Path

import pytest

from hypergen.config import BuildConfig
from hypergen.errors import BuildError, UserError
from hypergen.linux import sources, tree
from hypergen.linux.sources import Source
from tests.unit import fakes

OLD = 1_000_000_000

PATCH = """\
--- a/virt/kvm.c
+++ b/virt/kvm.c
@@ -1 +1 @@
-one
+ONE
"""


@pytest.fixture
def cfg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BuildConfig:
    """A source with two files, an empty series, and unpacking that copies."""
    folder = tmp_path / "patches"
    folder.mkdir()
    monkeypatch.setattr(tree, "PATCHES", folder)
    source = Source("kernel.org", "6.12.9", "d" * 64, tmp_path / "linux.tar")
    monkeypatch.setattr(sources, "linux", lambda cfg: source)
    monkeypatch.setattr(sources, "checked", lambda cfg: source)

    def unpack(cfg: BuildConfig, source: Source, target: Path) -> None:
        (target / "virt").mkdir(parents=True)
        head = "VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 9\n"
        for name, text in {"Makefile": head, "virt/kvm.c": "one\n", "virt/b.c": "b\n"}.items():
            (target / name).write_text(text)
            os.utime(target / name, (OLD, OLD))

    monkeypatch.setattr(tree, "unpack", unpack)
    return fakes.settings(tmp_path)


def set_series(tmp_path: Path, text: str | None) -> None:
    folder = tmp_path / "patches"
    for path in folder.iterdir():
        path.unlink()
    if text is not None:
        (folder / "0001-a.patch").write_text(text)
        (folder / "series").write_text("0001-a.patch\n")


def test_a_tree_is_made_once(cfg: BuildConfig) -> None:
    cfg.work.mkdir(parents=True)
    first = tree.prepare(cfg)
    inode = first.path.stat().st_ino
    assert first.path == cfg.work / "linux-6.12.9" and first.version == "6.12.9"
    assert tree.prepare(cfg) == first and first.path.stat().st_ino == inode


def test_a_new_patch_keeps_objects_and_the_times_of_untouched_files(
    cfg: BuildConfig, tmp_path: Path
) -> None:
    cfg.work.mkdir(parents=True)
    before = tree.prepare(cfg)
    objects = before.build_folder("host")
    objects.mkdir()
    (objects / "kvm.o").touch()
    set_series(tmp_path, PATCH)
    after = tree.prepare(cfg)
    assert after.key != before.key and after.patches == ("0001-a.patch",)
    assert (after.path / "virt/kvm.c").read_text() == "ONE\n"
    assert (after.path / "virt/b.c").stat().st_mtime == OLD
    assert (after.build_folder("host") / "kvm.o").exists()


def test_a_patch_taken_back_looks_changed_to_make(cfg: BuildConfig, tmp_path: Path) -> None:
    cfg.work.mkdir(parents=True)
    set_series(tmp_path, PATCH)
    tree.prepare(cfg)
    set_series(tmp_path, None)
    after = tree.prepare(cfg)
    assert (after.path / "virt/kvm.c").read_text() == "one\n"
    assert (after.path / "virt/kvm.c").stat().st_mtime > OLD + 1
    assert (after.path / "virt/b.c").stat().st_mtime == OLD


def test_a_failing_patch_leaves_the_old_tree(cfg: BuildConfig, tmp_path: Path) -> None:
    cfg.work.mkdir(parents=True)
    before = tree.prepare(cfg)
    set_series(tmp_path, PATCH.replace("-one", "-1"))
    with pytest.raises(BuildError, match=r"0001-a\.patch .* virt/kvm\.c: hunk #1"):
        tree.prepare(cfg)
    set_series(tmp_path, None)
    assert tree.prepare(cfg) == before


def test_another_version_replaces_the_tree(
    cfg: BuildConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = cfg.work / "linux-6.12.8"
    old.mkdir(parents=True)
    tree.prepare(cfg)
    assert not old.exists()


def test_a_folder_that_kbuild_cannot_use_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Kbuild"):
        tree.prepare(fakes.settings(tmp_path, cache=str(tmp_path / "my cache")))
