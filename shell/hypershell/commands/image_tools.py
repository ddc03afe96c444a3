# SPDX-License-Identifier: Apache-2.0
"""image_create, image_clone, image_resize, image_rm, image_verify; kernel_rm and kernel_info."""

from __future__ import annotations

import os

from hypershell import files, lifecycle, probe, storage, vm
from hypershell.choose import each
from hypershell.errors import ShellError, UsageError
from hypershell.progress import Line
from hypershell.spec import JSON, Arg, Context, Spec
from hypershell.table import complain, dump, pairs, say
from hypershell.units import human_size, parse_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace

_SECTOR = 512
_LARGEST = 1 << 46  # bytes, 64 TiB: what a guest's disk can have


def _size(text: str, option: str) -> int:
    """Whole sectors. Raises UsageError."""
    size = parse_size(text)
    if not _SECTOR <= size <= _LARGEST or size % _SECTOR:
        raise UsageError(f"{option} {text}: from 512 bytes to 64T, in steps of 512 bytes")
    return size


def _create(args: Namespace, _: Context) -> int:
    size = _size(args.size, "size")
    with storage.NewFile("image", args.name) as new:
        try:
            os.ftruncate(new.fd, size)
        except OSError as error:
            raise ShellError(f"{human_size(size)} is too large here: {error.strerror}") from error
        new.keep()
    say(f"image {args.name} made: {human_size(size)}, empty; it grows as it is written")
    return 0


