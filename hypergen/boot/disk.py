# SPDX-License-Identifier: Apache-2.0
"""The disk image of ``make run``: GRUB for BIOS and UEFI, a root file system with guests.

Made without root and without loop devices: sfdisk writes the GPT (UEFI specification, chapter 5)
into a sparse file, dosfstools, mtools and e2fsprogs work at an offset in it. The layout::

    sector 0            boot.img and the protective MBR
    1 MiB   bios-boot   core.img
    2 MiB   EFI         FAT32: /EFI/BOOT/BOOTX64.EFI
    42 MiB  root        ext4: /boot/hypergen/bzImage, /boot/grub/grub.cfg,
                        /var/lib/hypergen/kernels, /var/lib/hypergen/images

A disk keeps what its VMs wrote for as long as its guests are the same: a changed bzImage or
grub.cfg is replaced in place.
"""

from __future__ import annotations

import fcntl
import json
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path

from hypergen import progress, run
from hypergen.boot import grubcfg, grubimage
from hypergen.config import BuildConfig
from hypergen.errors import BuildError, UserError
from hypergen.stage import file_digest

MIB = 1024 * 1024
SECTOR = grubimage.SECTOR
BIOS_START, BIOS_SIZE = 1 * MIB, 1 * MIB
# The smallest FAT that every firmware must read on a fixed disk is FAT32: 65525 clusters and more.
ESP_START, ESP_SIZE = 2 * MIB, 40 * MIB
ROOT_START = ESP_START + ESP_SIZE
TAIL = 1 * MIB  # the backup GPT
SPARE_MIB = 96

LABEL = "hypergen"
BZIMAGE = "/boot/hypergen/bzImage"
GRUB_CFG = "/boot/grub/grub.cfg"
KERNELS = "/var/lib/hypergen/kernels"
IMAGES = "/var/lib/hypergen/images"

_LAYOUT = 1  # change it when the layout changes: images made before are then made anew

_TYPES = {
    "bios": "21686148-6449-6E6F-744E-656564454649",
    "esp": "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
    # "Linux root (x86-64)" of the Discoverable Partitions Specification
    "root": "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709",
}


def _uuid(label: str, what: str) -> str:
    """The same UUIDs for the same label, so that two builds make the same disk."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"hypergen:disk:{label}:{what}"))


def _log(path: Path, name: str) -> Path:
    return path.parent / "log" / f"disk-{name}.log"


def grub_cfg(*, append: str, label: str, timeout: int, serial: bool) -> str:
    """The disk's grub.cfg: one entry, found by the root file system's UUID."""
    consoles = ("ttyS0,115200", "tty0") if serial else ("tty0",)
    arguments = grubcfg.host_arguments(
        root=f"LABEL={label}",
        guest_kernel=KERNELS,
        guest_image=IMAGES,
        consoles=consoles,
        append=append,
    )
    entry = grubcfg.Entry(image=BZIMAGE, arguments=arguments, fs_uuid=_uuid(label, "root-fs"))
    return grubcfg.render_whole([entry], timeout=timeout, serial=serial)


def _partition(path: Path, label: str, root_size: int) -> None:
    table = "\n".join(
        [
            "label: gpt",
            f"label-id: {_uuid(label, 'disk')}",
            "unit: sectors",
            "first-lba: 34",
        ]
        + [
            f"start={start // SECTOR}, size={size // SECTOR}, type={_TYPES[kind]}, "
            f'uuid={_uuid(label, kind)}, name="{name}"'
            for kind, name, start, size in (
                ("bios", "bios-boot", BIOS_START, BIOS_SIZE),
                ("esp", "EFI system", ESP_START, ESP_SIZE),
                ("root", label, ROOT_START, root_size),
            )
        ]
    )
    run.capture(
        ["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", path], input=table.encode()
    )


def _esp(path: Path, label: str, loader: Path) -> None:
    serial = _uuid(label, "esp-fs").replace("-", "")[:8]
    run.run(
        [
            *("mkfs.vfat", "-F", "32", "-s", "1", "-n", "EFI", "-i", serial, "--invariant"),
            *("--offset", str(ESP_START // SECTOR), path, str(ESP_SIZE // 1024)),
        ],
        log=_log(path, "mkfs.vfat"),
    )
    at = f"{path}@@{ESP_START}"
    run.run(
        ["mmd", "-i", at, "::/EFI", "::/EFI/BOOT"],
        log=_log(path, "mmd"),
        env={"MTOOLS_SKIP_CHECK": "1"},
    )
    run.run(
        ["mcopy", "-i", at, loader, "::/EFI/BOOT/BOOTX64.EFI"],
        log=_log(path, "mcopy"),
        env={"MTOOLS_SKIP_CHECK": "1"},
    )


def _place(source: Path, target: Path, linked: set[tuple[int, int]]) -> None:
    """Put a file in the tree of the root file system.

    A hard link saves the copy; but two names of one file would be one file on the disk too, which
    two VMs could not write to, so `linked` remembers what has a name there already.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    source = source.resolve()
    identity = (source.stat().st_dev, source.stat().st_ino)
    try:
        if identity in linked:
            raise FileExistsError
        target.hardlink_to(source)
        linked.add(identity)
    except OSError:
        run.capture(["cp", "--sparse=always", "--reflink=auto", "--", source, target])


