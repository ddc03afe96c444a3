# SPDX-License-Identifier: Apache-2.0
"""The unikernels that measure: they run, and their lines can be read by programs."""

from __future__ import annotations

import re

import pytest

from hypergen.config import BuildConfig
from tests.bench.overlay import Overlay
from tests.nested import unikernels
from tests.nested.nest import Nest


def values(line: str) -> dict[str, int]:
    """The numbers of a line of KEY=VALUE."""
    return {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", line)}


def nest_overlay(files: Overlay, cfg: BuildConfig) -> None:
    """The images, at ``/nest/guests``."""
    unikernels.lay(files, cfg.out, "jitter", "stream")


@pytest.mark.parametrize("abi", unikernels.ABIS)
def test_jitter_counts_each_sample_and_takes_arguments(nest: Nest, abi: str) -> None:
    out = nest.sh(f"hg-vmm /nest/guests/jitter-{abi} 500 3000")
    first, *histogram = out.splitlines()
    got = values(first)
    assert first.startswith("jitter ") and (got["samples"], got["work"]) == (500, 3000)
    assert 0 < got["min"] <= got["p50"] <= got["p99"] <= got["max"] and got["tsc_khz"] > 0
    over = [values(line)["count"] for line in histogram]
    assert histogram and over == sorted(over, reverse=True) and max(over) < 500


def test_jitter_of_a_host_thread_has_the_same_lines(nest: Nest) -> None:
    got = values(nest.sh("/nest/bin/jitter 500 3000").splitlines()[0])
    assert (got["samples"], got["work"]) == (500, 3000) and 0 < got["min"] <= got["max"]


def test_stream_moves_what_it_says(nest: Nest) -> None:
    lines = nest.sh("hg-vmm /nest/guests/stream-v2 1 2").splitlines()
    assert [line.split()[1] for line in lines] == [
        f"loop={name}" for name in ("copy", "scale", "add", "triad")
    ]
    for line, arrays in zip(lines, (2, 2, 3, 3), strict=True):
        got = values(line)
        assert got["bytes"] == arrays << 20 and got["ticks"] > 0 < got["mib_per_second"], line
