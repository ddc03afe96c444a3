# SPDX-License-Identifier: Apache-2.0
"""Kernel configuration: fragments over ``tinyconfig``, and proof that each request was granted.

A fragment is a list of ``CONFIG_X=value`` and ``# CONFIG_X is not set`` lines. The files of a
folder are read in the order of their names; a later line wins. ``olddefconfig`` silently drops what
it cannot satisfy, so what was asked is compared with what came out (kernel:
Documentation/kbuild/kconfig.rst).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hypergen.errors import BuildError, UserError

OFF = "n"
"""The value of a symbol that is not set; an absent symbol has it too."""

_SET = re.compile(r'^CONFIG_(\w+)=(y|m|n|-?\d+|0[xX][0-9a-fA-F]+|"(?:[^"\\]|\\.)*")$')
_UNSET = re.compile(r"^# CONFIG_(\w+) is not set$")


@dataclass(frozen=True)
class Request:
    """One line of a fragment: the symbol without ``CONFIG_``, its value, and ``file:line``."""

    symbol: str
    value: str
    where: str


@dataclass(frozen=True)
class Difference:
    """A request that was not granted."""

    request: Request
    got: str

    def __str__(self) -> str:
        asked = self.request
        return f"CONFIG_{asked.symbol}: asked {asked.value}, got {self.got} ({asked.where})"


def parse_line(line: str) -> tuple[str, str] | None:
    """Symbol and value of a configuration line; None for a comment or an empty line.

    Raises:
        ValueError: it is neither.
    """
    line = line.rstrip()
    if match := _SET.match(line):
        return match[1], match[2]
    if match := _UNSET.match(line):
        return match[1], OFF
    if not line or line.startswith("#"):
        return None
    raise ValueError(line)


def read_config(path: Path) -> dict[str, str]:
    """The symbols of a ``.config``; those that are not set are left out."""
    config = {}
    for line in path.read_text("utf-8").splitlines():
        try:
            pair = parse_line(line)
        except ValueError:
            raise BuildError(f"{path}: not a configuration line: {line!r}") from None
        if pair and pair[1] != OFF:
            config[pair[0]] = pair[1]
    return config


def read_fragments(files: Iterable[Path]) -> tuple[list[Request], list[str]]:
    """The requests of fragments, in order, and remarks about symbols asked twice differently.

    Raises:
        UserError: a line is not of a configuration; the message names file and line.
    """
    requests: dict[str, Request] = {}
    remarks = []
    for path in files:
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            where = f"{path.name}:{number}"
            try:
                pair = parse_line(line)
            except ValueError:
                raise UserError(
                    f"{path}:{number}: not a configuration line: {line!r}",
                    hint="write CONFIG_X=y, CONFIG_X=\"text\" or '# CONFIG_X is not set'",
                ) from None
            if pair is None:
                continue
            former = requests.pop(pair[0], None)
            if former and former.value != pair[1] and "local" not in path.name:
                remarks.append(
                    f"CONFIG_{pair[0]}={former.value} ({former.where}) is overridden by "
                    f"{pair[1]} ({where})"
                )
            requests[pair[0]] = Request(*pair, where)
    return list(requests.values()), remarks


def line_of(symbol: str, value: str) -> str:
    """A configuration line."""
    return f"# CONFIG_{symbol} is not set" if value == OFF else f"CONFIG_{symbol}={value}"


def merge(base: Mapping[str, str], requests: Iterable[Request]) -> str:
    """The text of a ``.config``: `base` with the requests over it."""
    merged = dict(base)
    for request in requests:
        merged[request.symbol] = request.value
    return "".join(line_of(symbol, value) + "\n" for symbol, value in merged.items())


def _same(asked: str, got: str) -> bool:
    if asked == got:
        return True
    try:  # 0x100 and 0X0100 are one number
        return int(asked, 0) == int(got, 0)
    except ValueError:
        return False


def differences(requests: Iterable[Request], config: Mapping[str, str]) -> list[Difference]:
    """The requests that `config` does not grant."""
    return [
        Difference(request, config.get(request.symbol, OFF))
        for request in requests
        if not _same(request.value, config.get(request.symbol, OFF))
    ]


def require(requests: Iterable[Request], config: Mapping[str, str], kind: str) -> None:
    """Stop the build when a request was not granted.

    Raises:
        BuildError: with the list of symbols: asked, got, and the fragment's line.
    """
    if refused := differences(requests, config):
        raise BuildError(
            f"Kconfig did not grant {len(refused)} symbols of kernel-config/{kind}/",
            tail=tuple(map(str, refused)),
            hint="a dependency is missing, or the symbol was renamed: `hypergen menuconfig "
            f"{kind}`, then / and its name",
        )


def counts(config: Mapping[str, str]) -> dict[str, int]:
    """How many symbols are ``y``, ``m`` or have a value."""
    found = Counter(value if value in "ym" else "value" for value in config.values())
    return {kind: found[kind] for kind in ("y", "m", "value")}


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """The symbols whose values differ between two configurations, sorted."""
    return sorted(
        symbol
        for symbol in before.keys() | after.keys()
        if before.get(symbol, OFF) != after.get(symbol, OFF)
    )
