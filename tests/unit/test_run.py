# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from hypergen import run
from hypergen.config import TOP
from hypergen.errors import BuildError, UserError
from tests.unit import fakes


def sh(script: str, tmp_path: Path, **words: str) -> Path:
    log = tmp_path / "log" / "sh.log"
    run.run(["sh", "-c", script], log=log, env=words or None)
    return log


def test_both_streams_go_to_the_log(tmp_path: Path) -> None:
    assert sh("echo out; echo err >&2", tmp_path).read_text().split() == ["out", "err"]


def test_a_failure_carries_its_last_lines_and_the_log(tmp_path: Path) -> None:
    with pytest.raises(BuildError) as caught:
        sh("seq 100; exit 3", tmp_path)
    assert "sh failed with status 3" in caught.value.message
    assert caught.value.tail[-1] == "100" and len(caught.value.tail) == run.TAIL_LINES
    assert caught.value.log == tmp_path / "log" / "sh.log"


def test_an_absent_program_is_the_users_to_mend(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no-such-program: program not found"):
        run.run(["no-such-program"], log=tmp_path / "log")


def test_standard_input_is_empty_and_the_locale_is_c(tmp_path: Path) -> None:
    log = sh("cat; echo $LC_ALL; echo ${GIVEN}", tmp_path, GIVEN="here")
    assert log.read_text().split() == ["C", "here"]


def test_undecodable_output_does_no_harm(tmp_path: Path) -> None:
    with pytest.raises(BuildError):
        sh(r"printf '\377\376\n'; exit 1", tmp_path)


def test_capture_returns_output_alone_and_reports_errors() -> None:
    assert run.capture(["sh", "-c", "echo a; echo b >&2"]) == "a\n"
    assert run.capture(["cat"], input=b"text") == "text"
    with pytest.raises(BuildError) as caught:
        run.capture(["sh", "-c", "echo why >&2; exit 1"])
    assert caught.value.tail == ("why",)


def test_watch_sees_every_line(tmp_path: Path) -> None:
    seen: list[str] = []

    def watch(line: str) -> str:
        seen.append(line)
        return line

    run.run(["seq", "3"], log=tmp_path / "log", watch=watch)
    assert seen == ["1", "2", "3"]


def test_a_parents_make_and_build_variables_do_not_leak(tmp_path: Path) -> None:
    harmful = {"MAKEFLAGS": "-k", "ARCH": "arm", "KBUILD_OUTPUT": "/x", "CFLAGS": "-O0", "V": "1"}
    script = "from hypergen import run; print(run.capture(['env']))"
    done = subprocess.run(
        [fakes.PYTHON, "-c", script],
        env={**fakes.hypergen_environment(tmp_path, tmp_path), **harmful},
        capture_output=True,
        text=True,
        check=True,
    )
    names = {line.partition("=")[0] for line in done.stdout.splitlines()}
    assert not names & set(harmful)
    assert "PATH" in names


def test_only_one_module_starts_programs() -> None:
    importers = [
        path.name
        for path in (TOP / "hypergen").glob("*.py")
        if "import plumbum" in path.read_text() or "from plumbum" in path.read_text()
    ]
    assert importers == ["run.py"]
