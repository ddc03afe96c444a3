# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from hypergen.config import BuildConfig
from hypergen.errors import BuildError
from hypergen.stage import Stage
from tests.unit import fakes


@pytest.fixture
def cfg(tmp_path: Path) -> BuildConfig:
    return fakes.settings(tmp_path)


def once(cfg: BuildConfig, output: Path, *inputs: Path, flags: str = "") -> bool:
    """Run a stage that copies its inputs; returns whether there was work."""
    stage = Stage(cfg, "copy", outputs=[output]).text("flags", flags)
    for path in inputs:
        stage.tree(path) if path.is_dir() else stage.file(path)
    with stage as todo:
        if todo:
            output.write_text("made")
    return todo


def test_a_stage_runs_once_and_again_when_something_changes(
    cfg: BuildConfig, tmp_path: Path
) -> None:
    source, output = tmp_path / "in", tmp_path / "result"
    source.write_text("1")
    assert once(cfg, output, source)
    assert not once(cfg, output, source)
    source.write_text("2")
    assert once(cfg, output, source)
    assert once(cfg, output, source, flags="-O2")
    source.chmod(0o755)
    assert once(cfg, output, source, flags="-O2")
    output.unlink()
    assert once(cfg, output, source, flags="-O2")
    output.write_text("tampered with")
    assert once(cfg, output, source, flags="-O2")
    assert not once(cfg, output, source, flags="-O2")


def test_a_tree_counts_names_and_contents_but_no_caches(cfg: BuildConfig, tmp_path: Path) -> None:
    tree, output = tmp_path / "tree", tmp_path / "result"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub/a").write_text("1")
    assert once(cfg, output, tree)
    (tree / "__pycache__").mkdir()
    (tree / "__pycache__/a.pyc").write_text("")
    assert not once(cfg, output, tree)
    (tree / "sub/a").rename(tree / "sub/b")
    assert once(cfg, output, tree)


def test_an_interrupted_stage_runs_again(cfg: BuildConfig, tmp_path: Path) -> None:
    output = tmp_path / "result"
    with pytest.raises(KeyboardInterrupt), Stage(cfg, "copy", outputs=[output]):
        output.write_text("half")
        raise KeyboardInterrupt
    assert once(cfg, output)


def test_a_stage_that_makes_nothing_is_an_error(cfg: BuildConfig, tmp_path: Path) -> None:
    with (
        pytest.raises(BuildError, match="did not make"),
        Stage(cfg, "lazy", outputs=[tmp_path / "x"]),
    ):
        pass


def test_two_output_folders_do_not_undo_each_other(cfg: BuildConfig, tmp_path: Path) -> None:
    assert once(cfg, tmp_path / "one")
    assert once(cfg, tmp_path / "two")
    assert not once(cfg, tmp_path / "one")


def test_stages_of_one_name_take_turns(cfg: BuildConfig, tmp_path: Path) -> None:
    inside, overlaps, done = [0], [0], []

    def work() -> None:
        with Stage(cfg, "shared", outputs=[tmp_path / "o"]) as todo:
            inside[0] += 1
            overlaps[0] += inside[0] > 1
            time.sleep(0.05)
            if todo:
                (tmp_path / "o").write_text("")
            inside[0] -= 1
            done.append(todo)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert overlaps == [0]
    assert done == [True, False, False, False]
