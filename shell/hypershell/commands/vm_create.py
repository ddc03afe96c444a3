# SPDX-License-Identifier: Apache-2.0
"""vm_create: check what can be checked, then let hg-vmm have the last word."""

from __future__ import annotations

import contextlib
import os
import time

from hypershell import catalog, files, host, paths, start, status, vm
from hypershell.errors import ShellError, UsageError
from hypershell.spec import JSON, Arg, Context, Spec
from hypershell.table import complain, dump, say
from hypershell.units import MIB, human_size, parse_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace

MAX_CPUS = 64
MIN_MEMORY = 8 * MIB
_NAME_CHARS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
_NAME_LENGTH = 32


def parse_cpus(text: str) -> int:
    """1 to MAX_CPUS. Raises UsageError."""
    if text.isascii() and text.isdigit() and 1 <= int(text[:4]) <= MAX_CPUS:
        return int(text)
    raise UsageError(f"--cpus {text}: type a number from 1 to {MAX_CPUS}")


def parse_memory(text: str) -> int:
    """Bytes, whole MiB, within what the host has. Raises UsageError."""
    size = parse_size(text) // MIB * MIB
    total, available = status.memory()
    if size < MIN_MEMORY:
        raise UsageError(f"--memory {text}: a guest needs {human_size(MIN_MEMORY)} or more")
    if total and size > total:
        raise UsageError(
            f"--memory {text}: this host has {human_size(total)} in all, "
            f"{human_size(available)} free"
        )
    return size


def check_name(name: str, vms: list[vm.VM]) -> None:
    """A name begins with a letter, so that it is never taken for an id, and is used once."""
    if not ("a" <= name[:1].lower() <= "z" and set(name) <= _NAME_CHARS):
        raise UsageError(f"--name '{name}': begin with a letter, go on with letters, digits, - _ .")
    if len(name) > _NAME_LENGTH or name.lower() == "all":
        reason = "means every VM" if name.lower() == "all" else f"is over {_NAME_LENGTH} characters"
        raise UsageError(f"--name '{name}' {reason}; choose another")
    for other in vms:
        if other.name == name:
            raise UsageError(f"--name {name}: VM {other.id} has this name; choose another")


def compose_cmdline(image: str, read_only: bool, extra: str) -> str:
    """The guest's command line; the user's part comes last, as the kernel lets the last one win."""
    mode = "ro" if read_only else "rw"
    parts = ["console=hvc0", f"root={files.root_device(image)}", mode, "quiet", extra.strip()]
    return " ".join(part for part in parts if part)


def _check_kernel(kernel: files.File) -> None:
    kind, _ = files.kernel_kind(kernel.path)
    if kind in ("empty", "unreadable"):
        raise UsageError(f"kernel {kernel.id} ({kernel.name}) is {kind}; copy it again")


def _check_image(image: files.File, read_only: bool, vms: list[vm.VM]) -> None:
    kind = files.image_kind(image.path)
    what = f"image {image.id} ({image.name})"
    if kind in ("empty", "unreadable"):
        reason = "has zero length" if kind == "empty" else "cannot be read"
        raise UsageError(f"{what} {reason}; copy it again")
    if kind in files.NOT_RAW:
        raise UsageError(f"{what} is {kind}, not raw; 'qemu-img convert -O raw' makes it raw")
    for user in vm.users(vms, image.key, "image"):
        if user.read_only and read_only:
            continue
        if user.read_only:
            hint = "add --read-only or destroy it first"
        else:
            hint = f"vm_destroy {user.id} frees it; one VM at a time can write an image"
        raise UsageError(f"{what} is in use by {user.title}; {hint}")


def _find_initrd(word: str) -> str:
    """A file's path, or the name of a file in the folder of kernels or images."""
    tries = [word] if "/" in word else []
    tries += [f"{paths.folder(kind)}/{word}" for kind in ("kernel", "image")]
    for path in tries:
        try:
            if os.path.isfile(path) and os.path.getsize(path):
                return os.path.abspath(path)
        except OSError:
            continue
    raise UsageError(f"--initrd {word}: no such file, or an empty one; give its name or whole path")


def _net(word: str | None) -> str:
    """``bridge`` or ``none``; without a wish: bridge where br0 exists."""
    if word not in (None, "bridge", "none"):
        raise UsageError(f"--net {word}: type bridge or none")
    if word == "bridge" and not host.bridge_exists():
        told = [f"{state}: {text}" for topic, state, text in status.topics() if topic == "net"]
        raise ShellError(f"no bridge br0 on this host ({(told or ['no network'])[0]}); --net none")
    return word or ("bridge" if host.bridge_exists() else "none")


