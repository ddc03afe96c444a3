# SPDX-License-Identifier: Apache-2.0
"""net_list, net_info and host_net: interfaces, bridges and taps as the kernel has them."""

from __future__ import annotations

import os
import socket
import struct

from hypershell import figures, host, vm
from hypershell.errors import UsageError
from hypershell.spec import JSON, LISTING, Arg, Context, Spec
from hypershell.table import Listing, dump, pairs, say, show
from hypershell.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace

_SYS = "/sys/class/net"


def _read(name: str, key: str) -> str:
    try:
        with open(f"{_SYS}/{name}/{key}", encoding="ascii", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def _kind(name: str) -> str:
    if os.path.isdir(f"{_SYS}/{name}/bridge"):
        return "bridge"
    if os.path.exists(f"{_SYS}/{name}/tun_flags"):
        return "tap"
    if _read(name, "type") == "772":  # ARPHRD_LOOPBACK
        return "loopback"
    return "card" if os.path.exists(f"{_SYS}/{name}/device") else "virtual"


def _user(name: str, vms: list[vm.VM]) -> vm.VM | None:
    """The VM that a tap of ours belongs to: hgID."""
    number = name.removeprefix("hg")
    return next((one for one in vms if name == f"hg{one.id}" and number.isdigit()), None)


def _record(name: str, vms: list[vm.VM]) -> dict[str, object]:
    received, sent = figures.interface(name)
    user = _user(name, vms)
    master = f"{_SYS}/{name}/master"
    ports = f"{_SYS}/{name}/brif"
    return {
        "name": name,
        "kind": _kind(name),
        "state": _read(name, "operstate") or "unknown",
        "mac": _read(name, "address") or None,
        "mtu": int(_read(name, "mtu") or 0),
        "addresses": host.addresses(name),
        "bridge": os.path.basename(os.readlink(master)) if os.path.islink(master) else None,
        "ports": sorted(os.listdir(ports)) if os.path.isdir(ports) else [],
        "received": received,
        "sent": sent,
        "vm": user.id if user else None,
    }


def _names() -> list[str]:
    try:
        return sorted(os.listdir(_SYS))
    except OSError:
        return []


def _list(args: Namespace, _: Context) -> int:
    vms = vm.known()
    records = [_record(name, vms) for name in _names() if _kind(name) != "loopback"]
    rows = []
    for one in records:
        addresses = one["addresses"]
        rows.append(
            [
                str(one["name"]),
                str(one["kind"]),
                str(one["state"]),
                str(one["bridge"] or "-"),
                ", ".join(addresses) if isinstance(addresses, list) and addresses else "-",
                f"VM {one['vm']}" if one["vm"] else "-",
            ]
        )
    header = ("NAME", "KIND", "STATE", "BRIDGE", "ADDRESSES", "USED BY")
    show(Listing(header, rows, records, nothing="This host has no network interfaces."), args)
    return 0


def _info(args: Namespace, _: Context) -> int:
    names = _names()
    if args.net not in names:
        raise UsageError(f"unknown network '{args.net}'; there are {', '.join(names) or 'none'}")
    record = _record(args.net, vm.known())
    if args.json:
        dump(record)
        return 0
    for key in ("received", "sent"):
        record[key] = human_size(figures.as_number(record[key]))
    say(pairs([(key, _shown(value)) for key, value in record.items()]))
    return 0


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    return "-" if value is None else str(value)


def _routes() -> list[dict[str, object]]:
    """/proc/net/route: interface, destination and gateway in host byte order, flags, …, mask."""
    found: list[dict[str, object]] = []
    try:
        with open("/proc/net/route", encoding="ascii") as file:
            lines = [line.split() for line in file][1:]
    except OSError:
        return []
    for fields in lines:
        if len(fields) < 8:
            continue
        to, via, mask = (
            socket.inet_ntoa(struct.pack("=I", int(fields[at], 16))) for at in (1, 2, 7)
        )
        prefix = int(fields[7], 16).bit_count()
        found.append(
            {
                "to": "default" if mask == "0.0.0.0" else f"{to}/{prefix}",
                "via": None if via == "0.0.0.0" else via,
                "interface": fields[0],
            }
        )
    return found


def _name_servers() -> list[str]:
    try:
        with open("/etc/resolv.conf", encoding="utf-8", errors="replace") as file:
            words = [line.split() for line in file]
    except OSError:
        return []
    return [line[1] for line in words if len(line) > 1 and line[0] == "nameserver"]


def _host_net(args: Namespace, _: Context) -> int:
    record = {
        "hostname": os.uname().nodename,
        "addresses": {name: host.addresses(name) for name in _names()},
        "routes": _routes(),
        "name_servers": _name_servers(),
    }
    if args.json:
        dump(record)
        return 0
    rows = [("hostname", os.uname().nodename)]
    rows += [(name, ", ".join(host.addresses(name)) or "no address") for name in _names()]
    for route in _routes():
        via = f"via {route['via']} " if route["via"] else ""
        rows.append(("route", f"{route['to']} {via}on {route['interface']}"))
    rows.append(("name servers", ", ".join(_name_servers()) or "none"))
    say(pairs(rows))
    return 0


SPECS = {
    "net_list": Spec(
        _list,
        [*LISTING],
        """The host's network interfaces: cards, bridges, and the tap of each VM that has a network
(hg and its id).""",
        [("net_list", "")],
    ),
    "net_info": Spec(
        _info,
        [Arg("net", "an interface, see net_list", values="net"), JSON],
        "Everything about one interface: its addresses, its bridge or ports, what it carried.",
        [("net_info br0", "which VMs are on the bridge")],
    ),
    "host_net": Spec(
        _host_net,
        [JSON],
        "The host's own addresses, routes and name servers.",
        [("host_net", "")],
    ),
}
