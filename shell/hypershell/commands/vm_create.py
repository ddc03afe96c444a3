# SPDX-License-Identifier: Apache-2.0
"""vm_create."""

from __future__ import annotations

import os
import shlex
import shutil

from hypershell import create, host, paths, status
from hypershell.errors import ShellError, UsageError
from hypershell.spec import JSON, Arg, Context, Spec
from hypershell.table import complain, dump, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace


def _net(word: str | None, unikernel: bool) -> str:
    """``bridge``, ``passt`` or ``none``.

    Without a wish: bridge where br0 exists, for who can use it; else passt, which needs no right,
    on a Linux that is not a hyper-gen host.
    """
    if word not in (None, "bridge", "passt", "none"):
        raise UsageError(f"--net {word}: type bridge, passt or none")
    if word == "bridge" and not host.bridge_exists():
        told = [f"{state}: {text}" for topic, state, text in status.topics() if topic == "net"]
        raise ShellError(f"no bridge br0 on this host ({(told or ['no network'])[0]}); --net none")
    if word == "passt" and shutil.which("passt") is None:
        raise ShellError("--net passt: no program passt on this host; --net none")
    if word or unikernel:
        return word or "none"
    if host.bridge_exists() and os.geteuid() == 0:
        return "bridge"
    return "passt" if not paths.on_host() and shutil.which("passt") else "none"


def _words(option: str, text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UsageError(f"{option} {text}: {str(error).lower()}") from error


def check(args: Namespace) -> dict[str, object]:
    """vm.json's record of what was asked for, without id. Raises UsageError, ShellError."""
    args.args, more = _words("--args", args.args), _words("--vmm", args.vmm)
    asked = create.ask(args)
    asked["vmm"] = more
    asked["net"] = _net(args.net, asked["unikernel"] is True)
    return asked


def make(args: Namespace) -> dict[str, object]:
    """Make and start a VM; its record, with its id. Raises ShellError."""
    asked = check(args)
    if note := create.memory_note(asked):
        complain(f"vm_create: {note}")
    create.launch(asked)
    return asked


def _run(args: Namespace, _: Context) -> int:
    asked = make(args)
    if args.json:
        dump(asked)
    elif args.quiet:
        say(str(asked["id"]))
    else:
        wanted = asked["net"] == "none" and args.net != "none" and not asked["unikernel"]
        net = " (no br0: without a network)" if wanted else ""
        say(
            f"VM {asked['id']} ({asked['name']}) runs{net}; vm_console {asked['id']} attaches to it"
        )
    return 0


SPECS = {
    "vm_create": Spec(
        _run,
        [
            Arg("kernel", "id, name or beginning of a name, see kernel_list", values="kernel"),
            Arg(
                "image",
                "the same of an image, see image_list; not for unikernels",
                values="image",
                many="?",
            ),
            Arg(
                "--cpus",
                f"virtual CPUs, 1 to {create.MAX_CPUS}",
                metavar="N",
                default="1",
                values=("1", "2", "4", "8"),
            ),
            Arg(
                "--memory",
                "with K, M or G; a bare number is MiB",
                metavar="SIZE",
                default="512M",
                values=("128M", "256M", "512M", "1G", "2G", "4G"),
            ),
            Arg("--args", "a unikernel's arguments", metavar="TEXT", default=""),
            Arg("--cmdline", "added to the guest's command line", metavar="TEXT", default=""),
            Arg(
                "--initrd",
                "initial RAM disk: a path or a file beside the kernels",
                metavar="FILE",
                values="initrd",
            ),
            Arg("--name", "a name of your own (default: vm and the id)"),
            Arg(
                "--net",
                "bridge (on br0), passt or none (default: bridge where br0 is)",
                metavar="bridge|passt|none",
                values=("bridge", "passt", "none"),
            ),
            Arg(
                "--vmm", "more options for hg-vmm, see 'hg-vmm --help'", metavar="TEXT", default=""
            ),
            Arg("--read-only", "do not write the image; many VMs can read one", flag=True),
            JSON,
            Arg("--quiet", "print the new id only", short="-q", flag=True),
        ],
        """Makes a VM and starts it. The image is the guest's first disk, /dev/vda. The guest's
command line is  console=hvc0 root=/dev/vda rw quiet  (with the likeliest partition where the
image has some, ro with --read-only) and what --cmdline adds; of two that contradict, the
later wins.
A Hermit or HermitCore unikernel has no disk and takes no image, but --args; multiboot and PVH
kernels do without an image or have it as a disk, if their kind knows virtio.
A VM that cannot start says why at once and leaves nothing behind.""",
        [
            ("vm_create 1 1", "kernel 1, image 1, one CPU, 512 MiB"),
            ("vm_create vmlinux debian --cpus 2 --memory 1G --name web", "names do, too"),
            ("vm_create hello --args 'one two'", "a unikernel with two arguments"),
            ("vm_create 1 1 --vmm '--balloon --share data=/srv'", "what the VMM can do besides"),
            ("vm_create 1 2 --read-only --cmdline 'init=/bin/sh'", "a look around, no writes"),
        ],
    )
}