def _check_name(name: str) -> None:
    if not name or "/" in name or any(ord(c) < 32 for c in name):
        raise UserError(f"{name!r}: not a file name")


def _root(path: Path, tree: Path, label: str, size: int) -> None:
    run.run(
        [
            *("mke2fs", "-q", "-F", "-t", "ext4", "-L", label, "-U", _uuid(label, "root-fs")),
            *("-E", f"offset={ROOT_START},root_owner=0:0,hash_seed={_uuid(label, 'hash')}"),
            *("-m", "0", "-d", tree, path, f"{size // 1024}k"),
        ],
        log=_log(path, "mke2fs"),
    )
    commands = []
    for found in sorted(tree.rglob("*")):
        name = _debugfs_quote("/" + str(found.relative_to(tree)))
        commands += [f"set_inode_field {name} {field} 0" for field in ("uid", "gid")]
        # A unikernel is run like a program, so it stays executable.
        executable = found.stat().st_mode & 0o100
        mode = "040755" if found.is_dir() else "0100755" if executable else "0100644"
        commands.append(f"set_inode_field {name} mode {mode}")
    _debugfs(path, commands)


def _debugfs_quote(name: str) -> str:
    """debugfs parses its lines with libss, where a double quote inside quotes is doubled."""
    return '"' + name.replace('"', '""') + '"'


def _debugfs(path: Path, commands: list[str]) -> None:
    """Change the root file system in place."""
    with tempfile.NamedTemporaryFile("w", suffix=".debugfs") as script:
        script.write("\n".join(commands) + "\n")
        script.flush()
        log = _log(path, "debugfs")
        run.run(["debugfs", "-w", "-f", script.name, f"{path}?offset={ROOT_START}"], log=log)
        # debugfs ends with 0 whatever happens; what it complains of begins with its command.
        errors = [
            line
            for line in log.read_text("utf-8", "replace").splitlines()
            if line and not line.startswith(("debugfs", "Allocated inode"))
        ]
        if errors:
            raise BuildError("debugfs could not change the disk image", log=log, tail=tuple(errors))


