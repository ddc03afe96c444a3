# SPDX-License-Identifier: Apache-2.0
"""The balloon: memory that a guest frees or gives goes back to the host."""

from __future__ import annotations

import json

from tests.nested.nest import Guest, Nest

MIB = 1 << 20


def rss(vm: Guest) -> int:
    """The VMM's resident memory in the host, in bytes."""
    return int(vm.nest.sh(f"awk '/^VmRSS/ {{ print $2 }}' /proc/{vm.pid}/status")) * 1024


def rss_falls_below(vm: Guest, limit: int) -> None:
    """Wait for it, in the host."""
    vm.nest.sh(
        f"n=0; until awk '/^VmRSS/ {{ exit $2 >= {limit // 1024} }}' /proc/{vm.pid}/status; do\n"
        "  [ $n -gt 300 ] && { cat /proc/*/status | grep VmRSS; exit 1; }\n"
        "  n=$((n + 1)); sleep 0.1\n"
        "done",
        120,
    )


def test_memory_that_the_guest_frees_goes_back_by_itself(nest: Nest) -> None:
    vm = nest.guest(
        "memhog 64 3; sleep 1000", options=["--balloon"], programs=["memhog"], wait=False
    )
    vm.expect("full")
    full = rss(vm)
    assert full > 64 * MIB
    vm.expect("free")
    rss_falls_below(vm, full - 48 * MIB)
    assert vm.qmp("x-hypergen-balloon-stats")["reported-bytes"] >= 48 * MIB


def test_a_balloon_is_inflated_and_deflated_on_request(nest: Nest) -> None:
    vm = nest.guest(
        "memhog 64 0; echo before; while :; do grep MemAvail /proc/meminfo; sleep 0.5; done",
        options=["--balloon=reporting=off"],
        programs=["memhog"],
        wait=False,
    )
    vm.expect("before")
    full = rss(vm)
    assert vm.qmp("query-balloon") == {"actual": 128 * MIB}
    seen = vm.qmp_lines(
        json.dumps({"execute": "balloon", "arguments": {"value": 64 * MIB}}),
        *("--event", "BALLOON_CHANGE"),
    )
    assert 64 * MIB <= seen[-1]["data"]["actual"] < 128 * MIB
    rss_falls_below(vm, full - 40 * MIB)
    vm.qmp_lines(
        json.dumps({"execute": "balloon", "arguments": {"value": 1024 * MIB}}),
        *("--event", "BALLOON_CHANGE"),
    )
    for _ in range(60):
        if vm.qmp("query-balloon")["actual"] == 128 * MIB:
            break
        nest.sh("sleep 0.2")
    assert vm.qmp("query-balloon")["actual"] == 128 * MIB


def test_a_guest_that_runs_out_of_memory_takes_pages_back(nest: Nest) -> None:
    vm = nest.guest(
        "echo up; read go; memhog 60 0",
        options=["--balloon=target=48M"],
        programs=["memhog"],
        wait=False,
    )
    vm.expect("up")
    for _ in range(60):
        if vm.qmp("query-balloon")["actual"] == 48 * MIB:
            break
        nest.sh("sleep 0.2")
    assert vm.qmp("query-balloon")["actual"] == 48 * MIB
    vm.type("go\n")
    assert "free" in vm.finish()  # not killed


def test_statistics_come_from_the_guest(nest: Nest) -> None:
    vm = nest.guest("echo up; sleep 1000", options=["--balloon"], wait=False)
    vm.expect("up")
    for _ in range(60):
        stats = vm.qmp("x-hypergen-balloon-stats")
        # The first figures are of the driver's start; each question brings newer ones.
        if stats["stats"].get("stat-minor-faults"):
            break
        nest.sh("sleep 0.2")
    values = stats["stats"]
    assert 64 * MIB < values["stat-total-memory"] <= 128 * MIB
    assert 0 < values["stat-free-memory"] < values["stat-total-memory"]
    assert values["stat-minor-faults"] > 0 and stats["last-update"] > 0
