# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from hypergen import config
from hypergen.errors import UserError


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    return tmp_path / "hypergen.toml"


def test_option_before_variable_before_file_before_default(toml: Path) -> None:
    assert config.load({}, {}, toml).memory == 2048
    toml.write_text("memory = 1000\ncpus = 3\n")
    assert config.load({}, {}, toml).memory == 1000
    assert config.load({}, {"MEMORY": "1001"}, toml).memory == 1001
    assert config.load({"memory": "1002"}, {"MEMORY": "1001"}, toml).memory == 1002
    assert config.load({"memory": None}, {"MEMORY": "1001"}, toml).memory == 1001
    assert config.load({}, {"MEMORY": ""}, toml).memory == 1000, "an empty variable is unset"
    assert config.load({}, {}, toml).cpus == 3


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("JOBS", "0"),
        ("JOBS", "many"),
        ("DISPLAY_MODE", "hologram"),
        ("FIRMWARE", "coreboot"),
        ("ACCEL", "xen"),
        ("V", "perhaps"),
    ],
)
def test_a_bad_value_names_where_it_came_from(toml: Path, variable: str, value: str) -> None:
    with pytest.raises(UserError) as caught:
        config.load({}, {variable: value}, toml)
    assert f"{variable}={value}" in caught.value.message
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "value"), [("1", True), ("yes", True), ("0", False), ("off", False)]
)
def test_switches(toml: Path, text: str, value: bool) -> None:
    assert config.load({}, {"V": text}, toml).verbose is value


def test_an_unknown_name_in_the_file_is_refused(toml: Path) -> None:
    toml.write_text("memroy = 1\n")
    with pytest.raises(UserError, match="memroy"):
        config.load({}, {}, toml)


def test_a_file_that_is_no_toml_is_refused(toml: Path) -> None:
    toml.write_text("memory = ")
    with pytest.raises(UserError, match="not valid TOML"):
        config.load({}, {}, toml)


def test_paths_are_absolute(toml: Path) -> None:
    cfg = config.load({"out": "there", "cache": "~/c"}, {}, toml)
    assert cfg.out == Path.cwd() / "there" and cfg.cache == Path.home() / "c"
