# SPDX-License-Identifier: Apache-2.0
"""isle_create, isle_list and isle_destroy."""

from __future__ import annotations

from hypershell import create, isles, lifecycle
from hypershell.choose import each
from hypershell.destroy import Ending
from hypershell.errors import ShellError, UsageError
from hypershell.spec import JSON, LISTING, Arg, Context, Spec
from hypershell.table import Listing, complain, dump, say, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace

_HEADER = ("ISLE", "CPUS", "ADDRESS", "IMAGE", "VM", "STATE", "UPTIME")


def _place(args: Namespace) -> dict[str, object]:
    """vm.json's ``isle``; whether CPUs and number are free is hg-vmm's to say."""
    if args.cpus is None:
        raise UsageError("--cpus is missing: type the isle's CPUs, such as --cpus 2-3")
    cpus = isles.parse_cpus(args.cpus)
    if len(cpus) > create.MAX_CPUS:
        raise UsageError(f"--cpus {args.cpus}: an isle has at most {create.MAX_CPUS} CPUs")
    if args.net not in ("isles", "none"):
        raise UsageError(f"--net {args.net}: type isles or none")
    known = isles.known()
    number = isles.free_number(known) if args.isle is None else isles.parse_number(args.isle)
    address = isles.address(number) if args.net == "isles" else None
    args.cpus = str(len(cpus))
    return {"number": number, "cpus": ",".join(map(str, cpus)), "address": address}


def _create(args: Namespace, _: Context) -> int:
    place = _place(args)
    asked = create.ask(args)
    asked["isle"] = place
    if place["address"] and not asked["unikernel"]:
        # Linux: Documentation/admin-guide/nfs/nfsroot.rst; initrds of distributions know it, too.
        told = f"ip={place['address']}::{isles.GATEWAY}:255.255.255.0::eth0:off"
        asked["cmdline"] = f"{told} {asked['cmdline']}"
    if note := create.memory_note(asked):
        complain(f"isle_create: {note}")
    create.launch(asked)
    if args.json:
        dump(asked)
    elif args.quiet:
        say(str(place["number"]))
    else:
        where = f" at {place['address']}" if place["address"] else ""
        say(
            f"isle {place['number']} ({asked['name']}) runs on CPUs {place['cpus']}{where}; "
            f"vm_console {asked['id']} attaches to it"
        )
    return 0


def _list(args: Namespace, _: Context) -> int:
    found = isles.known()
    isles.refresh(found)
    rows, records = [one.row() for one in found], [one.record() for one in found]
    nothing = "There are no isles; 'help isle_create' shows how to make one."
    show(Listing(_HEADER, rows, records, right=frozenset({0, 6}), nothing=nothing), args)
    return 0


def _end(one: isles.Isle) -> None:
    """Raises ShellError when it lives on."""
    if one.vm is None:
        if not one.end():
            raise ShellError(f"isle {one.number}: its process does not end")
        return
    ending = Ending(one.vm.folder)
    ending.begin()
    if not ending.finish() or not one.vanish(5.0):
        raise ShellError(f"isle {one.number}: its process does not end; see {one.vm.folder}")
    lifecycle.forget(one.vm, Ending(one.vm.folder))


def _destroy(args: Namespace, _: Context) -> int:
    found = {one.number: one for one in isles.known()}
    every = "all" in args.isle
    numbers = sorted(found) if every else [isles.parse_number(word) for word in args.isle]
    if every and not found:
        say("There are no isles.")

    def act(number: int) -> str:
        if number not in found:
            return f"isle {number} is not there"
        _end(found[number])
        return f"isle {number} destroyed; CPUs {found[number].cpus} are the host's again"

    return each("isle_destroy", dict.fromkeys(numbers), act)


SPECS = {
    "isle_create": Spec(
        _create,
        [
            Arg("kernel", "of kernel_list, or a file's path with a / in it", values="kernel"),
            Arg("args", "a unikernel's arguments; after -- also those with dashes", many="*"),
            Arg("--cpus", "host CPUs that become the isle's: 2-3, 2,4", metavar="RANGE"),
            Arg(
                "--memory",
                "with K, M or G; a bare number is MiB",
                metavar="SIZE",
                default="512M",
                values=("128M", "256M", "512M", "1G", "2G", "4G"),
            ),
            Arg("--isle", "its number, 0 to 251 (default: the lowest free one)", metavar="N"),
            Arg(
                "--net",
                "isles (192.168.28.0/24) or none",
                metavar="isles|none",
                default="isles",
                values=("isles", "none"),
            ),
            Arg("--image", "a disk, see image_list; not for Hermit", values="image"),
            Arg("--read-only", "do not write the image", flag=True),
            Arg("--initrd", "initial RAM disk of a Linux guest", metavar="FILE", values="initrd"),
            Arg("--cmdline", "added to a Linux guest's command line", metavar="TEXT", default=""),
            Arg("--name", "a name of your own (default: vm and the id)"),
            JSON,
            Arg("--quiet", "print the isle's number only", short="-q", flag=True),
        ],
        """Makes a VM on CPUs of its own: the host runs nothing else there, keeps its movable
interrupts away, and HLT, MWAIT and PAUSE do not leave the guest. Each vCPU has one CPU. All
memory is there from the start, in huge pages where there are some, near the first CPU.
Isle n has the address 192.168.28.(n+2) on a bridge of all isles; the host is 192.168.28.1.
One CPU always stays with the host. /run/hypergen/isle/n has the files path, cpus and log.
It is a VM like others: vm_list shows it and vm_console attaches to it. When its guest ends,
the isle is gone, and the VM is listed as stopped.""",
        [
            ("isle_create hello --cpus 2-3", "a unikernel on two CPUs"),
            ("isle_create /host/srv/app --cpus 1 -- --port 80", "a file, with arguments"),
            ("isle_create vmlinux --image debian --cpus 2-3 --memory 1G", "Linux"),
        ],
    ),
    "isle_list": Spec(
        _list,
        [*LISTING],
        """The isles that live, with those that were started by HERMIT_ISLE=n from a command line;
those have no VM id. CPUs of isles whose process was killed are given back first.""",
        [("isle_list", "a table for people"), ("isle_list --json", "the same for programs")],
    ),
    "isle_destroy": Spec(
        _destroy,
        [Arg("isle", "numbers; 'all' for every isle", values="isle", many="+")],
        """Ends the VMs of isles at once, as pulling the plug does; their CPUs are the host's
again.""",
        [("isle_destroy 1", "one isle"), ("isle_destroy all", "every isle")],
    ),
}
