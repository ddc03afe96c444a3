# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.bench``: measure, print the table, write ``out/bench.md`` and ``bench.json``.

``PEER_LKVM=FILE``, ``PEER_FIRECRACKER=FILE`` and ``PEER_UHYVE=FILE`` in the environment, static
programs, add a kvmtool, a Firecracker and, for unikernels, a uhyve to the comparison; so do
``PEER_HVT=FILE`` and ``PEER_HVT_GUEST=FILE`` with Solo5's solo5-hvt and its test_hello.hvt.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from hypergen import config
from hypergen.errors import HypergenError
from tests.bench import groups, profile, rig
from tests.bench.figure import Figure


def table(rows: list[Figure]) -> str:
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
    parser = argparse.ArgumentParser(prog="tests.bench", description=__doc__)
    parser.add_argument(
        "--only", action="append", choices=groups.GROUPS, help="this group; repeat for more"
    )
    parser.add_argument("--vmm", type=Path, help="measure this hg-vmm, not the one in bzImage")
    parser.add_argument("--init", type=Path, help="and this PID 1")
    parser.add_argument("--cpu", default=rig.CPU, help="the measured machine's, QEMU's name for it")
    parser.add_argument(
        "--profile", metavar="VMM", help="where the instructions of VMM's start go, and no table"
    )
    chosen = parser.parse_args(arguments)
    cfg = config.load()
    names = chosen.only or list(groups.GROUPS)
    try:
        if chosen.profile:
            kind = chosen.only[0] if chosen.only else "start"
            report = groups.profile(cfg, kind, chosen.profile, chosen.vmm, chosen.cpu)
            print(profile.text(cfg, report, kind, chosen.profile, chosen.vmm), end="")
            return 0
        rows, report = groups.measure(cfg, names, chosen.vmm, chosen.init, chosen.cpu)
    except HypergenError as error:
        print(error.message, *error.tail, error.hint or "", sep="\n", file=sys.stderr)
        return error.exit_code
    for name, output in report.failures.items():
        print(f"failed: {name}: {output}", file=sys.stderr)
    for text in report.repeated:
        print(f"begun again: {text}", file=sys.stderr)
    if not chosen.only:
        (cfg.out / "bench.md").write_text(table(rows), "utf-8")
        data = json.dumps([asdict(row) for row in rows], indent=1)
        (cfg.out / "bench.json").write_text(data + "\n", "utf-8")
    print(table(rows), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
