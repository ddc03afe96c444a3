# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hypergen import doctor
from hypergen.config import TOP
from hypergen.doctor import Need
from tests.unit import fakes

ABSENT = Need("build", "no-such-program-here", "no-such-package", "a test")


@pytest.fixture
def lacking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "NEEDS", (ABSENT,))


def test_every_need_belongs_to_a_group_and_says_why() -> None:
    assert {need.group for need in doctor.NEEDS} == set(doctor.GROUPS)
    assert all(need.purpose and need.package for need in doctor.NEEDS)
    for group, inner in doctor.INCLUDES.items():
        assert {group, *inner} <= set(doctor.GROUPS)


def test_run_needs_what_build_needs() -> None:
    packages = {need.package for need in doctor.needs(["run"])}
    assert {"gcc", "qemu-system-x86", "mmdebstrap"} <= packages
    assert "libncurses-dev" not in packages


def test_probes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes.program(tmp_path / "bin", "thing")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "OVMF_4M.fd").touch()
    assert Need("g", "thing", "p", "w").present()
    assert Need("g", "other|thing", "p", "w").present()
    assert Need("g", f"/nowhere/*|{tmp_path}/OVMF*.fd", "p", "w").present()
    assert not Need("g", f"{tmp_path}/OVMF*.bin", "p", "w").present()
    assert Need("g", "python:json,sys", "p", "w").present()
    assert not Need("g", "python:json,no_such", "p", "w").present()


@pytest.mark.usefixtures("lacking")
def test_what_is_missing_is_listed_with_package_and_purpose(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert doctor.main(["build"]) == 2
    out, err = capsys.readouterr()
    assert "MISSING" in out and "no-such-package" in out and "a test" in out
    assert "1 missing" in err and "no-such-package" in err


def test_all_there_is_status_0(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "NEEDS", (Need("build", "sh", "dash", "w"),))
    assert doctor.main([]) == 0


@pytest.mark.usefixtures("lacking")
def test_as_root_apt_is_asked_without_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "bin"
    fakes.program(
        folder,
        "apt-get",
        f'echo "$DEBIAN_FRONTEND $(readlink /proc/self/fd/0)" >> "{folder}/state"\n'
        f'case "$*" in *install*) touch "{folder}/no-such-program-here"; '
        f'chmod +x "{folder}/no-such-program-here";; esac',
    )
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert doctor.ensure(["build"]) == []
    update, install = fakes.calls(folder, "apt-get")
    assert update.endswith("update")
    assert "install -y" in install and install.endswith("no-such-package")
    assert (folder / "state").read_text().splitlines() == ["noninteractive /dev/null"] * 2


@pytest.mark.usefixtures("lacking")
def test_without_apt_nothing_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes.program(tmp_path / "bin", "sudo")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert doctor.ensure(["build"]) == [ABSENT]
    assert not [call for call in fakes.calls(tmp_path / "bin", "sudo") if "install" in call]


def test_without_a_way_to_root_the_advice_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes.program(tmp_path / "bin", "apt-get")
    fakes.program(tmp_path / "bin", "sudo", "exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr("sys.stdin", None)
    assert doctor.root_prefix() is None
    assert not doctor.install(["p"])
    assert fakes.calls(tmp_path / "bin", "apt-get") == []
    assert doctor.advice([ABSENT]) == "sudo apt-get install no-such-package"


def test_it_runs_as_a_plain_script_without_the_environment() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", TOP / "hypergen/doctor.py", "nonsense"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and "no such group" in done.stderr


def test_an_old_python_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "MINIMUM", (9, 0))
    assert doctor.main([]) == 2
    assert "Python 9.0 or newer" in capsys.readouterr().err


def test_requirements_are_those_of_pyproject() -> None:
    plain, tests = doctor.requirements(), doctor.requirements(["test"])
    assert any(word.startswith("plumbum") for word in plain)
    assert set(plain) < set(tests) and any(word.startswith("pytest") for word in tests)
