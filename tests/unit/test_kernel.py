# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from hypergen import checks, report
from hypergen.config import TOP
from hypergen.errors import BuildError
from hypergen.linux import kernel
from tests.unit import fakes


def test_the_empty_archive_is_one_that_cpio_reads(tmp_path: Path) -> None:
    assert len(kernel.EMPTY_CPIO) == 124
    assert kernel.EMPTY_CPIO.startswith(b"070701") and b"TRAILER!!!\0" in kernel.EMPTY_CPIO


def test_an_unchanged_initramfs_keeps_its_time(tmp_path: Path) -> None:
    archive = tmp_path / "archive.cpio"
    archive.write_bytes(b"one")
    kernel._place_initramfs(tmp_path, archive)
    placed = tmp_path / kernel.INITRAMFS
    first = placed.stat()
    kernel._place_initramfs(tmp_path, archive)
    assert placed.stat().st_mtime_ns == first.st_mtime_ns
    archive.write_bytes(b"two")
    kernel._place_initramfs(tmp_path, archive)
    assert placed.read_bytes() == b"two" and placed.stat().st_ino != first.st_ino


def test_kbuilds_lines_become_progress() -> None:
    watch = kernel._counter()
    assert watch("  CC      mm/slab.o") == "CC mm/slab.o (1 files)"
    assert watch("  LD      vmlinux") == "LD vmlinux (1 files)"
    assert watch("make[1]: Entering directory") == "make[1]: Entering directory"


def test_nothing_of_this_machine_reaches_kbuild(tmp_path: Path) -> None:
    one = kernel.environment(fakes.settings(tmp_path / "a"))
    two = kernel.environment(fakes.settings(tmp_path / "b"))
    differing = {name for name in one if one[name] != two[name]}
    assert differing <= {"CCACHE_DIR", "CCACHE_BASEDIR"}
    assert one["LOCALVERSION"] == ""


def test_the_manifest_grows_and_survives_damage(tmp_path: Path) -> None:
    cfg = fakes.settings(tmp_path)
    report.begin(cfg)
    tools = report.read(cfg)["tools"]
    assert isinstance(tools, dict) and str(tools["gcc"]).startswith("gcc")
    report.record(cfg, "bzImage", {"size": 1})
    assert set(report.read(cfg)) == {"hypergen", "tools", "bzImage"}
    report.path(cfg).write_text('{"half')
    report.record(cfg, "bzImage", {"size": 2})
    assert json.loads(report.path(cfg).read_text()) == {"bzImage": {"size": 2}}


def test_settings_travel_to_pytest_as_variables(tmp_path: Path) -> None:
    environment = checks.environment(fakes.settings(tmp_path))
    assert environment["O"] == str(tmp_path / "out") and environment["JOBS"] == "2"
    assert "KERNEL_SRC" not in environment and "V" not in environment


def test_the_makefile_helps_without_an_environment() -> None:
    done = subprocess.run(
        ["make", "-s", "-C", TOP, "help", "HYPERGEN_CACHE=/nonexistent"],
        capture_output=True,
        text=True,
        check=True,
    )
    for target in ("build", "run", "test", "check", "guest", "menuconfig", "bench", "distclean"):
        assert f"make {target} " in done.stdout


def test_shell_scripts_and_c_files_are_found_for_the_linters() -> None:
    scripts = {path.relative_to(TOP).as_posix() for path in checks.shell_scripts()}
    assert ".ci/run" in scripts
    assert not any(name.endswith(".py") for name in scripts)
    sources = {path.relative_to(TOP).as_posix() for path in checks.c_files()}
    assert {"vmm/main.c", "initramfs/init.c"} <= sources


def test_check_reports_every_failure_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = [checks.Check("good", ("true",)), checks.Check("bad one", ("false",))]
    monkeypatch.setattr(checks, "plan", lambda cfg: plan)
    with pytest.raises(BuildError, match=r"failed: bad one$"):
        checks.check(fakes.settings(tmp_path))
    assert (tmp_path / "out/log/check-bad-one.log").exists()
