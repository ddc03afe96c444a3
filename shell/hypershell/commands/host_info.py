# SPDX-License-Identifier: Apache-2.0
"""host_info."""

from __future__ import annotations

from hypershell import host, status, vm
from hypershell.spec import JSON, Context, Spec
from hypershell.table import dump, say
from hypershell.units import human_size, human_time, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace

_KINDS = {"svm": "AMD SVM", "vmx": "Intel VT-x", "none": "none"}


def _run(args: Namespace, _: Context) -> int:
    record = host.record()
    vms = vm.listed()
    record["vms"] = {state: sum(v.state == state for v in vms) for state in {v.state for v in vms}}
    if args.json:
        dump(record)
        return 0
    total, available = status.memory()
    kind = str(record["virtualisation"])
    device = "/dev/kvm there" if record["kvm"] else "no /dev/kvm"
    bridge = record["bridge"]
    rows = [
        ("hyper-gen", f"{record['version']}, Linux {record['kernel']}"),
        ("CPU", f"{record['cpu']} ({record['cpus']})"),
        ("virtualisation", f"{_KINDS[kind]}, {device}"),
        ("memory", f"{human_size(available)} free of {human_size(total)}"),
        ("uptime", human_time(float(str(record["uptime"])))),
        ("br0", (", ".join(bridge) or "no address") if isinstance(bridge, list) else "none"),
        ("kernels", str(record["kernels"])),
        ("images", str(record["images"])),
        ("VMs", f"{len(vms)}, {sum(one.state == 'running' for one in vms)} running"),
    ]
    for topic, state, message in status.topics():
        rows.append((topic, printable(f"{state}: {message}" if message else state)))
    width = max(len(name) for name, _ in rows)
    say("\n".join(f"{name.ljust(width)}  {text}" for name, text in rows))
    advice = host.kvm_advice()
    if advice:
        say(f"\nVMs cannot start: {advice}")
    return 0


SPECS = {
    "host_info": Spec(
        _run,
        [JSON],
        """What this host is, and the topics of its start: root, guest_kernel, guest_image, net,
kvm, hugepages, each ok, waiting, none or failed with the reason. ALT+F1 shows the kernel's
messages, ALT+F2 a rescue shell.""",
        [("host_info", "for people"), ("host_info --json", "for programs")],
    )
}
