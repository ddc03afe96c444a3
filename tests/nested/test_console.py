# SPDX-License-Identifier: Apache-2.0
"""The console's size, readers that do not read, the 8250, and entropy."""

from __future__ import annotations

import re

from tests.nested.nest import Nest
from tests.nested.test_balloon import rss


def wait_for(rows: int, cols: int) -> str:
    """Shell script of the guest: until its terminal has this size."""
    return f"until [ \"$(stty size)\" = '{rows} {cols}' ]; do sleep 0.1; done"


def test_the_guest_learns_of_the_terminals_size(nest: Nest) -> None:
    vm = nest.guest(
        f"stty size; {wait_for(50, 132)}; echo resized",
        wait=False,
    )
    vm.expect("24 80")
    vm.qmp("x-hypergen-console-size", cols=132, rows=50)
    assert "resized" in vm.finish()


def test_a_reader_that_never_reads_stalls_nobody(nest: Nest) -> None:
    vm = nest.guest(
        f"echo up; {wait_for(50, 132)}; dd if=/dev/zero bs=1k count=320 2>/dev/null | tr '\\0' x\n"
        "echo; echo all; sleep 1000",
        wait=False,
    )
    vm.expect("up")
    nest.sh(f"(/nest/bin/stream idle {vm.folder}/console.sock </dev/null >/dev/null 2>&1 &)")
    before = rss(vm)
    vm.qmp("x-hypergen-console-size", cols=132, rows=50)
    nest.sh(f"until tail -c 40 {vm.folder}/console.log | grep -q all; do sleep 0.2; done", 120)
    # The guest was not held up, its output is in the log, and nothing was hoarded for the reader.
    assert int(nest.sh(f"tr -cd x <{vm.folder}/console.log | wc -c")) >= 320 * 1024
    assert rss(vm) - before < 4 << 20


def test_there_is_no_8250_unless_it_is_asked_for(nest: Nest) -> None:
    script = "cat /proc/tty/driver/serial"
    assert "uart:16450" not in nest.guest(script).console()
    assert "uart:16450 port:000003F8" in nest.guest(script, options=["--serial"]).console()


def test_entropy_is_the_hosts_and_never_the_same(nest: Nest) -> None:
    script = (
        "cat /sys/class/misc/hw_random/rng_current\n"
        "for i in 1 2 3; do head -c 64 /dev/hwrng | md5sum; done\n"
        "head -c 10000 /dev/hwrng | wc -c"
    )
    text = nest.guest(script).console() + nest.guest(script).console()
    found = re.findall(r"\b[0-9a-f]{32}\b", text)
    assert text.count("virtio_rng") == 2 and text.count("10000") == 2
    assert len(found) == 6 and len(set(found)) == 6
