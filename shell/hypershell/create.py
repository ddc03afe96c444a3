# SPDX-License-Identifier: Apache-2.0
"""What vm_create and isle_create share: check what can be checked, then let hg-vmm decide."""

from __future__ import annotations

import os
import time

from hypershell import catalog, files, host, kernels, paths, start, status, vm
from hypershell.errors import ShellError, UsageError
from hypershell.units import MIB, human_size, parse_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable

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


def check_name(name: str, vms: list[vm.VM], what: str = "--name") -> None:
    """A name begins with a letter, so that it is never taken for an id, and is used once."""
    if not ("a" <= name[:1].lower() <= "z" and set(name) <= _NAME_CHARS):
        raise UsageError(f"{what} '{name}': begin with a letter, go on with letters, digits, - _ .")
    if len(name) > _NAME_LENGTH or name.lower() == "all":
        reason = "means every VM" if name.lower() == "all" else f"is over {_NAME_LENGTH} characters"
        raise UsageError(f"{what} '{name}' {reason}; choose another")
    for other in vms:
        if other.name == name:
            raise UsageError(f"{what} {name}: VM {other.id} has this name; choose another")


def compose_cmdline(image: str | None, read_only: bool, extra: str) -> str:
    """The guest's command line; the user's part comes last, as the kernel lets the last one win."""
    mode = "ro" if read_only else "rw"
    root = [f"root={files.root_device(image)}", mode] if image else []
    parts = ["console=hvc0", *root, "quiet", extra.strip()]
    return " ".join(part for part in parts if part)


def pick_kernel(word: str) -> files.File:
    """A kernel of kernel_list, or a file by its path (with a ``/`` in it). Raises UsageError."""
    if "/" not in word:
        return files.pick("kernel", word)
    path = os.path.abspath(word)
    try:
        return files.File("kernel", 0, path, os.stat(path))
    except OSError as error:
        raise UsageError(f"{word}: {error.strerror}") from error


def title(kernel: files.File) -> str:
    """How messages name it."""
    return f"kernel {kernel.id} ({kernel.name})" if kernel.id else kernel.path


def check_kernel(kernel: files.File) -> str:
    """Its kind. Raises UsageError when no VM can be made of it."""
    kind, version = files.kernel_kind(kernel.path)
    if kind in ("empty", "unreadable"):
        raise UsageError(f"{title(kernel)} is {kind}; copy it again")
    if kind == "program":
        raise UsageError(f"{title(kernel)} is a program {version}, no kernel")
    return kind


def check_disk(kernel: files.File, kind: str, image: str | None, initrd: str | None) -> None:
    """Has this kind of kernel what it needs, and no more than it can use? Raises UsageError."""
    if kind in kernels.HERMIT:
        if image is not None:
            raise UsageError(
                f"{title(kernel)} is a Hermit unikernel, which has no disk: leave the image out"
            )
    elif image is None and initrd is None and kind not in kernels.BARE:
        raise UsageError(f"{title(kernel)} ({kind}) needs an image, see image_list, or --initrd")


def check_image(image: files.File, read_only: bool, vms: list[vm.VM]) -> None:
    """Can it be a VM's disk now? Raises UsageError."""
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


def find_initrd(word: str) -> str:
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


def ask(args: Namespace) -> dict[str, object]:
    """vm.json's record without id, default name and network, all checked.

    Raises UsageError.
    """
    cpus, memory = parse_cpus(args.cpus), parse_memory(args.memory)
    kernel = pick_kernel(args.kernel)
    image = files.pick("image", args.image) if args.image is not None else None
    vms = vm.listed()
    if args.name is not None:
        check_name(args.name, vms)
    kind = check_kernel(kernel)
    check_disk(kernel, kind, args.image, args.initrd)
    if image is not None:
        check_image(image, args.read_only, vms)
    words = list(args.args)
    if words and kind not in kernels.HERMIT:
        raise UsageError(f"{title(kernel)} ({kind}) takes no arguments; --cmdline has its words")
    path = image.path if image else None
    return {
        "id": 0,
        "name": args.name,
        "kernel": {"id": kernel.id, "name": kernel.name, "path": kernel.path},
        "image": {"id": image.id, "name": image.name, "path": image.path} if image else None,
        "cpus": cpus,
        "memory": memory,
        "cmdline": ""
        if kind in kernels.HERMIT
        else compose_cmdline(path, args.read_only, args.cmdline),
        "initrd": find_initrd(args.initrd) if args.initrd else None,
        "arguments": words,
        "unikernel": kind in kernels.HERMIT,
        "net": "none",
        "isle": None,
        "read_only": args.read_only,
        "created": int(time.time()),
    }


def _reserve(asked: dict[str, object]) -> tuple[str, int]:
    """Take an id and make the folder: (folder, fd that marks it as starting)."""
    folder = ""
    try:
        with catalog.Lock():
            if asked["name"] is not None:
                check_name(str(asked["name"]), vm.known())
            number, folder = catalog.take_vm_id()
            asked["id"] = number
            asked["name"] = asked["name"] or _free_name(number)
            starting = vm.hold_starting(folder)
            catalog.write_json(folder + "/vm.json", asked)
            os.rename(folder, paths.vm_dir(number))
            return paths.vm_dir(number), starting
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


def launch(
    asked: dict[str, object],
    restore: str = "",
    complete: Callable[[dict[str, object]], None] | None = None,
) -> None:
    """Start the VM that ``asked`` describes, or let it go on from the snapshot ``restore``.

    Its id and name are filled in, then ``complete`` may add what follows from them. Raises
    ShellError with hg-vmm's reason, and nothing is left behind.
    """
    folder, starting = _reserve(asked)
    started = False
    try:
        if complete is not None:
            complete(asked)
            catalog.write_json(folder + "/vm.json", asked)
        code, reason = start.start(start.command(asked, folder, restore))
        started = code == 0
    finally:
        if not started:
            vm.remove_folder(folder)
            catalog.give_back_vm_id(int(str(asked["id"])))
        os.close(starting)
    if not started:
        raise failure(code, reason)
    vm.forget_starting(folder)


def failure(code: int, reason: str) -> ShellError:
    """hg-vmm's own line, and what to do when the host cannot virtualise."""
    text = reason or f"hg-vmm ended with status {code} without a word"
    advised = "group kvm" in text  # by hg-vmm itself
    if "kvm" in text.lower() and not advised and (advice := host.kvm_advice()):
        text += f"; {advice}"
    return UsageError(text) if code == 2 else ShellError(text)


def memory_note(asked: dict[str, object]) -> str:
    """A warning when the host has less free than the VM may come to use; else empty."""
    available = status.memory()[1]
    if available and int(str(asked["memory"])) > available:
        return f"note: only {human_size(available)} of the host's memory is free now"
    return ""
