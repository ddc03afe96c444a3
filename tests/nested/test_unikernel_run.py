# SPDX-License-Identifier: Apache-2.0
"""Unikernels as programs: their input, signals, stops, checkpoints and restarts."""

from __future__ import annotations

import json
import re
import signal

import pytest

from hypergen.config import BuildConfig
from tests.bench.overlay import Overlay
from tests.nested import unikernels
from tests.nested.nest import Nest

VMM = (
    "n=0; until pid=$(grep -lx hg-vmm-keeper /proc/[0-9]*/comm 2>/dev/null)\n"
    "do n=$((n + 1)); [ $n -lt 300 ] || exit 9; sleep 0.1; done\n"
    "pid=${pid#/proc/}; pid=${pid%/comm}"
)
"""A shell script's lines that wait for a VM's keeper and put its number into ``$pid``."""

GROUP = """\
import subprocess, sys
sys.exit(subprocess.Popen(sys.argv[1:], process_group=0).wait())"""
"""A Python program that runs another in a process group that has somebody to continue it."""


def until(path: str) -> str:
    """A line that waits for a file."""
    return f"n=0; until [ -e {path} ]; do n=$((n + 1)); [ $n -lt 300 ] || exit 9; sleep 0.1; done\n"


def nest_overlay(files: Overlay, cfg: BuildConfig) -> None:
    """The images, at ``/nest/guests``."""
    unikernels.lay(files, cfg.out, "cat", "count")


@pytest.mark.parametrize("abi", unikernels.ABIS)
def test_input_comes_from_files_pipes_and_ends(nest: Nest, abi: str) -> None:
    out = nest.sh(
        f"cd /run/nest; cat=/nest/guests/cat-{abi}\n"
        "seq 1 20000 >in; hg-vmm $cat <in | cmp - in && echo file\n"
        "seq 1 20000 | hg-vmm $cat | cmp - in && echo pipe\n"
        "(echo slow; sleep 1; echo input) | hg-vmm $cat\n"
        "hg-vmm $cat </dev/null && echo nothing\n"
        "hg-vmm $cat <&- >out || true; cat out\n"
        "echo given | hg-vmm $cat - - \n"
    )
    assert out == "file\npipe\nslow\ninput\nnothing\nread: -9\ngiven\n"


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP", "QUIT"])
def test_a_signal_ends_it_with_the_status_that_shells_give(nest: Nest, name: str) -> None:
    number = signal.Signals[f"SIG{name}"].value
    for guest, waits in (("cat-v2", "sleep 1000 |"), ("count-core 1000", "")):
        done = nest.run(
            f"mkfifo /run/nest/fifo; exec 3<>/run/nest/fifo\n"
            f"hg-vmm /nest/guests/{guest} <&3 >/dev/null & job=$!\n"
            f"{VMM}\nsleep 0.3; kill -{name} $pid; wait $job; echo $?; rm /run/nest/fifo"
        )
        assert done.output.splitlines()[-1] == str(128 + number), (waits, done.output)


def test_it_stops_and_goes_on_as_a_terminal_orders(nest: Nest) -> None:
    out = nest.sh(
        f"cd /run/nest; python3.11 -c '{GROUP}' hg-vmm /nest/guests/count-v1 30 >out & job=$!\n"
        f"{VMM}\n"
        "until grep -q 3 out; do sleep 0.1; done; kill -TSTP $pid\n"
        "until grep -q 'T (stopped)' /proc/$pid/status; do sleep 0.1; done; sleep 0.3\n"
        "wc -l <out >before; sleep 1; wc -l <out | cmp - before && echo still\n"
        "kill -CONT $pid; wait $job; echo $?; wc -l <out"
    )
    assert out.split() == ["still", "0", "30"]


def test_what_waits_for_input_can_be_paused_and_saved(nest: Nest) -> None:
    """The guest never hears of it, and makes its call again where it is restored."""
    out = nest.sh(
        "cd /run/nest; mkfifo fifo; exec 3<>fifo\n"
        "hg-vmm --control sock --memory 32M /nest/guests/cat-v2 <fifo >out 2>&1 & job=$!\n"
        f"{until('sock')}sleep 0.3\n"
        '/nest/bin/qmp sock \'{"execute": "stop"}\' \'{"execute": "cont"}\' >/dev/null\n'
        "hg-vmm --save saved --control sock\n"
        "echo first >fifo; until grep -q first out; do sleep 0.1; done\n"
        '/nest/bin/qmp sock \'{"execute": "quit"}\' >/dev/null; wait $job || true; cat out\n'
        "echo second | hg-vmm --restore saved /nest/guests/cat-v2\n"
        "hg-vmm --restore saved /nest/guests/cat-v1 || echo $?"
    )
    assert out.splitlines()[:2] == ["first", "second"], out
    assert "the snapshot is of another unikernel" in out and out.endswith("\n2\n"), out