def _clone(args: Namespace, _: Context) -> int:
    source = files.pick("image", args.image)
    writers = [one for one in vm.users(vm.listed(), source.key, "image") if not one.read_only]
    for one in writers:
        if one.state != "paused" and not args.force:
            raise UsageError(
                f"{source.name} is being written by {one.title}; vm_pause or vm_stop it first, or "
                "add --force for what a power cut would leave"
            )
    fd = os.open(source.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with storage.NewFile("image", args.name) as new:
            size = storage.copy(fd, new.fd, f"cloning {source.name}")
            new.keep()
    finally:
        os.close(fd)
    say(f"image {args.name} is a copy of {source.name} ({human_size(size)})")
    return 0


def _resize(args: Namespace, _: Context) -> int:
    image = files.pick("image", args.image)
    size = _size(args.size, "size")
    now = image.size
    if size == now:
        say(f"image {image.name} has {human_size(size)} already")
        return 0
    users = vm.users(vm.listed(), image.key, "image")
    if size < now:
        if users:
            raise UsageError(f"{image.name} is in use by {users[0].title}; stop it to make it less")
        if not args.shrink:
            raise UsageError(
                f"{image.name} has {human_size(now)}; cutting it loses what lies behind "
                f"{human_size(size)}: add --shrink when that is meant"
            )
    os.truncate(image.path, size)
    for one in users:
        lifecycle.tell(one, "block_resize", {"device": "disk0", "size": size})
    told = f"; {', '.join(one.title for one in users)} knows" if users else ""
    say(f"image {image.name}: {human_size(now)} -> {human_size(size)}{told}")
    return 0


def _rm(kind: str, args: Namespace) -> int:
    def act(word: str) -> str:
        file = files.pick(kind, word)
        # A kernel is read once, at a VM's start; an image is held as long as the VM runs.
        if kind == "image" and (users := storage.users_of(file)):
            raise UsageError(f"{file.name} is in use by {', '.join(users)}; vm_stop comes first")
        os.unlink(file.path)
        return f"{kind} {file.name} removed"

    return each(f"{kind}_rm", args.file, act)


def _verify(args: Namespace, _: Context) -> int:
    image = files.pick("image", args.image)
    problems = _structure(image)
    digest = ""
    if not args.quick:
        digest = _digest(image)
        if args.sha256 and args.sha256.lower() != digest:
            problems.append(f"its SHA-256 is {digest}, not {args.sha256.lower()}")
    record = {
        "id": image.id,
        "name": image.name,
        "size": image.size,
        "holds": files.image_kind(image.path),
        "sha256": digest or None,
        "problems": problems,
    }
    if args.json:
        dump(record)
    else:
        rows = [(key, str(value)) for key, value in record.items() if key != "problems" and value]
        say(pairs(rows))
        for problem in problems:
            complain(f"image_verify: {image.name}: {problem}")
        if not problems:
            say("nothing wrong with it is seen from outside")
    return 1 if problems else 0


def _structure(image: files.File) -> list[str]:
    """What is wrong with an image as far as its first bytes tell."""
    kind = files.image_kind(image.path)
    problems = []
    if kind in ("empty", "unreadable"):
        return [f"it is {kind}"]
    if kind in files.NOT_RAW:
        problems.append(f"it is {kind}, not raw; image_import makes a raw one of it")
    if image.size % _SECTOR:
        problems.append(f"its size, {image.size} bytes, is not a multiple of 512")
    problems += probe.past_the_end(image.path, image.size)
    return problems


def _digest(image: files.File) -> str:
    """SHA-256 of the whole image; every byte is read, so that a bad sector shows."""
    import hashlib

    result = hashlib.sha256()
    line = Line()
    done = 0
    try:
        with open(image.path, "rb", buffering=0) as file:
            while chunk := file.read(1 << 20):
                result.update(chunk)
                done += len(chunk)
                line.bar(f"reading {image.name}", done, image.size)
    except OSError as error:
        raise ShellError(f"{image.name}: byte {done} cannot be read: {error.strerror}") from error
    finally:
        line.clear()
    return result.hexdigest()


def _image_rm(args: Namespace, _: Context) -> int:
    return _rm("image", args)


def _kernel_rm(args: Namespace, _: Context) -> int:
    return _rm("kernel", args)


def _kernel_info(args: Namespace, _: Context) -> int:
    file = files.pick("kernel", args.kernel)
    kind, version = files.kernel_kind(file.path)
    record: dict[str, object] = {
        "id": file.id,
        "name": file.name,
        "path": file.path,
        "size": file.size,
        "kind": kind,
        "version": version or None,
        "protocol": probe.boot_protocol(file.path),
        "used_by": (users := storage.users_of(file)),
    }
    if args.json:
        dump(record)
        return 0
    shown = record | {
        "size": human_size(file.size),
        "used_by": ", ".join(users) or "-",
        "version": version or "-",
    }
    say(pairs([(key.replace("_", " "), str(value)) for key, value in shown.items()]))
    return 0


_IMAGE = Arg("image", "id, name or beginning of a name, see image_list", values="image")

SPECS = {
    "image_create": Spec(
        _create,
        [
            Arg("name", "of the new file"),
            Arg("size", "with K, M, G or T; a bare number is MiB"),
        ],
        """Makes an empty raw image. It takes room on the disk only as it is written.""",
        [("image_create data.img 20G", "a second disk, or one to install onto")],
    ),
    "image_clone": Spec(
        _clone,
        [
            _IMAGE,
            Arg("name", "of the copy"),
            Arg("--force", "also while a VM writes it", flag=True),
        ],
        """Copies an image. On file systems that can (xfs, btrfs) the copy shares the blocks and is
there at once; else holes stay holes.""",
        [("image_clone debian.img web.img", "a disk of its own for another VM")],
    ),
    "image_resize": Spec(
        _resize,
        [
            _IMAGE,
            Arg("size", "the new size, with K, M, G or T; a bare number is MiB"),
            Arg("--shrink", "cut it, and lose what lies behind", flag=True),
        ],
        """Makes an image larger; a VM that runs on it is told at once. Its partitions and file
systems are the guest's to grow. Making it smaller needs --shrink and no VM.""",
        [("image_resize debian.img 8G", "then, in the guest: resize2fs /dev/vda")],
    ),
    "image_rm": Spec(
        _image_rm,
        [Arg("file", "ids or names", metavar="image", values="image", many="+")],
        "Removes images that no VM uses. There is no way back.",
        [("image_rm old.img", "")],
    ),
    "image_verify": Spec(
        _verify,
        [
            _IMAGE,
            Arg("--sha256", "what its SHA-256 should be", metavar="HEX"),
            Arg("--quick", "only look at its structure", flag=True),
            JSON,
        ],
        """Reads every byte of an image, so that bad sectors of the host's disk show, prints its
SHA-256, and looks whether partition tables and file systems fit into it. Exit status 1 when
something is wrong.""",
        [("image_verify debian.img --sha256 9f86d0…", "is it what was downloaded?")],
    ),
    "kernel_rm": Spec(
        _kernel_rm,
        [Arg("file", "ids or names", metavar="kernel", values="kernel", many="+")],
        "Removes kernels. VMs that run were given theirs at the start and go on.",
        [("kernel_rm vmlinux-old", "")],
    ),
    "kernel_info": Spec(
        _kernel_info,
        [Arg("kernel", "id, name or beginning of a name, see kernel_list", values="kernel"), JSON],
        "What a kernel is: its format, its version, how a VM enters it, and who uses it.",
        [("kernel_info 1", "")],
    ),
}
