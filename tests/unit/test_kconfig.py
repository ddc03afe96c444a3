# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from hypergen.errors import BuildError, UserError
from hypergen.linux import kconfig


def fragment(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("line", "pair"),
    [
        ("CONFIG_A=y", ("A", "y")),
        ("CONFIG_A=m", ("A", "m")),
        ("CONFIG_A=n", ("A", "n")),
        ("CONFIG_A=-5", ("A", "-5")),
        ("CONFIG_A=0x1F", ("A", "0x1F")),
        ('CONFIG_A="a \\"b\\" c"', ("A", '"a \\"b\\" c"')),
        ("# CONFIG_A is not set", ("A", "n")),
        ("# a comment", None),
        ("", None),
    ],
)
def test_lines(line: str, pair: tuple[str, str] | None) -> None:
    assert kconfig.parse_line(line) == pair


@pytest.mark.parametrize("line", ["CONFIG_A", "CONFIG_A=", "CONFIG_A=yes", "A=y", 'CONFIG_A="x'])
def test_a_malformed_line_is_named_with_its_place(tmp_path: Path, line: str) -> None:
    path = fragment(tmp_path, "10-a.config", f"# head\n{line}\n")
    with pytest.raises(UserError, match=r"10-a\.config:2"):
        kconfig.read_fragments([path])


def test_a_later_file_wins_and_the_conflict_is_remarked(tmp_path: Path) -> None:
    first = fragment(tmp_path, "10-a.config", "CONFIG_A=y\nCONFIG_B=y\n")
    second = fragment(tmp_path, "20-b.config", "\n# CONFIG_A is not set\nCONFIG_B=y\n")
    requests, remarks = kconfig.read_fragments([first, second])
    assert {r.symbol: r.value for r in requests} == {"A": "n", "B": "y"}
    assert len(remarks) == 1 and "10-a.config:1" in remarks[0] and "20-b.config:2" in remarks[0]


def test_the_local_fragment_overrides_without_a_remark(tmp_path: Path) -> None:
    first = fragment(tmp_path, "10-a.config", "CONFIG_A=y\n")
    local = fragment(tmp_path, "99-local.config", "CONFIG_A=n\n")
    assert kconfig.read_fragments([first, local])[1] == []


def test_requests_go_over_the_base() -> None:
    text = kconfig.merge(
        {"A": "y", "B": "y"}, [kconfig.Request("B", "n", ""), kconfig.Request("C", "3", "")]
    )
    assert text.splitlines() == ["CONFIG_A=y", "# CONFIG_B is not set", "CONFIG_C=3"]


@pytest.mark.parametrize(
    ("asked", "got", "granted"),
    [
        ("y", "y", True),
        ("y", "m", False),
        ("y", None, False),
        ("n", None, True),
        ("n", "y", False),
        ("m", "y", False),
        ("0x10", "0x10", True),
        ("0X10", "0x10", True),
        ("256", "512", False),
        ('"a"', '"a"', True),
        ('"a"', '"b"', False),
        ('"a"', None, False),
    ],
)
def test_comparison(asked: str, got: str | None, granted: bool) -> None:
    config = {} if got is None else {"A": got}
    refused = kconfig.differences([kconfig.Request("A", asked, "f:1")], config)
    assert (refused == []) is granted


def test_a_refused_symbol_stops_the_build_with_the_list(tmp_path: Path) -> None:
    path = fragment(tmp_path, "10-a.config", "CONFIG_A=y\n\nCONFIG_B=5\nCONFIG_C=y\n")
    requests, _ = kconfig.read_fragments([path])
    with pytest.raises(BuildError) as caught:
        kconfig.require(requests, {"B": "4", "C": "y"}, "host")
    assert caught.value.tail == (
        "CONFIG_A: asked y, got n (10-a.config:1)",
        "CONFIG_B: asked 5, got 4 (10-a.config:3)",
    )
    assert "2 symbols" in caught.value.message


def test_counts(tmp_path: Path) -> None:
    path = fragment(
        tmp_path, ".config", 'CONFIG_A=y\nCONFIG_B=y\n# CONFIG_C is not set\nCONFIG_D="x"\n'
    )
    assert kconfig.counts(kconfig.read_config(path)) == {"y": 2, "m": 0, "value": 1}


def test_what_changed_between_two_configurations() -> None:
    assert kconfig.changed({"A": "y", "B": "1"}, {"B": "2", "C": "y"}) == ["A", "B", "C"]


@pytest.mark.parametrize("kind", ["host", "guest"])
def test_the_projects_fragments_do_not_contradict_each_other(kind: str) -> None:
    from hypergen.linux import kernel

    requests, remarks = kconfig.read_fragments(
        path for path in kernel.fragments(kind) if path.name != kernel.LOCAL_FRAGMENT
    )
    assert len(requests) > 20
    assert remarks == []
