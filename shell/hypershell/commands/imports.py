# SPDX-License-Identifier: Apache-2.0
"""image_import and kernel_import."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess

from hypershell import files, qcow2, storage
from hypershell.errors import ShellError, UsageError
from hypershell.progress import Line
from hypershell.spec import Arg, Context, Spec
from hypershell.table import say
from hypershell.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator, Sequence

_CHUNK = 1 << 20
_PACKED = (  # first bytes, name, the programs that unpack a stream, the ends of such names
    (b"\x1f\x8b", "gzip", ("gunzip", "-c"), (".gz",)),
    (b"\xfd7zXZ\0", "xz", ("unxz", "-c"), (".xz",)),
    (b"BZh", "bzip2", ("bunzip2", "-c"), (".bz2",)),
)
_UNKNOWN = (
    (b"\x28\xb5\x2f\xfd", "zstd-compressed; unpack it with zstd -d"),
    (b"PK\x03\x04", "a zip archive; unpack it"),
    (b"KDMV", "a vmdk image; qemu-img convert -O raw makes it raw"),
    (b"conectix", "a vhd image; qemu-img convert -O raw makes it raw"),
    (b"vhdxfile", "a vhdx image; qemu-img convert -O raw makes it raw"),
)


def _tool(name: str) -> list[str]:
    """A program of the host's, or busybox's. Raises ShellError."""
    if path := shutil.which(name):
        return [path]
    if path := shutil.which("busybox"):
        return [path, name]
    raise ShellError(f"this host has no program '{name}'")


class _Source:
    """Where the bytes come from; ``size`` is 0 where nobody knows."""

    def __init__(self, word: str) -> None:
        self.word, self.size = word, 0
        self._packed: tuple[int, int] | None = None  # a packed file, and its size
        self._children: list[subprocess.Popen[bytes]] = []
        self.url = word.startswith(("http://", "https://"))
        if word == "-":
            if os.isatty(0):
                raise UsageError(
                    "'-' reads standard input, which is the terminal here: pipe a file"
                )
            self.fd = os.dup(0)
        elif self.url:
            self.fd = self._run([*_tool("wget"), "-q", "-O", "-", word], subprocess.DEVNULL)
        else:
            try:
                self.fd = os.open(os.path.expanduser(word), os.O_RDONLY | os.O_CLOEXEC)
                self.size = storage.size_of(self.fd)
                os.lseek(self.fd, 0, os.SEEK_SET)
            except OSError as error:
                raise UsageError(f"{word}: {error.strerror}") from error

    def _run(self, argv: Sequence[str], stdin: int) -> int:
        child = subprocess.Popen(argv, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._children.append(child)
        assert child.stdout is not None
        with child.stdout as pipe:
            return os.dup(pipe.fileno())

    def unpack(self, argv: Sequence[str], head: bytes) -> None:
        """Go on with what a program makes of it all; ``head`` has been read already."""
        packed = self.fd
        if self.size:
            os.lseek(packed, 0, os.SEEK_SET)
            self.fd = self._run([*_tool(argv[0]), *argv[1:]], packed)
            self._packed = packed, self.size
        else:
            self.fd = self._run([*_tool(argv[0]), *argv[1:]], subprocess.PIPE)
            self._feed(self._children[-1], head, packed)
        self.size = 0

    @staticmethod
    def _feed(child: subprocess.Popen[bytes], head: bytes, fd: int) -> None:
        """Give ``head`` and then all of ``fd`` to a child, beside whatever else goes on."""
        import threading

        def work() -> None:
            assert child.stdin is not None
            with contextlib.suppress(BrokenPipeError), child.stdin as pipe:
                pipe.write(head)
                while data := os.read(fd, _CHUNK):
                    pipe.write(data)
            os.close(fd)

        threading.Thread(target=work, daemon=True).start()

    def chunks(self, head: bytes) -> Iterator[bytes]:
        """Everything, ``head`` first, in pieces of a MiB."""
        held = head
        while True:
            data = os.read(self.fd, _CHUNK)
            if not data:
                break
            held += data
            while len(held) >= _CHUNK:
                yield held[:_CHUNK]
                held = held[_CHUNK:]
        if held:
            yield held

    def place(self, at: int) -> tuple[int, int]:
        """(done, of how many) bytes when ``at`` have been read; 0 where nobody knows."""
        if self._packed is None:
            return at, self.size
        fd, size = self._packed
        return os.lseek(fd, 0, os.SEEK_CUR), size  # shared with who unpacks it

    def head(self) -> bytes:
        """The first bytes, as many as tell a format."""
        data = b""
        while len(data) < 512 and (more := os.read(self.fd, 512 - len(data))):
            data += more
        return data

    def end(self) -> None:
        """All programs have done their work, or the import has failed. Raises ShellError."""
        os.close(self.fd)
        if self._packed is not None:
            os.close(self._packed[0])
        for child in self._children:
            assert child.stderr is not None
            with child.stderr as pipe:
                words = pipe.read().decode(errors="replace").strip().splitlines()
            if child.wait():
                name = os.path.basename(str(child.args[0]))  # type: ignore[index]
                raise ShellError(f"{self.word}: {words[-1] if words else f'{name} failed'}")


def _name(args: Namespace, kind: str) -> str:
    """The new file's name: --name, or the source's without what its format adds."""
    if args.name:
        return storage.check_name(args.name)
    base = os.path.basename(args.source.partition("?")[0].rstrip("/"))
    if args.source == "-" or not base:
        raise UsageError("--name NAME is needed: the source has none")
    for *_, ends in _PACKED:
        base = next((base.removesuffix(end) for end in ends if base.endswith(end)), base)
    if kind == "image" and base.endswith(".qcow2"):
        base = base.removesuffix(".qcow2") + ".img"
    return storage.check_name(base)


def _pour(source: _Source, head: bytes, fd: int, what: str, digest: object) -> int:
    """Write all of a source to ``fd``, zeros as holes; its size in bytes."""
    line = Line()
    at = 0
    try:
        for data in source.chunks(head):
            digest.update(data)  # type: ignore[attr-defined]
            storage.write_sparse(fd, data, at)
            at += len(data)
            line.bar(what, *source.place(at))
    finally:
        line.clear()
    os.ftruncate(fd, at)
    return at


def _convert(new: storage.NewFile, what: str) -> int:
    """Make what has been written, a qcow2 image, a raw one in its place; the disk's size."""
    with open(f"/proc/self/fd/{new.fd}", "rb", buffering=0) as packed:
        image = qcow2.Qcow2(packed.fileno())
        new.renew()
        os.ftruncate(new.fd, image.size)
        line = Line()
        try:
            for at, data in image.clusters():
                storage.write_sparse(new.fd, data, at)
                line.bar(what, at + len(data), image.size)
        finally:
            line.clear()
        return int(image.size)