def _ask(args: Namespace) -> tuple[dict[str, object], files.File, files.File]:
    """vm.json's record without id and default name, all checked."""
    cpus, memory = parse_cpus(args.cpus), parse_memory(args.memory)
    kernel, image = files.pick("kernel", args.kernel), files.pick("image", args.image)
    vms = vm.listed()
    if args.name is not None:
        check_name(args.name, vms)
    _check_kernel(kernel)
    _check_image(image, args.read_only, vms)
    asked: dict[str, object] = {
        "id": 0,
        "name": args.name,
        "kernel": {"id": kernel.id, "name": kernel.name, "path": kernel.path},
        "image": {"id": image.id, "name": image.name, "path": image.path},
        "cpus": cpus,
        "memory": memory,
        "cmdline": compose_cmdline(image.path, args.read_only, args.cmdline),
        "initrd": _find_initrd(args.initrd) if args.initrd else None,
        "net": _net(args.net),
        "read_only": args.read_only,
        "created": int(time.time()),
    }
    return asked, kernel, image


def _reserve(asked: dict[str, object]) -> tuple[str, int]:
    """Take an id and make the folder: (folder, fd that marks it as starting)."""
    folder = ""
    try:
        with catalog.Lock():
            if asked["name"] is not None:
                check_name(str(asked["name"]), vm.known())
            number = catalog.take_vm_id()
            folder = paths.vm_dir(number)
            asked["id"] = number
            asked["name"] = asked["name"] or _free_name(number)
            starting = vm.hold_starting(folder)
            catalog.write_json(folder + "/vm.json", asked)
            return folder, starting
    except OSError as error:
        if folder:
            vm.remove_folder(folder)
        raise ShellError(f"cannot write {paths.run_dir()}: {error.strerror}") from error


def _free_name(number: int) -> str:
    taken = {one.name for one in vm.known()}
    name = f"vm{number}"
    while name in taken:
        name += "_"
    return name


def _run(args: Namespace, _: Context) -> int:
    asked, kernel, image = _ask(args)
    available = status.memory()[1]
    if available and int(str(asked["memory"])) > available:
        complain(f"vm_create: note: only {human_size(available)} of the host's memory is free now")
    folder, starting = _reserve(asked)
    started = False
    try:
        code, reason = start.start(start.command(asked, kernel.path, image.path, folder))
        started = code == 0
    finally:
        if not started:
            vm.remove_folder(folder)
            catalog.give_back_vm_id(int(str(asked["id"])))
        os.close(starting)
    if not started:
        raise _failure(code, reason)
    with contextlib.suppress(OSError):
        os.unlink(folder + "/starting")
    if args.json:
        dump(asked)
    elif args.quiet:
        say(str(asked["id"]))
    else:
        net = "" if asked["net"] != "none" or args.net == "none" else " (no br0: without a network)"
        say(
            f"VM {asked['id']} ({asked['name']}) runs{net}; vm_console {asked['id']} attaches to it"
        )
    return 0


def _failure(code: int, reason: str) -> ShellError:
    """hg-vmm's own line, and what to do when the host cannot virtualise."""
    text = reason or f"hg-vmm ended with status {code} without a word"
    if "kvm" in text.lower() and (advice := host.kvm_advice()):
        text += f"; {advice}"
    return UsageError(text) if code == 2 else ShellError(text)


SPECS = {
    "vm_create": Spec(
        _run,
        [
            Arg("kernel", "id, name or beginning of a name, see kernel_list", values="kernel"),
            Arg("image", "the same of an image, see image_list", values="image"),
            Arg(
                "--cpus",
                f"virtual CPUs, 1 to {MAX_CPUS}",
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
                "bridge (on br0) or none (default: bridge where br0 is)",
                metavar="bridge|none",
                values=("bridge", "none"),
            ),
            Arg("--read-only", "do not write the image; many VMs can read one", flag=True),
            JSON,
            Arg("--quiet", "print the new id only", short="-q", flag=True),
        ],
        """Makes a VM and starts it. The image is the guest's first disk, /dev/vda. The guest's
command line is  console=hvc0 root=/dev/vda rw quiet  (with the likeliest partition where the
image has some, ro with --read-only) and what --cmdline adds; of two that contradict, the
later wins.
A VM that cannot start says why at once and leaves nothing behind.""",
        [
            ("vm_create 1 1", "kernel 1, image 1, one CPU, 512 MiB"),
            ("vm_create vmlinux debian --cpus 2 --memory 1G --name web", "names do, too"),
            ("vm_create 1 2 --read-only --cmdline 'init=/bin/sh'", "a look around, no writes"),
        ],
    )
}
