# SPDX-License-Identifier: Apache-2.0
"""GRUB's own images, and their place on a GPT disk, without root and without loop devices.

BIOS: the firmware starts the 440 bytes of boot.img in the first sector; those load one sector, the
one at `kernel_sector`: the start of core.img, which is diskboot.img. Diskboot loads the rest of
core.img as its list of blocks says. Both numbers are what grub-install fills in; the offsets are
GRUB's ``GRUB_BOOT_MACHINE_*`` constants (include/grub/i386/pc/boot.h). core.img lies in a BIOS boot
partition (GRUB manual, "BIOS installation").

UEFI: one PE file, ``\\EFI\\BOOT\\BOOTX64.EFI`` on the EFI system partition (UEFI specification,
section 3.5.1.1, removable media boot behaviour).

Every module that is used is inside the images, so no module folder has to be on the disk.
"""

from __future__ import annotations

import struct
from pathlib import Path

from hypergen import run
from hypergen.errors import BuildError, UserError

SECTOR = 512

BOOT_CODE_END = 440
KERNEL_SECTOR = 0x5C
DRIVE_CHECK = 0x66
BLOCK_LIST = 0x1F4

MODULES = (
    *("part_gpt", "part_msdos", "ext2", "fat", "normal", "configfile", "linux", "boot"),
    *("search", "search_label", "search_fs_uuid", "serial", "terminal", "echo", "test", "ls"),
    *("cat", "minicmd", "reboot", "halt", "sleep"),
)
PLATFORM_MODULES = {
    "i386-pc": ("biosdisk", "vga_text"),
    # The kernel's EFI stub asks the firmware for the frame buffer; GRUB's own drivers are for
    # kernels that are entered by the older protocol.
    "x86_64-efi": ("efi_gop", "efi_uga", "all_video"),
}

FOLDERS = (Path("/usr/lib/grub"), Path("/usr/lib/grub2"), Path("/usr/share/grub2"))


def module_folder(platform: str) -> Path:
    """The folder of GRUB's modules for `platform` (``i386-pc`` or ``x86_64-efi``).

    Raises:
        UserError: it is not installed.
    """
    for folder in FOLDERS:
        if (folder / platform / "moddep.lst").exists():
            return folder / platform
    package = {"i386-pc": "grub-pc-bin", "x86_64-efi": "grub-efi-amd64-bin"}[platform]
    raise UserError(
        f"GRUB's modules for {platform} are not installed",
        hint=f"install the package {package}; `hypergen doctor` lists all that is missing",
    )


def make(platform: str, output: Path, *, root_uuid: str, log: Path) -> None:
    """Make core.img (``i386-pc``) or a PE image (``x86_64-efi``) with grub-mkimage.

    The image looks for the file system `root_uuid` and reads ``/boot/grub/grub.cfg`` there.
    """
    folder = module_folder(platform)
    early = output.with_name(output.name + ".cfg")
    early.write_text(
        f"search --no-floppy --fs-uuid --set=root {root_uuid}\nset prefix=($root)/boot/grub\n"
    )
    program = "grub-mkimage" if run.which("grub-mkimage") else "grub2-mkimage"
    argv: list[str | Path] = [program, "-d", folder, "-O", platform, "-p", "/boot/grub"]
    argv += ["-c", early, "-o", output, *MODULES, *PLATFORM_MODULES[platform]]
    run.run(argv, log=log)
    early.unlink()


def embed(disk: Path, core: Path, *, start: int, sectors: int) -> None:
    """Put boot.img in the first sector of `disk` and core.img in its BIOS boot partition.

    Args:
        start: first sector of the partition.
        sectors: its length.

    The partition table, the disk signature and everything else in the first sector stay.
    """
    boot = bytearray((module_folder("i386-pc") / "boot.img").read_bytes()[:BOOT_CODE_END])
    image = bytearray(core.read_bytes())
    image += bytes(-len(image) % SECTOR)
    count = len(image) // SECTOR
    if count > sectors:
        raise BuildError(f"core.img has {count} sectors, its partition {sectors}")
    struct.pack_into("<Q", boot, KERNEL_SECTOR, start)
    # Two NOPs let boot.img correct a firmware that hands over a floppy's number for a hard disk.
    boot[DRIVE_CHECK : DRIVE_CHECK + 2] = b"\x90\x90"
    # The last block list entry of diskboot.img; its third field, the segment, is right already.
    struct.pack_into("<QH", image, BLOCK_LIST, start + 1, count - 1)
    with disk.open("r+b") as stream:
        stream.write(boot)
        stream.seek(start * SECTOR)
        stream.write(image)