def _import(kind: str, args: Namespace) -> int:
    import hashlib

    name = _name(args, kind)
    source = _Source(args.source)
    with storage.NewFile(kind, name) as new:
        head = source.head()
        for magic, about in _UNKNOWN:
            if head.startswith(magic):
                raise UsageError(f"{args.source} is {about} first")
        digest = hashlib.sha256()
        for magic, _, argv, _ in _PACKED:
            # A kernel's own compression is inside its format; a packed file begins like this.
            if head.startswith(magic):
                source.unpack(argv, head)
                head = source.head()
                break
        size = _pour(source, head, new.fd, f"importing {name}", digest)
        source.end()
        _check(kind, args, head, size, digest.hexdigest())
        if kind == "image" and head.startswith(qcow2.MAGIC):
            size = _convert(new, f"converting {name}")
        elif kind == "image" and size % 512:
            os.ftruncate(new.fd, size + 512 - size % 512)
        new.keep()
        path = new.path
    about = files.image_kind(path) if kind == "image" else " ".join(files.kernel_kind(path))
    say(f"{kind} {name}: {human_size(size)}, {about.strip()}")
    if not args.sha256:
        say(f"sha256 {digest.hexdigest()}")
        if source.url:
            say("note: nothing has vouched for what came over the network; compare the sum")
    return 0


def _check(kind: str, args: Namespace, head: bytes, size: int, digest: str) -> None:
    if not size:
        raise UsageError(f"{args.source} is empty")
    if args.sha256 and args.sha256.lower() != digest:
        raise ShellError(f"{args.source}: its SHA-256 is {digest}, not {args.sha256}; nothing kept")
    if kind == "kernel" and head[:4] != b"\x7fELF" and head[0x1FE:0x200] != b"\x55\xaa":
        raise UsageError(f"{args.source} is no kernel (neither ELF nor bzImage); nothing kept")


def _image_import(args: Namespace, _: Context) -> int:
    return _import("image", args)


def _kernel_import(args: Namespace, _: Context) -> int:
    return _import("kernel", args)


_ARGS = [
    Arg("source", "a file, http:// or https:// address, or - for standard input", values="file"),
    Arg("--name", "of the new file (default: the source's)"),
    Arg("--sha256", "refuse anything else (of what is unpacked)", metavar="HEX"),
]

SPECS = {
    "image_import": Spec(
        _image_import,
        _ARGS,
        """Copies a disk image into guest_image. gzip, xz and bzip2 are unpacked, qcow2 is made raw
on the way; zeros take no room. It is there when it is whole, or not at all. Certificates of
https:// are not checked: give --sha256, or compare the sum that is printed.""",
        [
            ("image_import /media/usb/debian.qcow2", "from a disk that is mounted"),
            ("image_import http://mirror/debian.img.xz --name web.img", "from the network"),
            (
                "image_import - --name a.img",
                "as in: ssh root@host image_import - --name a.img <a.img",
            ),
        ],
    ),
    "kernel_import": Spec(
        _kernel_import,
        _ARGS,
        "Copies a guest kernel (vmlinux, bzImage, a unikernel) into guest_kernel, as image_import.",
        [("kernel_import http://mirror/vmlinux-6.12", "")],
    ),
}
