# SPDX-License-Identifier: Apache-2.0
"""vm_top, host_top and vm_stats: what is used, live or once."""

from __future__ import annotations

import time

from hypershell import figures, lifecycle, status
from hypershell.live import live
from hypershell.spec import JSON, LISTING, Arg, Context, Spec
from hypershell.table import Listing, dump, render, show
from hypershell.units import human_size, parse_seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace

_HEADER = (
    "ID",
    "NAME",
    "STATE",
    "CPU %",
    "MEMORY",
    "EXITS/s",
    "READ/s",
    "WRITE/s",
    "IN/s",
    "OUT/s",
)
_RIGHT = frozenset({0, 3, 4, 5, 6, 7, 8, 9})


def _row(rates: figures.Rates) -> list[str]:
    one = rates.new.vm
    return [
        str(one.id),
        one.name,
        one.state,
        f"{rates.cpu:.0f}",
        human_size(rates.new.resident),
        f"{rates.exits:.0f}",
        human_size(int(rates.disk_read)),
        human_size(int(rates.disk_written)),
        human_size(int(rates.received)),
        human_size(int(rates.sent)),
    ]


def _rounds(args: Namespace) -> tuple[float, int]:
    every = max(parse_seconds(args.every, "--every"), 0.1)
    return every, 1 if args.once else 0


def _vm_top(args: Namespace, _: Context) -> int:
    vms = figures.Watch()
    vms.look()
    every, rounds = _rounds(args)
    # Rates need two looks; the first is at once, so that nobody waits long for the picture.
    time.sleep(min(every, 0.5))
    if args.json:
        dump([rates.record() for rates in vms.look()])
        return 0

    def draw() -> str:
        rows = [_row(rates) for rates in vms.look()]
        return render(_HEADER, rows, _RIGHT) if rows else "There are no VMs."

    live(draw, every, rounds)
    return 0


_BAR = 30


def _host_top(args: Namespace, _: Context) -> int:
    cpus, vms = figures.HostCpu(), figures.Watch()
    vms.look()
    every, rounds = _rounds(args)
    time.sleep(min(every, 0.5))
    if args.json:
        total, available = status.memory()
        busy = cpus.busy()
        dump(
            {
                "cpu_percent": [round(part, 1) for name, part in busy if name != "cpu"],
                "memory_total": total,
                "memory_available": available,
                "vms": [rates.record() for rates in vms.look()],
            }
        )
        return 0

    def bar(name: str, part: float, text: str) -> str:
        filled = int(part / 100 * _BAR)
        return f"{name:<7} [{'#' * filled}{'.' * (_BAR - filled)}] {part:3.0f} %  {text}"

    def draw() -> str:
        lines = [bar(name, part, "") for name, part in cpus.busy() if name != "cpu"]
        total, available = status.memory()
        used = 100 * (total - available) / total if total else 0.0
        told = f"{human_size(available)} free of {human_size(total)}"
        lines.append(bar("memory", used, told))
        rows = [_row(rates) for rates in vms.look()]
        return "\n".join([*(line.rstrip() for line in lines), "", render(_HEADER, rows, _RIGHT)])

    live(draw, every, rounds)
    return 0


def _stats(args: Namespace, _: Context) -> int:
    vms = lifecycle.pick_many(args.vm or ["all"])
    found = list(figures.samples(vms).values())
    rows = [
        [
            str(one.vm.id),
            one.vm.name,
            one.vm.state,
            f"{one.cpu:.1f}",
            human_size(one.resident),
            str(one.exits),
            human_size(one.disk_read),
            human_size(one.disk_written),
            human_size(one.received),
            human_size(one.sent),
        ]
        for one in found
    ]
    header = ("ID", "NAME", "STATE", "CPU s", "MEMORY", "EXITS", "READ", "WRITTEN", "IN", "OUT")
    records = [one.record() for one in found]
    show(Listing(header, rows, records, right=_RIGHT, nothing="There are no VMs."), args)
    return 0


_TOP = [
    Arg("--every", "seconds between two pictures", metavar="TIME", default="2"),
    Arg("--once", "one picture, and out", flag=True),
    JSON,
]

SPECS = {
    "vm_top": Spec(
        _vm_top,
        _TOP,
        """What the VMs use, again and again, the busiest first: CPU in per cent of one host CPU,
memory that is really there, exits to the VMM, bytes of disks and networks a second. q leaves.
On a pipe the tables follow each other; --once prints one, --json the same for programs.""",
        [("vm_top", "live"), ("vm_top --once", "one table")],
    ),
    "host_top": Spec(
        _host_top,
        _TOP,
        "What each CPU of the host does, its memory, and below them the VMs as in vm_top.",
        [("host_top", "live"), ("host_top --json", "one picture for programs")],
    ),
    "vm_stats": Spec(
        _stats,
        [Arg("vm", "ids or names (default: all)", values="vm", many="*"), *LISTING],
        """Counters since each VM's process began: CPU seconds, memory that is really there, exits,
bytes of disks and networks. --json has exits by reason and the counters of each device;
host_metrics has the same for Prometheus.""",
        [("vm_stats", "all VMs"), ("vm_stats web --json", "one, in full")],
    ),
}
