# SPDX-License-Identifier: Apache-2.0
"""The initramfs manifest: the real one is sound, and mistakes are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from hypergen.errors import UserError
from hypergen.image import manifest

ROOM = Path(__file__).resolve().parents[2] / "initramfs"


def _load(tmp_path: Path, text: str) -> manifest.Manifest:
    file = tmp_path / "manifest.toml"
    file.write_text("format = 1\n" + text)
    return manifest.load(file)


def test_the_real_manifest_names_files_that_exist() -> None:
    real = manifest.load(ROOM / "manifest.toml")
    for program in real.compiled:
        assert all((ROOM / source).is_file() for source in program.sources)
    for name, _ in real.shims:
        assert (ROOM / f"shims/{name}.c").is_file() and (ROOM / f"shims/{name}.map").is_file()
    assert ("dev/console", "c", 5, 1, 0o600) in real.nodes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[package]]\nname = 'x'", "package 1: why: is missing"),
        ("[[package]]\nname = 3\nwhy = 'y'", "package 1: name: must be a string"),
        ("[[package]]\nname = 'x'\nwhy = 'y'\nfile = ['a']", "package 1: unknown key 'file'"),
        ("[[package]]\nname = 'x'\nwhy = 'y'\nfiles = ['a ->']", "'a ->' must read 'from -> to'"),
        (
            "[[package]]\nname = 'x'\nwhy = 'y'\n[[package]]\nname = 'x'\nwhy = 'z'",
            "package 2: name: 'x' is listed twice",
        ),
        ("[layout]\nsymlinks = ['a']", "layout: symlinks: 'a' must read"),
        ("[layout]\nnodes = [['dev/null', 'x', 1, 3, '0666']]", "layout: nodes"),
        ("[layout]\nnodes = [['dev/null', 'c', 1, 3, 'rw']]", "layout: nodes"),
        ("[busybox]\npath = 'b'\napplets = 'sh'", "busybox: applets: must be a list"),
        (
            "[busybox]\npath = 'b'\n[python]\ninterpreter = 'i'\nlibrary = 'l'\n"
            "[[python.package]]\nname = 'p'\nfrom = 'f'\ndeb = 'd'",
            "'d' is not among the packages",
        ),
        ("layout = 3", "layout: must be a table"),
        ("package = [3]", "package 1: must be a table"),
        ("[busybox", "not valid TOML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        _load(tmp_path, text)
    assert message in caught.value.message
    assert str(tmp_path / "manifest.toml") in caught.value.message


def test_unknown_table_and_format(tmp_path: Path) -> None:
    base = "[busybox]\npath = 'b'\n[python]\ninterpreter = 'i'\nlibrary = 'l'\n"
    assert _load(tmp_path, base).busybox == "b"
    with pytest.raises(UserError, match="unknown key 'extra'"):
        _load(tmp_path, base + "[extra]\n")
    file = tmp_path / "manifest.toml"
    file.write_text("format = 2\n")
    with pytest.raises(UserError, match="format is 2"):
        manifest.load(file)
    with pytest.raises(UserError, match="No such file"):
        manifest.load(tmp_path / "absent.toml")
