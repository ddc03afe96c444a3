# SPDX-License-Identifier: Apache-2.0
"""Unikernels: our own, which try every call, and those of others.

A folder of the others is named by HYPERGEN_GUESTS. Its file ``expected.toml`` says what each image
shall do::

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
from tests.nested import unikernels
from tests.nested.nest import Nest

FOLDER = os.environ.get("HYPERGEN_GUESTS")
MAPPINGS = (
    "--file-mapping /host/test/data:/unilibfs --file-mapping /host/test/data:/data "
    "--file-mapping /host/test/ro:/ro:ro"
)


def prepare(nest: Nest) -> None:
    nest.sh(
        "cd /host/test; mkdir -p data ro; printf 'read only' >ro/file; echo no >secret\n"
        "ln -sf ../secret data/link; ln -sf /etc/passwd data/absolute"
    )


@pytest.mark.parametrize("abi", unikernels.ABIS)
def test_every_call_of_an_interface(nest: Nest, abi: str) -> None:
    prepare(nest)
    done = nest.run(f"echo typed | hg-vmm {MAPPINGS} /nest/guests/calls-{abi}")
    assert done.output.endswith("typed\nall is well\n"), done.output
    assert done.status == 42
    assert nest.sh("ls /host/test/data").split() == sorted(
        ["absolute", "link", *(["folder"] if abi == "v2" else [])]
    )


def test_a_unikernel_is_a_vm_like_others(nest: Nest) -> None:
    nest.sh("mkdir -p /run/nest/u /host/test/data")
    done = nest.run(
        "hg-vmm --run-dir /run/nest/u --daemonize --kernel /nest/guests/calls-v1\n"
        "until [ -e /run/nest/u/exit.json ]; do\n"
        '  /nest/bin/qmp /run/nest/u/control.sock \'{"execute": "quit"}\'; sleep 0.2\n'
        "done; cat /run/nest/u/exit.json /run/nest/u/console.log"
    )
    assert "there were failures" in done.output or '"quit"' in done.output, done.output


def test_variables_and_their_errors(nest: Nest) -> None:
    for variables, says in {
        "HERMIT_CPUS=0": "HERMIT_CPUS=0: give a number from 1 to 64",
        "HERMIT_MEM=1": "HERMIT_MEM=1: give a size from 16M",
        "HERMIT_VERBOSE=yes": "HERMIT_VERBOSE=yes: give 0 or 1",
    }.items():
        done = nest.run(f"{variables} hg-vmm /nest/guests/calls-v1")
        assert (done.status, says in done.output) == (2, True), done.output
    done = nest.run("HERMIT_MEM=4G hg-vmm /nest/guests/calls-v1")
    assert (done.status, "at most 3072 MiB" in done.output) == (2, True), done.output


def nest_overlay(files: Overlay, cfg: BuildConfig) -> None:
    """The images, at ``/nest/guests``."""
    unikernels.lay(files, cfg.out, "calls")
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