@pytest.mark.parametrize("abi", ["core", "v1", "v2"])
def test_a_small_guests_first_pages_are_mapped(nest: Nest, abi: str) -> None:
    """Until it has something to wait for, each exit is a hypercall: none is a touched page."""
    out = nest.sh(
        # Else khugepaged may look just now, and make a huge page of them.
        "cd /sys/kernel/mm/transparent_hugepage/khugepaged; none=$(cat max_ptes_none)\n"
        'trap "echo $none >$PWD/max_ptes_none" EXIT; echo 0 >max_ptes_none\n'
        "cd /run/nest; mkfifo fifo; exec 3<>fifo\n"
        f"hg-vmm --control sock --memory 32M /nest/guests/cat-{abi} <fifo >out 2>&1 & job=$!\n"
        f"{until('sock')}sleep 0.3\n"
        '/nest/bin/qmp sock \'{"execute": "query-stats", "arguments": {"target": "vcpu"}}\'\n'
        '/nest/bin/qmp sock \'{"execute": "quit"}\' >/dev/null; wait $job || true'
    )
    answer = next(line for line in out.splitlines() if '"stats"' in line)
    stats = {one["name"]: one["value"] for one in json.loads(answer)["return"][0]["stats"]}
    assert stats["exits"] - stats["irq_exits"] == stats["io_exits"] > 0, out
    assert stats["pf_taken"] == 0, out


def numbers(text: str) -> list[int]:
    return [int(word) for word in text.split()]


@pytest.mark.parametrize(("abi", "full"), [("core", 0), ("v1", 1), ("v2", 0)])
def test_a_killed_run_goes_on_from_its_last_checkpoint(nest: Nest, abi: str, full: int) -> None:
    nest.sh(
        "mkdir -p /run/nest/ck/data; cd /run/nest/ck\n"
        f"HERMIT_CHECKPOINT=1 HERMIT_FULLCHECKPOINT={full} HERMIT_MEM=32M hg-vmm "
        f"--file-mapping data:/data /nest/guests/count-{abi} 60 /data/out & job=$!\n"
        f"{until('checkpoint/2/state')}{VMM}\nkill -9 $pid; wait $job || true\n"
        "cp data/out killed"
    )
    kept = nest.sh("cd /run/nest/ck/checkpoint; ls | grep -v part").split()
    assert "0" not in kept if full else {"0", "1", "2"} <= set(kept)
    if not full:  # the last one is not whole: the one before it is
        last = max(int(name) for name in kept if name.isdigit())
        nest.sh(f"echo x >>/run/nest/ck/checkpoint/{last}/state")
    nest.sh(f"cd /run/nest/ck; hg-vmm --file-mapping data:/data /nest/guests/count-{abi}")
    killed, out = (numbers(nest.sh(f"cat /run/nest/ck/{name}")) for name in ("killed", "data/out"))
    assert killed == list(range(1, len(killed) + 1)) and len(killed) < 60
    again = out[len(killed)]
    assert 1 < again <= len(killed) + 1, "it did not begin anew, and left nothing out"
    assert out == killed + list(range(again, 61))
    assert nest.sh("ls /run/nest/ck").split() == ["data", "killed"], "it ended well: no more of it"


def test_a_checkpoint_of_another_unikernel_is_said(nest: Nest) -> None:
    nest.sh(
        "mkdir -p /run/nest/ck; cd /run/nest/ck\n"
        "HERMIT_CHECKPOINT=1 HERMIT_CPUS=2 hg-vmm --memory 32M /nest/guests/count-v2 600 >out &\n"
        f"{until('checkpoint/0/state')}{VMM}\nkill -9 $pid; wait || true"
    )
    done = nest.run("cd /run/nest/ck; hg-vmm /nest/guests/count-v1")
    assert (done.status, done.output.count("\n")) == (2, 1)
    assert "the snapshot is of another unikernel" in done.output
    done = nest.run("cd /run/nest/ck; timeout -s INT 3 hg-vmm --stats /nest/guests/count-v2")
    assert re.search(r"CPU 1: \d+ exits", done.output), "CPUs and memory are the checkpoint's"
    for value, says in {"-1": "seconds, 0 to 86400", "86401": "seconds, 0 to 86400"}.items():
        done = nest.run(f"HERMIT_CHECKPOINT={value} hg-vmm /nest/guests/count-v1")
        assert (done.status, says in done.output) == (2, True)
    done = nest.run("HERMIT_FULLCHECKPOINT=2 hg-vmm /nest/guests/count-v1")
    assert (done.status, "give 0 or 1" in done.output) == (2, True)