def make(
    path: Path,
    *,
    bzimage: Path,
    kernels: Mapping[str, Path] | None = None,
    images: Mapping[str, Path] | None = None,
    append: str = "",
    root_label: str = LABEL,
    extra_mib: int = 0,
    grub_timeout: int = 5,
    serial: bool = True,
) -> Path:
    """Make a disk image, whatever was at `path` before; returns `path`.

    Args:
        kernels: guest kernels by their file names on the disk.
        images: guest images, likewise; each can grow to its apparent size.
        append: more kernel arguments, as one would type them.
        extra_mib: MiB of free space on the root file system beyond what is always there.
        grub_timeout: seconds; negative: wait for a key.
        serial: menu, kernel and shell on the first serial port too.
    """
    kernels, images = kernels or {}, images or {}
    for source in (bzimage, *kernels.values(), *images.values()):
        if not source.is_file():
            raise UserError(f"{source}: no such file", hint="`make` and `make guest` build them")
    text = grub_cfg(append=append, label=root_label, timeout=grub_timeout, serial=serial)
    payload = sum(file.stat().st_size for file in (bzimage, *kernels.values(), *images.values()))
    # 6 % for ext4's own tables, and room for a second bzImage while one replaces the other.
    root_size = -(-(payload * 106 // 100) // MIB) * MIB + (SPARE_MIB + extra_mib) * MIB
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".disk-") as folder:
        scratch = Path(folder)
        tree = scratch / "root"
        linked: set[tuple[int, int]] = set()
        _place(bzimage, tree / BZIMAGE[1:], linked)
        cfg_file = tree / GRUB_CFG[1:]
        cfg_file.parent.mkdir(parents=True)
        cfg_file.write_text(text)
        for where, group in ((KERNELS, kernels), (IMAGES, images)):
            (tree / where[1:]).mkdir(parents=True)
            for name, source in group.items():
                _check_name(name)
                _place(source, tree / where[1:] / name, linked)
        try:
            with temporary.open("wb") as stream:
                stream.truncate(ROOT_START + root_size + TAIL)
            _partition(temporary, root_label, root_size)
            root_uuid = _uuid(root_label, "root-fs")
            core, loader = scratch / "core.img", scratch / "bootx64.efi"
            for platform, output in (("i386-pc", core), ("x86_64-efi", loader)):
                log = _log(path, f"grub-{platform}")
                grubimage.make(platform, output, root_uuid=root_uuid, log=log)
            grubimage.embed(
                temporary, core, start=BIOS_START // SECTOR, sectors=BIOS_SIZE // SECTOR
            )
            _esp(temporary, root_label, loader)
            _root(temporary, tree, root_label, root_size)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    return path


def replace(path: Path, files: Mapping[str, Path]) -> None:
    """Replace files of the root file system of a disk image that no machine is using.

    Args:
        files: new contents by the path on that file system.

    Raises:
        BuildError: the file system is damaged, or has no room.
    """
    # A machine that was switched off leaves a journal to be replayed; 1 = errors were corrected.
    check = _log(path, "e2fsck")
    try:
        run.run(["e2fsck", "-f", "-p", f"{path}?offset={ROOT_START}"], log=check)
    except BuildError as error:
        if not error.message.endswith("status 1"):
            raise
    commands = []
    for name, source in files.items():
        new, old = _debugfs_quote(name + ".new"), _debugfs_quote(name)
        commands += [
            f"write {_debugfs_quote(str(source))} {new}",
            f"set_inode_field {new} uid 0",
            f"set_inode_field {new} gid 0",
            f"set_inode_field {new} mode 0100644",
            f"rm {old}",
            f"ln {new} {old}",
            f"unlink {new}",
        ]
    _debugfs(path, commands)


def _in_use(path: Path) -> bool:
    """Whether a QEMU has the image open: it locks bytes from 100 on (block/file-posix.c)."""
    with path.open("r+b") as stream:
        try:
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB, 200, 100)
        except OSError:
            return True
    return False


def _state(files: Mapping[str, Path]) -> dict[str, list[int]]:
    """Guests by size and time: reading a GiB of image each time would take too long."""
    return {
        name: [path.stat().st_size, path.stat().st_mtime_ns] for name, path in sorted(files.items())
    }


def _files(folder: Path, pattern: str) -> dict[str, Path]:
    return {path.name: path for path in sorted(folder.glob(pattern)) if path.is_file()}


def build(cfg: BuildConfig) -> Path:
    """Make or bring up to date ``out/disk.img`` from what is in ``out``; returns its path.

    Raises:
        UserError: bzImage is missing, or a machine is running from the disk.
    """
    path, bzimage = cfg.out / "disk.img", cfg.out / "bzImage"
    if not bzimage.is_file():
        raise UserError(f"{bzimage}: not built yet", hint="type `make` first")
    kernels = _files(cfg.out / "guest_kernel", "*")
    images = _files(cfg.out / "guest_image", "*.img")
    if not kernels or not images:
        progress.warn("there is no guest kernel or no guest image yet; `make guest` builds both")
    text = grub_cfg(append="", label=LABEL, timeout=5, serial=True)
    marker = cfg.out / "disk.json"
    want = {
        "guests": {"layout": _LAYOUT, "kernels": _state(kernels), "images": _state(images)},
        "boot": {BZIMAGE: file_digest(bzimage), GRUB_CFG: text},
    }
    try:
        have = json.loads(marker.read_text("utf-8")) if path.is_file() else {}
    except (OSError, ValueError):
        have = {}
    if have == json.loads(json.dumps(want)):
        return path
    if path.is_file() and _in_use(path):
        raise UserError(f"{path}: a machine is running from it", hint="end that QEMU first")
    if have.get("guests") == json.loads(json.dumps(want["guests"])):
        try:
            with progress.step("Updating the disk image"):
                # Not finished until the last line: a run that is interrupted starts over.
                _write_json(marker, {"guests": want["guests"]})
                _update(path, bzimage, text)
                _write_json(marker, want)
            return path
        except BuildError as error:
            progress.warn(f"{path.name}: {error.message}; it is made anew")
    with progress.step("Making the disk image"):
        marker.unlink(missing_ok=True)
        make(path, bzimage=bzimage, kernels=kernels, images=images)
        _write_json(marker, want)
    return path


def _update(path: Path, bzimage: Path, text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        cfg_file = Path(folder) / "grub.cfg"
        cfg_file.write_text(text)
        replace(path, {BZIMAGE: bzimage, GRUB_CFG: cfg_file})


def _write_json(path: Path, value: object) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(value))
    temporary.replace(path)
