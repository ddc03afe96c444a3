# SPDX-License-Identifier: Apache-2.0
"""What ``--json`` prints, command by command: the type and the meaning of each field.

From this one declaration come the JSON Schema that ``help COMMAND --schema`` prints, the tables of
docs/shell.md and the tests' check of what the commands print. Fields are only added: a program that
passes over what it does not know goes on working.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_DRAFT = "https://json-schema.org/draft/2020-12/schema"


class Record:
    """An object: name → (type, meaning). A name that ends in ``?`` may be absent.

    A type is another of these classes, or a word of JSON Schema, with ``|null`` where the value may
    be missing.
    """

    def __init__(self, fields: Mapping[str, tuple[Type, str]], *, nullable: bool = False) -> None:
        self.fields, self.nullable = fields, nullable

    def more(self, fields: Mapping[str, tuple[Type, str]]) -> Record:
        """This record with more fields behind it."""
        return Record({**self.fields, **fields}, nullable=self.nullable)


class Many:
    """A list of one type; ``lines`` of them, one a line as it comes, for what never ends."""

    def __init__(self, of: Type, *, lines: bool = False) -> None:
        self.of, self.lines = of, lines


class Table:
    """An object whose keys are data, all with values of one type."""

    def __init__(self, of: Type, *, nullable: bool = False) -> None:
        self.of, self.nullable = of, nullable


Type = Record | Many | Table | str

_ID = ("integer", "its id")
_NAME = ("string", "its name")
_FILE = Record(
    {
        "id?": ("integer", "its id in the list"),
        "name?": ("string", "the file's name"),
        "path?": ("string", "the file"),
    }
)
_IMAGE = Record(
    {**_FILE.fields, "overlay?": ("string", "the file that is written in its place")},
    nullable=True,
)
_ISLE = Record(
    {
        "number": ("integer", "the isle's number"),
        "cpus": ("string", "the host's CPUs, such as 2,3"),
        "address": ("string|null", "its address; null without a network"),
    },
    nullable=True,
)

_ASKED = Record(
    {
        "id": _ID,
        "name": _NAME,
        "kernel": (_FILE, "the kernel"),
        "image": (_IMAGE, "the disk; null without one"),
        "cpus": ("integer", "virtual CPUs"),
        "memory": ("integer", "bytes"),
        "cmdline": ("string", "the guest's command line"),
        "initrd": ("string|null", "the initrd's path"),
        "arguments": (Many("string"), "a unikernel's arguments"),
        "unikernel": ("boolean", "is the kernel started like a program?"),
        "net": ("string", "bridge, passt or none"),
        "isle": (_ISLE, "of an isle: its place; else null"),
        "read_only": ("boolean", "is the image only read?"),
        "created": ("integer", "when it was made, seconds since 1970"),
        "vmm?": (Many("string"), "more options for hg-vmm"),
    }
)

_VM = Record(
    {
        "id": _ID,
        "name": _NAME,
        "state": ("string", "running, paused, starting, panicked, stopped, crashed, unresponsive"),
        "reason": ("string", "why it stopped; may be empty"),
        "kernel": (_FILE, "the kernel; empty when its record is damaged"),
        "image": (_IMAGE, "the disk; null without one"),
        "cpus": ("integer", "virtual CPUs"),
        "memory": ("integer", "bytes"),
        "read_only": ("boolean", "is the image only read?"),
        "cmdline": ("string|null", "the guest's command line"),
        "initrd": ("string|null", "the initrd's path"),
        "net": ("string|null", "bridge, passt or none"),
        "created": ("integer", "when it was made, seconds since 1970"),
        "uptime": ("number|null", "seconds it has run; null when it does not"),
        "arguments?": (Many("string"), "a unikernel's arguments"),
        "isle?": (_ISLE, "of an isle: its place"),
    }
)

_USED: dict[str, tuple[Type, str]] = {
    "pid": ("integer|null", "hg-vmm's process; null when there is none"),
    "cpu_seconds": ("number", "CPU time, guest and VMM"),
    "resident": ("integer", "bytes of the host's memory in use"),
    "exits": (Table("integer"), "exits from the guest, by KVM's reason"),
    "resets": ("integer", "resets of the machine"),
    "disk_read": ("integer", "bytes"),
    "disk_written": ("integer", "bytes"),
    "net_received": ("integer", "bytes"),
    "net_sent": ("integer", "bytes"),
    "devices": (Many(Table("integer|string|boolean|null")), "hg-vmm's counters of each device"),
}

_RATES = Record(
    {
        "id": _ID,
        "name": _NAME,
        "state": ("string", "as in vm_list"),
        "cpu_percent": ("number", "of one CPU"),
        "resident": ("integer", "bytes of the host's memory in use"),
        "exits_per_second": ("number", "exits from the guest"),
        "disk_read_per_second": ("integer", "bytes"),
        "disk_written_per_second": ("integer", "bytes"),
        "net_received_per_second": ("integer", "bytes"),
        "net_sent_per_second": ("integer", "bytes"),
    }
)

_LISTED: dict[str, tuple[Type, str]] = {
    "id": _ID,
    "name": ("string", "the file's name"),
    "path": ("string", "the file"),
    "size": ("integer", "bytes"),
    "allocated": ("integer", "bytes that it takes on the disk"),
}

_DEFINITION = Table("string|boolean", nullable=True)

_NET = Record(
    {
        "name": _NAME,
        "kind": ("string", "card, bridge, tap, virtual or loopback"),
        "state": ("string", "up, down or unknown"),
        "mac": ("string", "hardware address"),
        "mtu": ("integer", "bytes of the largest packet"),
        "addresses": (Many("string"), "IPv4 and IPv6"),
        "bridge": ("string|null", "the bridge that it is in"),
        "ports": (Many("string"), "of a bridge: what is in it"),
        "received": ("integer", "bytes"),
        "sent": ("integer", "bytes"),
        "vm": ("integer|null", "id of the VM behind it"),
    }
)

SCHEMAS: dict[str, Record | Many] = {
    "vm_create": _ASKED,
    "vm_list": Many(_VM),
    "vm_info": _VM.more({"folder": ("string", "its run-time folder"), **_USED}),
    "vm_events": Many(
        Record(
            {
                "time": ("integer", "seconds since 1970"),
                "id": ("integer", "the VM's id"),
                "name": ("string", "the VM's name"),
                "event": ("string", "QMP's name of the event, such as SHUTDOWN"),
                "data": (Table("any"), "QMP's data of that event"),
            }
        ),
        lines=True,
    ),
    "vm_stats": Many(
        Record({"id": _ID, "name": _NAME, "state": ("string", "as in vm_list"), **_USED})
    ),
    "vm_top": Many(_RATES),
    "snapshot_list": Many(
        Record(
            {
                "name": _NAME,
                "of": ("string", "the VM that was saved"),
                "created": ("integer", "seconds since 1970"),
                "size": ("integer", "bytes that it takes"),
                "memory": ("integer|null", "the guest's, in bytes"),
                "used_by": (Many("integer"), "ids of the VMs made from it"),
            }
        )
    ),
    "definition_list": Many(
        Record(
            {
                "name": _NAME,
                "vm": ("integer|null", "id of the VM of that name"),
                "state": ("string|null", "that VM's state"),
                "definition": (_DEFINITION, "what vm_define was told, by option; null if damaged"),
                "problem": ("string|null", "why it cannot be read"),
            }
        )
    ),
    "definition_show": Record(
        {
            "name": _NAME,
            "kernel": ("string", "as vm_define was told"),
            "*": ("string|boolean", "more options of vm_create, without dashes; autostart"),
        }
    ),
    "isle_create": _ASKED,
    "isle_list": Many(
        Record(
            {
                "isle": ("integer", "its number"),
                "cpus": ("string", "the host's CPUs, such as 2-3"),
                "address": ("string|null", "its address; null without a network"),
                "path": ("string", "the kernel's file"),
                "log": ("string", "what it has printed"),
                "vm": (
                    Record(
                        {"id": ("integer", "the VM's id"), "name": ("string", "the VM's name")},
                        nullable=True,
                    ),
                    "the VM; null when HERMIT_ISLE started it",
                ),
                "state": ("string", "as in vm_list"),
                "memory": ("integer|null", "bytes"),
                "uptime": ("number|null", "seconds it has run"),
            }
        )
    ),
    "kernel_list": Many(
        Record(
            {
                **_LISTED,
                "kind": ("string", "vmlinux, bzImage, hermit and so on"),
                "version": ("string|null", "as the file says"),
                "used_by": (Many(Record({"id": _ID, "name": _NAME})), "VMs that run it"),
            }
        )
    ),
    "kernel_info": Record(
        {
            "id": _ID,
            "name": ("string", "the file's name"),
            "path": ("string", "the file"),
            "size": ("integer", "bytes"),
            "kind": ("string", "vmlinux, bzImage, hermit and so on"),
            "version": ("string|null", "as the file says"),
            "protocol": ("string", "how hg-vmm enters it"),
            "used_by": (Many("string"), "VMs that run it, as messages name them"),
        }
    ),
    "image_list": Many(
        Record(
            {
                **_LISTED,
                "holds": ("string", "a file system, gpt, mbr, raw, empty"),
                "used_by": (
                    Many(
                        Record(
                            {
                                "id": _ID,
                                "name": _NAME,
                                "read_only": ("boolean", "does the VM only read it?"),
                            }
                        )
                    ),
                    "VMs that have it",
                ),
            }
        )
    ),
    "image_verify": Record(
        {
            "id": _ID,
            "name": ("string", "the file's name"),
            "size": ("integer", "bytes"),
            "holds": ("string", "a file system, gpt, mbr, raw, empty"),
            "sha256": ("string|null", "of the whole file; null with --quick"),
            "problems": (Many("string"), "what is wrong with it; empty: nothing seen"),
        }
    ),
    "net_list": Many(_NET),
    "net_info": _NET,
    "host_info": Record(
        {
            "version": ("string", "of hyper-gen"),
            "kernel": ("string", "Linux's version"),
            "hostname": ("string", "the host's name"),
            "cpu": ("string", "its model"),
            "cpus": ("integer", "how many"),
            "virtualisation": ("string", "svm, vmx or none"),
            "kvm": ("boolean", "is /dev/kvm there?"),
            "memory_total": ("integer", "bytes"),
            "memory_available": ("integer", "bytes"),
            "uptime": ("integer", "seconds"),
            "kernels": ("string", "folder of the guest kernels"),
            "images": ("string", "folder of the images"),
            "bridge": ("array|null", "addresses of br0; null without it"),
            "status": (
                Many(
                    Record(
                        {
                            "topic": ("string", "root, net, ssh and so on"),
                            "state": ("string", "ok, waiting, none or failed"),
                            "message": ("string", "for people"),
                        }
                    )
                ),
                "what came of the host's start",
            ),
            "vms": (Table("integer"), "how many VMs are in which state"),
        }
    ),
    "host_top": Record(
        {
            "cpu_percent": (Many("number"), "of each CPU"),
            "memory_total": ("integer", "bytes"),
            "memory_available": ("integer", "bytes"),
            "vms": (Many(_RATES), "as vm_top has them"),
        }
    ),
    "host_net": Record(
        {
            "hostname": ("string", "the host's name"),
            "addresses": (Table(Many("string")), "by interface"),
            "routes": (
                Many(
                    Record(
                        {
                            "to": ("string", "network, or default"),
                            "via": ("string|null", "the gateway"),
                            "interface": ("string", "where it leaves"),
                        }
                    )
                ),
                "IPv4",
            ),
            "name_servers": (Many("string"), "addresses"),
        }
    ),
    "host_web": Record(
        {
            "state": ("string", "on or off"),
            "urls": (Many("string"), "where the page is"),
            "token": ("string|null", "what lets in"),
            "fingerprint": ("string|null", "SHA-256 of the certificate; null without TLS"),
            "socket": ("string|null", "the Unix socket that the server listens on"),
        }
    ),
    "host_ssh": Record(
        {
            "state": ("string", "ok when the server listens; none, waiting or failed"),
            "message": ("string", "port and the host key's fingerprint, or why not"),
            "keys": (
                Many(
                    Record(
                        {
                            "type": ("string", "such as ssh-ed25519"),
                            "fingerprint": ("string", "SHA256:…, as ssh-keygen -l prints it"),
                            "name": ("string", "the key's comment"),
                            "from": ("string", "host_ssh, or kernel command line"),
                        }
                    )
                ),
                "who is let in",
            ),
        }
    ),
    "version": Record(
        {
            "hypershell": ("string", "this shell's version"),
            "hg-vmm": ("string|null", "the VMM's; null when it is not found"),
            "linux": ("string", "the running kernel's"),
        }
    ),
}


def schema(command: str, *, strict: bool = False) -> dict[str, object]:
    """The JSON Schema of what ``command --json`` prints; ``strict`` allows no other fields.

    Of what comes one a line it is the schema of a line.
    """
    kind = SCHEMAS[command]
    told = kind.of if isinstance(kind, Many) and kind.lines else kind
    return {"$schema": _DRAFT, "title": f"{command} --json", **_render(told, strict)}


def _render(kind: Type, strict: bool) -> dict[str, object]:
    if isinstance(kind, str):
        words = kind.split("|")
        return {} if kind == "any" else {"type": words if len(words) > 1 else kind}
    if isinstance(kind, Many):
        return {"type": "array", "items": _render(kind.of, strict)}
    if isinstance(kind, Table):
        word: object = ["object", "null"] if kind.nullable else "object"
        return {"type": word, "additionalProperties": _render(kind.of, strict)}
    fields = {name: told for name, told in kind.fields.items() if name != "*"}
    rest: object = not strict
    if "*" in kind.fields:
        rest = _render(kind.fields["*"][0], strict)
    return {
        "type": ["object", "null"] if kind.nullable else "object",
        "properties": {
            name.rstrip("?"): _render(told, strict) | {"description": meaning}
            for name, (told, meaning) in fields.items()
        },
        "required": [name for name in fields if not name.endswith("?")],
        "additionalProperties": rest,
    }
