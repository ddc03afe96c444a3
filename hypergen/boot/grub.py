# SPDX-License-Identifier: Apache-2.0
"""``hypergen grub``: print a menu entry, install it on this machine, take it out again."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from hypergen import config, progress
from hypergen.boot import grubcfg, grubhost, grubinstall
from hypergen.config import BuildConfig
from hypergen.errors import UserError

BOOT = Path("/boot")
GRUB_D = Path("/etc/grub.d")
KERNELS = Path("/var/lib/hypergen/kernels")
IMAGES = Path("/var/lib/hypergen/images")

PATH = click.Path(path_type=Path)


def _options(*decorators: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def attach(function: Any) -> Any:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return attach


_entry_options = _options(
    click.option("--root", metavar="ROOT", help="root= of the host; default: found out"),
    click.option(
        "--guest-kernel",
        type=PATH,
        default=KERNELS,
        show_default=True,
        help="folder of guest kernels",
    ),
    click.option(
        "--guest-image",
        type=PATH,
        default=IMAGES,
        show_default=True,
        help="folder of guest images",
    ),
    click.option("--append", default="", metavar="TEXT", help="more kernel arguments"),
    click.option("--serial", is_flag=True, help="menu, kernel and shell on ttyS0 as well"),
    click.option("--title", default="hyper-gen", show_default=True, help="the entry's name"),
    click.option("--boot", type=PATH, default=BOOT, show_default=True, help="the boot folder"),
)


def _entry(
    *,
    root: str | None,
    guest_kernel: Path,
    guest_image: Path,
    append: str,
    serial: bool,
    title: str,
    boot: Path,
) -> grubcfg.Entry:
    """The entry for these options on this machine."""
    folders: dict[str, Path | None] = {"guest_kernel": guest_kernel, "guest_image": guest_image}
    # What cannot be passed is refused as it was typed, before anything is looked up.
    for name, folder in folders.items():
        grubcfg.argument(name, str(folder))
    found, names = grubhost.locate(root, folders)
    arguments = grubcfg.host_arguments(
        root=found,
        guest_kernel=names["guest_kernel"],
        guest_image=names["guest_image"],
        consoles=("ttyS0,115200", "tty0") if serial else ("tty0",),
        append=append,
    )
    image = grubinstall.Installation(boot.absolute()).image
    entry = grubhost.entry_for(image, arguments, title=title)
    if not entry.fs_uuid:
        progress.warn(f"{boot}: its file system has no UUID; GRUB looks where its menu came from")
    if re.match(r"/dev/(sd|vd|hd|nvme|xvd|mmcblk)", found):
        progress.warn(f"root={found} depends on the order of disks; --root takes LABEL= and UUID=")
    return entry


@click.group("grub")
def commands() -> None:
    """The GRUB menu: print an entry, install it on this machine, take it out again."""


@commands.command("render")
@_entry_options
@click.option("--whole", is_flag=True, help="a whole grub.cfg, not the entry alone")
@click.option("--timeout", type=int, default=5, show_default=True, help="seconds; -1: wait")
def render(whole: bool, timeout: int, serial: bool, **values: Any) -> None:
    """Print the menu entry, or a whole grub.cfg, for this machine.

    Example: hypergen grub render --root LABEL=data --guest-image "/vm/my images"
    """
    entry = _entry(serial=serial, **values)
    text = (
        grubcfg.render_whole([entry], timeout=timeout, serial=serial)
        if whole
        else grubcfg.render_entry(entry)
    )
    click.echo(text, nl=False)


@commands.command("install")
@_entry_options
@click.option("--bzimage", type=PATH, default=None, help="the image; default: out/bzImage")
@click.option(
    "--grub-d",
    type=PATH,
    default=None,
    help=f"put the script {grubinstall.SCRIPT} there  [default: {GRUB_D}]",
)
@click.option(
    "--grub-cfg",
    type=PATH,
    default=None,
    help="edit this file between marker lines instead (a custom.cfg, say)",
)
@click.option("--no-mkconfig", is_flag=True, help="do not renew grub.cfg; update-grub does it")
@click.pass_context
def install(
    ctx: click.Context,
    /,
    bzimage: Path | None,
    grub_d: Path | None,
    grub_cfg: Path | None,
    no_mkconfig: bool,
    **values: Any,
) -> None:
    """Put bzImage under /boot and an entry into this machine's menu; again to update.

    Example: sudo hypergen grub install --guest-kernel /srv/vm/kernels --guest-image /srv/vm/images
    """
    if grub_d is not None and grub_cfg is not None:
        raise UserError("--grub-d and --grub-cfg exclude each other")
    if grub_cfg is None:
        grub_d = grub_d or GRUB_D
        if not grub_d.is_dir():
            raise UserError(
                f"{grub_d}: no such folder; is GRUB set up here?",
                hint="--grub-cfg FILE edits a grub.cfg directly",
            )
    cfg = ctx.find_object(BuildConfig) or config.load()
    installation = grubinstall.Installation(values["boot"].absolute())
    entry = grubcfg.render_entry(_entry(**values))
    installation.install(
        bzimage=bzimage or cfg.out / "bzImage",
        entry=entry,
        grub_d=grub_d.absolute() if grub_d else None,
        grub_cfg=grub_cfg.absolute() if grub_cfg else None,
        mkconfig=not no_mkconfig and grub_cfg is None,
    )
    where = grub_cfg or (grub_d or GRUB_D) / grubinstall.SCRIPT
    progress.note(f"Installed {installation.image}; the menu entry is in {where}.")
    for folder in (values["guest_kernel"], values["guest_image"]):
        if values["root"] is None and not folder.is_dir():
            progress.warn(f"{folder}: no such folder yet; the shell will say so too")


@commands.command("uninstall")
@click.option("--boot", type=PATH, default=BOOT, show_default=True, help="the boot folder")
def uninstall(boot: Path) -> None:
    """Take out what `install` put in, and restore what it replaced.

    Example: sudo hypergen grub uninstall
    """
    if grubinstall.Installation(boot.absolute()).uninstall():
        progress.note("hyper-gen is no longer in the menu.")
    else:
        progress.note(f"hyper-gen is not installed under {boot}; nothing was changed.")
