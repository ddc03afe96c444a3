# SPDX-License-Identifier: Apache-2.0
"""Unikernels of others, by their own binaries: a folder of them is named by HYPERGEN_GUESTS.

Its file ``expected.toml`` says what each image shall do::

    [hello_world]            # a file's name
    arguments = ["one"]      # default: none
    status = 0               # exit status, default 0
    output = "Hello"         # a regular expression that is found in what it prints
    options = ["--cpus", "2"]
"""

from __future__ import annotations

import os
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest

from hypergen.config import BuildConfig
from tests.bench.overlay import Overlay
from tests.nested.nest import Nest

FOLDER = os.environ.get("HYPERGEN_GUESTS")


def nest_overlay(files: Overlay, cfg: BuildConfig) -> None:
    """The images, at ``/nest/guests``."""
    for path in sorted(Path(FOLDER).iterdir()) if FOLDER else []:
        files.copy(f"nest/guests/{path.name}", path)


def images() -> dict[str, dict[str, Any]]:
    return tomllib.loads((Path(FOLDER) / "expected.toml").read_text()) if FOLDER else {}


@pytest.mark.skipif(not FOLDER, reason="HYPERGEN_GUESTS names no folder of unikernels")
@pytest.mark.parametrize("name", images() or [""])
def test_an_image_of_others_does_what_is_expected_of_it(nest: Nest, name: str) -> None:
    expected = images()[name]
    words = ["hg-vmm", *expected.get("options", []), f"/nest/guests/{name}"]
    done = nest.run(shlex.join([*words, *expected.get("arguments", [])]), 300)
    assert done.status == expected.get("status", 0), done.output
    assert re.search(expected["output"], done.output), done.output
