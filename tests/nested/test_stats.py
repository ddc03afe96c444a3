# SPDX-License-Identifier: Apache-2.0
"""What QMP tells of a real guest: states, events, counters of exits, devices and KVM."""

from __future__ import annotations

from typing import Any

import pytest

from tests.nested.nest import Nest, QmpFailed

WAITS = "echo here; read line"


def named(stats: list[dict[str, Any]]) -> dict[str, Any]:
    """The values of a query-stats result by their names."""
    return {one["name"]: one["value"] for one in stats}


def test_states_and_events(nest: Nest) -> None:
    vm = nest.guest(WAITS, wait=False)
    vm.expect("here")
    with pytest.raises(QmpFailed, match="No balloon device"):
        vm.qmp("query-balloon")
    lines = vm.qmp_lines(
        '{"execute":"stop"}',
        '{"execute":"query-status"}',
        '{"execute":"cont"}',
        '{"execute":"query-status"}',
        '{"execute":"quit"}',
        "--event",
        "SHUTDOWN",
    )
    events = [line for line in lines if "event" in line]
    assert [one["event"] for one in events] == ["STOP", "RESUME", "SHUTDOWN"]
    assert events[-1]["data"] == {"guest": False, "reason": "host-qmp-quit"}
    states = [line["return"]["status"] for line in lines if "status" in line.get("return", {})]
    assert states == ["paused", "running"]


def test_exits_and_devices_are_counted(nest: Nest) -> None:
    nest.sh("dd if=/dev/zero of=/host/test/disk bs=1M count=4 2>/dev/null")
    vm = nest.guest(
        "dd if=/dev/vda of=/dev/null bs=64k 2>/dev/null\n"
        "for i in $(seq 40); do dd if=/dev/vda of=/dev/null bs=4M iflag=direct 2>/dev/null; done\n"
        "echo read; read line",
        options=["--disk", "/host/test/disk"],
        cpus=2,
        wait=False,
    )
    vm.expect("read")
    stats = vm.qmp("x-hypergen-stats")
    assert stats["exits"]["mmio"] > 10
    assert sum(one["exits"].get("mmio", 0) for one in stats["vcpus"]) == stats["exits"]["mmio"]
    # The VM counts its threads in a pid namespace of its own, the last one of NSpid.
    tasks = nest.sh(f"cat /proc/{vm.pid}/task/*/status | grep NSpid").splitlines()
    assert {one["thread-id"] for one in stats["vcpus"]} <= {int(one.split()[-1]) for one in tasks}
    assert [one["thread-id"] for one in vm.qmp("query-cpus-fast")] == [
        one["thread-id"] for one in stats["vcpus"]
    ]
    kinds = {one["type"]: one for one in stats["devices"]}
    disk = kinds["blk"]
    assert disk["written-bytes"] >= 4 << 20  # the device writes what the guest reads
    assert disk["requests"] >= 4 and disk["kicks"] > 0 and disk["interrupts"] > 0
    # An image in memory; a direct read of 4 MiB is many requests, which the loop serves together.
    assert disk["interrupts"] < disk["requests"] / 2
    assert disk["errors"] == 0 and disk["running"] is True
    assert kinds["console"]["read-bytes"] > 0


def test_kvms_own_statistics(nest: Nest) -> None:
    vm = nest.guest(WAITS, cpus=2, wait=False)
    vm.expect("here")
    schemas = {one["target"]: one["stats"] for one in vm.qmp("query-stats-schemas")}
    by_name = {one["name"]: one for one in schemas["vcpu"]}
    assert by_name["exits"]["type"] == "cumulative"
    assert (
        by_name["halt_poll_success_ns"] | {"unit": "seconds", "base": 10, "exponent": -9}
        == (by_name["halt_poll_success_ns"])
    )
    assert any(one["type"] == "log2-histogram" for one in schemas["vcpu"])
    (of_vm,) = vm.qmp("query-stats", target="vm")
    assert of_vm["provider"] == "kvm" and "remote_tlb_flush" in named(of_vm["stats"])
    vcpus = vm.qmp("query-stats", target="vcpu")
    assert [one["qom-path"] for one in vcpus] == [
        f"/machine/unattached/device[{number}]" for number in range(2)
    ]
    before = named(vcpus[0]["stats"])
    assert before["exits"] > before["io_exits"] > 0
    assert len(before["halt_wait_hist"]) > 1
    (only,) = vm.qmp(
        "query-stats",
        target="vcpu",
        vcpus=["/machine/unattached/device[1]"],
        providers=[{"provider": "kvm", "names": ["exits"]}],
    )
    assert [one["name"] for one in only["stats"]] == ["exits"]
    assert vm.qmp("query-status")["running"] is True
    # The machine after a reset is another one for KVM.
    lines = vm.qmp_lines('{"execute":"system_reset"}', "--event", "RESET")
    assert lines[-1]["data"] == {"guest": False, "reason": "host-qmp-system-reset"}
    assert vm.qmp("x-hypergen-stats")["resets"] == 1
    after = named(vm.qmp("query-stats", target="vcpu")[0]["stats"])
    assert after["exits"] > 0
    with pytest.raises(QmpFailed, match="'vm' and 'vcpu'"):
        vm.qmp("query-stats", target="host")


def test_log_levels_change_while_it_runs(nest: Nest) -> None:
    vm = nest.guest(WAITS, options=["--log-level", "warning"], wait=False)
    vm.expect("here")
    assert "running:" not in vm.log()
    assert vm.qmp("x-hypergen-log-level") == {"level": "warning"}
    vm.qmp("x-hypergen-log-level", level="debug")
    vm.qmp("query-name")
    assert "qmp: query-name" in vm.log()
    with pytest.raises(QmpFailed, match="error, warning, info, debug"):
        vm.qmp("x-hypergen-log-level", level="all")
    done = nest.vmm("--kernel", "/nest/vmlinux", "--log-level", "all")
    assert done.status == 2 and "give error, warning, info or debug" in done.output


def test_a_client_that_floods_and_never_reads(nest: Nest) -> None:
    vm = nest.guest(WAITS, wait=False)
    vm.expect("here")
    before = nest.sh(f"grep VmRSS /proc/{vm.pid}/status").split()[1]
    # The answers are never read: the VMM drops the client, and nc ends by SIGPIPE or EOF.
    nest.sh(
        'one=\'{"execute":"query-commands"}\'\n'
        '( echo \'{"execute":"qmp_capabilities"}\'; yes "$one" | head -c 4000000 ) |\n'
        f"  busybox timeout 30 nc local:{vm.folder}/control.sock | sleep 5 || true",
        90,
    )
    assert vm.qmp("query-status")["running"] is True
    after = nest.sh(f"grep VmRSS /proc/{vm.pid}/status").split()[1]
    assert int(after) - int(before) < 2048
