# SPDX-License-Identifier: Apache-2.0
"""host_metrics: figures of the host and its VMs in Prometheus' text exposition format 0.0.4."""

from __future__ import annotations

from hypershell import figures, host, paths, qmp, status, vm
from hypershell.spec import Context, Spec
from hypershell.table import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator

_STATES = ("running", "paused", "panicked", "shutdown", "starting", "unresponsive", "crashed")

_DEVICE = {  # x-hypergen-stats' names of a device's counters
    "kicks": ("device_kicks_total", "Notifications by the guest's driver."),
    "interrupts": ("device_interrupts_total", "Interrupts raised by the device."),
    "requests": ("device_requests_total", "Requests taken from the device's queues."),
    "read-bytes": ("device_read_bytes_total", "Bytes that the device read from the guest."),
    "written-bytes": ("device_written_bytes_total", "Bytes that the device wrote to the guest."),
    "errors": ("device_errors_total", "Times the driver broke the rules."),
}
_DISK = {  # query-blockstats' names
    "rd_bytes": ("disk_read_bytes_total", "Bytes read from the image."),
    "wr_bytes": ("disk_written_bytes_total", "Bytes written to the image."),
    "rd_operations": ("disk_reads_total", "Reads of the image."),
    "wr_operations": ("disk_writes_total", "Writes of the image."),
    "flush_operations": ("disk_flushes_total", "Flushes of the image."),
    "failed_operations": ("disk_failures_total", "Operations that failed."),
}


class Families:
    """Samples by metric; a family's lines stand together, whoever adds to it and when."""

    def __init__(self) -> None:
        self._families: dict[str, tuple[str, list[str]]] = {}

    def add(self, metric: str, about: str, value: object, /, **labels: str) -> None:
        """One sample; a value that is no number is left out."""
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return
        name = f"hypergen_{metric}"
        _, samples = self._families.setdefault(name, (about, []))
        inside = ",".join(f'{key}="{escape(text)}"' for key, text in labels.items())
        samples.append(f"{name}{{{inside}}} {value}" if inside else f"{name} {value}")

    def lines(self) -> Iterator[str]:
        """The exposition. Counters end in _total, everything else is a gauge."""
        for name, (about, samples) in self._families.items():
            yield f"# HELP {name} {about}"
            yield f"# TYPE {name} {'counter' if name.endswith('_total') else 'gauge'}"
            yield from samples


def escape(text: str) -> str:
    """A label's value: backslash, quote and newline are escaped; no lone surrogates."""
    text = text.encode("utf-8", "replace").decode()
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _add_host(all_: Families, vms: list[vm.VM]) -> None:
    total, available = status.memory()
    all_.add("host_memory_bytes", "Memory of the host.", total)
    all_.add("host_memory_available_bytes", "Memory that the host could give out.", available)
    record = host.record()
    all_.add("host_uptime_seconds", "Time since the host's start.", record["uptime"])
    all_.add("host_cpus", "CPUs of the host.", record["cpus"])
    for state in _STATES:
        count = sum(one.state == state for one in vms)
        all_.add("host_vms", "VMs by state.", count, state=state)
    ended = sum(one.state not in _STATES for one in vms)
    all_.add("host_vms", "VMs by state.", ended, state="stopped")


def _add_vm(all_: Families, one: vm.VM, answer: qmp.Answer) -> None:
    labels = {"id": str(one.id), "name": one.name}
    info = figures.as_object(answer.returns.get("x-hypergen-info"))
    stats = figures.as_object(answer.returns.get("x-hypergen-stats"))
    all_.add("vm_up", "1 while the VM's guest runs.", int(one.state == "running"), **labels)
    all_.add("vm_cpus", "vCPUs of the VM.", one.cpus, **labels)
    all_.add("vm_memory_bytes", "RAM that the VM was given.", one.memory, **labels)
    uptime = info.get("uptime_ms")
    if isinstance(uptime, int):
        all_.add("vm_uptime_seconds", "Age of the VM's process.", uptime / 1000, **labels)
    all_.add("vm_resets_total", "Resets of the guest.", stats.get("resets"), **labels)
    for reason, count in figures.as_object(stats.get("exits")).items():
        about = "Exits from the guest to the VMM, by KVM's reason."
        all_.add("vm_exits_total", about, count, **labels, reason=reason)
    for device in figures.as_objects(stats.get("devices")):
        which = {"device": str(device.get("index")), "type": str(device.get("type"))}
        for key, (metric, about) in _DEVICE.items():
            all_.add(f"vm_{metric}", about, device.get(key), **labels, **which)
    for disk in figures.as_objects(answer.returns.get("query-blockstats")):
        counts = figures.as_object(disk.get("stats"))
        for key, (metric, about) in _DISK.items():
            name = str(disk.get("device"))
            all_.add(f"vm_{metric}", about, counts.get(key), **labels, disk=name)


def _run(_: Namespace, __: Context) -> int:
    vms = vm.listed()
    timeout = vm.ASK_TIMEOUT * paths.timeout_scale()
    answers = qmp.ask([one.folder for one in vms if one.alive], figures.ASKED, timeout)
    all_ = Families()
    _add_host(all_, vms)
    for one in vms:
        _add_vm(all_, one, answers.get(one.folder) or qmp.Answer())
    say("\n".join(all_.lines()))
    return 0


SPECS = {
    "host_metrics": Spec(
        _run,
        [],
        """Figures of the host and of each VM in the text format that Prometheus reads: exits by
reason, requests, bytes and interrupts of each device, disks. Sizes are bytes, times seconds. A VM
that does not answer has no counters; its state is in hypergen_host_vms.""",
        [
            (
                "host_metrics",
                "all there is; for a collector: hypershell -c host_metrics >node.prom",
            ),
        ],
    )
}
