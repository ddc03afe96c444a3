# SPDX-License-Identifier: Apache-2.0
"""vm_set and vm_rename: what can be changed while a VM runs."""

from __future__ import annotations

import os

from hypershell import catalog, create, figures, lifecycle, vm
from hypershell.errors import ShellError, UsageError
from hypershell.spec import Arg, Context, Spec
from hypershell.table import say
from hypershell.units import human_size, parse_cpu_list, parse_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace


def vcpu_threads(one: vm.VM) -> list[int]:
    """The host's thread ids of a running VM's vCPUs, in the order of the vCPUs.

    The VM tells them as its own pid namespace numbers them; /proc has both (NSpid, proc(5)).
    """
    told = figures.as_objects(lifecycle.tell(one, "query-cpus-fast"))
    inner = [figures.as_number(cpu.get("thread-id")) for cpu in told]
    info = figures.as_object(lifecycle.tell(one, "x-hypergen-info"))
    pid = figures.as_number(info.get("pid"))
    outer: dict[int, int] = {}
    try:
        for name in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{name}/status", encoding="utf-8", errors="replace") as f:
                for line in f:
                    if line.startswith("NSpid:"):
                        outer[int(line.split()[-1])] = int(name)
    except (OSError, ValueError) as error:
        raise ShellError(f"{one.title}: its threads cannot be seen: {error}") from error
    return [outer.get(thread, 0) for thread in inner]


def _pin(one: vm.VM, text: str) -> str:
    cpus = parse_cpu_list(text)
    for thread in vcpu_threads(one):
        try:
            os.sched_setaffinity(thread, cpus)
        except (OSError, ValueError) as error:
            there = os.cpu_count() or 1
            reason = getattr(error, "strerror", None) or error
            raise UsageError(
                f"--cpu-affinity {text}: {reason}; this host has CPUs 0 to {there - 1}"
            ) from error
    return f"its vCPUs run on host CPUs {text}"


def _balloon(one: vm.VM, text: str) -> str:
    size = parse_size(text)
    if not 0 < size <= one.memory:
        raise UsageError(
            f"--balloon {text}: what is left to the guest, up to its {human_size(one.memory)}"
        )
    lifecycle.tell(one, "balloon", {"value": size})
    return f"the guest is asked to live with {human_size(size)}"


def _limit(one: vm.VM, option: str, key: str, text: str) -> str:
    value = 0 if text == "none" else parse_size(text) if key == "bps" else _rate(option, text)
    limits = {"device": "disk0", key: value}
    lifecycle.tell(one, "block_set_io_throttle", limits)
    unit = "bytes" if key == "bps" else "requests"
    return f"its disk does {value} {unit} a second at most" if value else f"no limit of {unit}"


def _rate(option: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 13):
        raise UsageError(f"{option} {text}: type a number of requests a second, or none")
    return int(text)


def _set(args: Namespace, _: Context) -> int:
    one = lifecycle.pick_with_state(args.vm)
    done = []
    if args.balloon is not None:
        done.append(_balloon(one, args.balloon))
    if args.cpu_affinity is not None:
        done.append(_pin(one, args.cpu_affinity))
    if args.disk_bps is not None:
        done.append(_limit(one, "--disk-bps", "bps", args.disk_bps))
    if args.disk_iops is not None:
        done.append(_limit(one, "--disk-iops", "iops", args.disk_iops))
    if args.log_level is not None:
        lifecycle.tell(one, "x-hypergen-log-level", {"level": args.log_level})
        done.append(f"its log tells {args.log_level} and worse")
    if not done:
        raise UsageError("nothing to set; 'help vm_set' has the options")
    say(f"{one.title}: {'; '.join(done)}")
    return 0


def _rename(args: Namespace, _: Context) -> int:
    one = vm.pick(args.vm)
    if one.name == args.name:
        say(f"{one.title} has this name already")
        return 0
    with catalog.Lock():
        create.check_name(
            args.name, [other for other in vm.known() if other.id != one.id], "the name"
        )
        asked = catalog.read_json(one.folder + "/vm.json")
        if not asked:
            raise ShellError(f"{one.title}: its vm.json is damaged; vm_destroy removes it")
        catalog.write_json(one.folder + "/vm.json", asked | {"name": args.name})
    say(f"{one.title} is called {args.name} now")
    return 0


_VM = Arg("vm", "id, name or beginning of a name", values="vm")

SPECS = {
    "vm_set": Spec(
        _set,
        [
            _VM,
            Arg(
                "--balloon",
                "memory left to the guest (with vm_create -- --balloon)",
                metavar="SIZE",
            ),
            Arg("--cpu-affinity", "host CPUs for its vCPUs, as 0-2,5", metavar="LIST"),
            Arg("--disk-bps", "bytes a second of its disk, or none", metavar="SIZE"),
            Arg("--disk-iops", "requests a second of its disk, or none", metavar="N"),
            Arg(
                "--log-level",
                "error, warning, info or debug",
                metavar="LEVEL",
                values=("error", "warning", "info", "debug"),
                only=True,
            ),
        ],
        "Changes a VM while it runs. Nothing of it outlives the VM's process.",
        [
            ("vm_set web --cpu-affinity 1", "keep it off the other CPUs"),
            ("vm_set web --balloon 128M", "take memory back; all of it again: its full size"),
            ("vm_set web --disk-bps 20M --disk-iops 500", "a quieter neighbour"),
        ],
    ),
    "vm_rename": Spec(
        _rename,
        [_VM, Arg("name", "the new name: a letter, then letters, digits, - _ .")],
        "Gives a VM another name; it may run meanwhile. Its id stays.",
        [("vm_rename vm1 web", "")],
    ),
}
