# SPDX-License-Identifier: Apache-2.0
"""Shared libraries: read from real ELF files, and the closure over them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from hypergen.errors import UserError
from hypergen.image import elf

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """main → liba.so.1 → libb.so.2, and main → libc."""
    folder = tmp_path_factory.mktemp("elf")

    def cc(text: str, *words: str) -> None:
        (folder / "x.c").write_text(text)
        subprocess.run(["cc", "x.c", *words], cwd=folder, check=True)

    cc("int b(void){return 1;}", "-shared", "-fPIC", "-Wl,-soname,libb.so.2", "-o", "libb.so.2")
    cc(
        "int b(void);int a(void){return b();}",
        *("-shared", "-fPIC", "-nostdlib", "-Wl,-soname,liba.so.1", "-o", "liba.so.1"),
        *("-Wl,--no-as-needed", "libb.so.2"),
    )
    cc("int a(void);int main(void){return a();}", "liba.so.1", "-Wl,-rpath-link,.", "-o", "main")
    return folder


def test_dynamic_section_is_read(libraries: Path) -> None:
    main = elf.dynamic((libraries / "main").read_bytes(), "main")
    assert main.needed == ("liba.so.1", "libc.so.6")
    assert main.soname is None
    assert main.interpreter is not None and main.interpreter.startswith("/lib")
    assert elf.dynamic((libraries / "libb.so.2").read_bytes(), "b").soname == "libb.so.2"


def test_closure_follows_libraries_of_libraries(libraries: Path) -> None:
    files = {name: libraries / name for name in ("liba.so.1", "libb.so.2")}
    files["libc.so.6"] = libraries / "libb.so.2"  # any ELF file will do
    found = elf.closure([("main", (libraries / "main").read_bytes())], files.get)
    assert list(found) == ["liba.so.1", "libb.so.2", "libc.so.6"]


def test_missing_library_is_named_with_who_needs_it(libraries: Path) -> None:
    files = {"liba.so.1": libraries / "liba.so.1", "libc.so.6": libraries / "libb.so.2"}
    with pytest.raises(UserError, match=r"libb\.so\.2, which liba\.so\.1 needs"):
        elf.closure([("main", (libraries / "main").read_bytes())], files.get)


def test_damaged_files_are_named(libraries: Path) -> None:
    data = (libraries / "main").read_bytes()
    with pytest.raises(UserError, match="x: not a 64-bit"):
        elf.dynamic(b"#!/bin/sh\n", "x")
    with pytest.raises(UserError, match="x: damaged"):
        elf.dynamic(data[:200], "x")


def test_program_without_unwinding_tables_runs(tmp_path: Path) -> None:
    (tmp_path / "x.c").write_text('#include <stdio.h>\nint main(void){puts("runs");return 0;}\n')
    subprocess.run(["cc", "x.c", "-o", "whole"], cwd=tmp_path, check=True)
    whole = (tmp_path / "whole").read_bytes()
    small = elf.without_unwinding(whole, "whole")
    assert len(small) == len(whole) and small.count(0) > whole.count(0)
    program = tmp_path / "small"
    program.write_bytes(small)
    program.chmod(0o755)
    assert subprocess.run([program], capture_output=True, check=True).stdout == b"runs\n"
