# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.bench.jitter``: how evenly work runs in an isle, beside what has none.

The fixed work quantum of ``tests/guests/fwq.h``, one place after the other in one host of four
CPUs: a thread of the host, a vCPU as any VM has it, and one in an isle, all on CPU 3. There two
programs compute without end meanwhile, which asked for that CPU as well, and a third one writes to
a disk. The times are those of the machine that this runs on; under an emulator they are its
threads' too. So the table also counts what disturbs on any machine: how often a second somebody
else was given the CPU, and interrupts on it.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypergen import config
from hypergen import vmm as vmm_build
from hypergen.config import TOP, BuildConfig
from hypergen.guests import ext4
from tests.bench.overlay import Overlay
from tests.bench.rig import STATIC
from tests.nested import nest as nests
from tests.nested import unikernels
from tests.nested.nest import Nest

CPUS, LAST = 4, 3
"""Of the host; what is measured runs on the last one."""

NOISE = (
    f"for n in 1 2; do taskset -c {LAST} sh -c 'while :; do :; done' & echo $! >>/tmp/noise; done\n"
    "while :; do dd if=/dev/zero of=/host/test/noise bs=64k count=16 conv=fsync; done "
    ">/dev/null 2>&1 & echo $! >>/tmp/noise"
)
QUIET = "for p in $(cat /tmp/noise); do kill -9 $p; done; rm /tmp/noise"


WATCHED = """
rm -f /tmp/status
while kill -0 $! 2>/dev/null; do
    for p in $(pidof hg-vmm jitter); do
        for t in /proc/$p/task/[0-9]*; do
            case $(cat $t/status) in # whole or not at all
            *Cpus_allowed_list:?%d?*nonvoluntary*) cat $t/status >/tmp/new ;;
            esac
            grep -q ^nonvoluntary /tmp/new && mv /tmp/new /tmp/status
        done
    done 2>/dev/null
    sleep 0.1
done
wait $!
cat /tmp/status || true
"""
"""Runs beside the measured program and keeps what its thread on the last CPU said at the end."""


@dataclass(frozen=True)
class Row:
    """One place: times in nanoseconds; counts a second."""

    place: str
    figures: dict[str, int]
    switches: float | None
    interrupts: float

    def line(self) -> str:
        """A row of the table; times in microseconds."""
        names = ("min", "mean", "p999", "max")
        times = " | ".join(f"{self.figures[name] / 1000:,.1f}" for name in names)
        switches = "-" if self.switches is None else f"{self.switches:,.1f}"
        return f"| {self.place} | {times} | {switches} | {self.interrupts:,.1f} |"


def overlay(cfg: BuildConfig, folder: Path, vmm: Path) -> Path:
    """The second initramfs: the VMM, and the quantum as a unikernel and as a program."""
    files = Overlay()
    files.copy("nest/init", TOP / "tests/nested/host-init")
    files.copy("usr/bin/hg-vmm", vmm)
    files.copy("nest/jitter.hermit", unikernels.build("jitter", unikernels.CORE, folder / "g"))
    program = folder / "p"
    source = TOP / "tests/nested/programs/jitter.c"
    subprocess.run(["cc", *STATIC, "-o", program, source], check=True)
    files.copy("nest/jitter", program)
    return files.write(folder / "overlay.cpio")


def interrupts(nest: Nest, cpu: int) -> int:
    """All that CPU has had, timers and calls of other CPUs among them."""
    lines = nest.sh("cat /proc/interrupts").splitlines()
    return sum(
        int(words[1 + cpu])
        for words in (line.split() for line in lines[1:])
        if len(words) > CPUS and words[1 + cpu].isdigit()
    )


def uptime(nest: Nest) -> float:
    """Seconds since the host's start."""
    return float(nest.sh("cat /proc/uptime").split()[0])


def measure(nest: Nest, place: str, command: str, options: argparse.Namespace) -> Row:
    """Run the quantum by ``command`` while others are busy."""
    nest.sh(NOISE)
    before, start = interrupts(nest, LAST), uptime(nest)
    line = f"{command} {options.samples} {options.work} & {WATCHED % LAST}"
    output = nest.sh(line, 600)
    seconds = uptime(nest) - start
    after = interrupts(nest, LAST)
    nest.sh(QUIET)
    (line,) = re.findall(r"^jitter (.*)$", output, re.MULTILINE)
    told = re.search(r"^nonvoluntary_ctxt_switches:\s*(\d+)", output, re.MULTILINE)
    switches = int(told[1]) / seconds if told else None  # a run that was over before a look
    figures = {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", line)}
    return Row(place, figures, switches, (after - before) / seconds)


def places(nest: Nest, options: argparse.Namespace) -> list[Row]:
    """The three of them."""
    vcpu = f"hg-vmm --cpu-affinity {LAST} /nest/jitter.hermit"
    isle = f"HERMIT_ISLE=1 HERMIT_CPUS={LAST} hg-vmm /nest/jitter.hermit"
    return [
        measure(nest, "a thread of the host", f"taskset -c {LAST} /nest/jitter", options),
        measure(nest, "a vCPU of a VM", vcpu, options),
        measure(nest, "a vCPU in an isle", isle, options),
    ]


def table(rows: list[Row]) -> str:
    """Markdown."""
    lines = [
        "| quantum in | min | mean | p99.9 | max, µs | gave way, 1/s | interrupts, 1/s |",
        "|---|---|---|---|---|---|---|",
        *(row.line() for row in rows),
    ]
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    """Run and print; the exit status is 0."""
    parser = argparse.ArgumentParser(prog="tests.bench.jitter", description=__doc__)
    parser.add_argument("--samples", type=int, default=20000, help="quanta (20000)")
    parser.add_argument("--work", type=int, default=20000, help="loops a quantum (20000)")
    parser.add_argument("--vmm", type=Path, help="this hg-vmm, not one built from the sources")
    parser.add_argument("--append", default="", help="for the host's kernel: nohz_full=3")
    options = parser.parse_args(arguments)
    cfg = config.load()
    with tempfile.TemporaryDirectory(prefix="hg-jitter-") as name:
        folder = Path(name)
        (folder / "tree").mkdir()
        vmm = options.vmm
        if vmm is None:
            vmm_build.compile_in(cfg, folder, "all", log=cfg.logs / "jitter-vmm.log")
            vmm = folder / "hg-vmm"
        disk = folder / "disk.img"
        ext4.make(disk, folder / "tree", label="scratch", mib=256, log=cfg.logs / "jitter-fs.log")
        files = overlay(cfg, folder, vmm)
        with nests.boot(cfg, files, disk, "jitter", cpus=CPUS, append=options.append) as nest:
            print(table(places(nest, options)), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
