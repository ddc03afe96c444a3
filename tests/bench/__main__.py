# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.bench``: measure, print the table, write ``out/bench.md`` and ``bench.json``.

``PEER_LKVM=FILE`` in the environment adds a static kvmtool to the comparison.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from hypergen import config
from hypergen.errors import HypergenError
from tests.bench import measure


def table(rows: list[measure.Figure]) -> str:
    """The figures as a markdown table."""
    lines = ["| what | measured | reach |", "|---|---|---|"]
    for row in rows:
        value = f"{row.value:.3f} {row.unit}".strip()
        reach = "" if row.reach is None else f"≤ {row.reach:g}"
        if not row.kept:
            reach += " (missed)"
        lines.append(f"| {row.name} | {value} | {reach} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    """Run; the exit status is 0 also when a figure is missed: the table says it."""
    parser = argparse.ArgumentParser(prog="tests.bench", description=measure.__doc__)
    parser.add_argument("--only", choices=("host", "peers"), help="one measurement, printed raw")
    only = parser.parse_args(arguments).only
    cfg = config.load()
    try:
        if only:
            print(measure.host(cfg) if only == "host" else measure.peers(cfg))
            return 0
        rows = measure.figures(cfg)
    except HypergenError as error:
        print(error.message, *error.tail, error.hint or "", sep="\n", file=sys.stderr)
        return error.exit_code
    (cfg.out / "bench.md").write_text(table(rows), "utf-8")
    data = json.dumps([asdict(row) for row in rows], indent=1)
    (cfg.out / "bench.json").write_text(data + "\n", "utf-8")
    print(table(rows), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
