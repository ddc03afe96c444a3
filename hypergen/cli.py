# SPDX-License-Identifier: Apache-2.0
"""The command line: ``python -m hypergen VERB``; the Makefile is a thin face over it.

Each verb gathers the settings (:data:`hypergen.config.SETTINGS`), checks that the machine has what
it needs, and calls one function of a verb module. Those modules are imported when they are used, so
that a run in which nothing changed stays short.
"""

from __future__ import annotations

import functools
import importlib
import json
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click

from hypergen import __version__, cli_sources, config, doctor, progress
from hypergen.config import BuildConfig
from hypergen.errors import BuildError, HypergenError, UserError

COMMON = ("out", "cache", "jobs", "kernel_src", "verbose")
MACHINE = ("display", "firmware", "accel", "qemu", "memory", "cpus")
INTERRUPTED = 130


def _option(setting: config.Setting) -> Callable[[Any], Any]:
    """A click option for a setting; its value stays text, which config.load parses."""
    name = "--" + setting.name.replace("_", "-")
    text = f"{setting.help}  [variable {setting.variable}]"
    if setting.name == "verbose":
        return click.option(name, "-v", setting.name, flag_value="1", default=None, help=text)
    return click.option(name, setting.name, metavar="VALUE", default=None, help=text)


def _options(names: tuple[str, ...]) -> Callable[[Any], Any]:
    def attach(function: Any) -> Any:
        for setting in reversed(config.SETTINGS):
            if setting.name in names:
                function = _option(setting)(function)
        return function

    return attach


def _take(values: dict[str, Any], names: tuple[str, ...]) -> dict[str, str | None]:
    return {name: values.pop(name) for name in names}


class Verbs(click.Group):
    """The verbs in the order they were declared; ``grub`` comes from its own module."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every verb's name."""
        return [*self.commands, "grub"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb of that name, imported now if need be."""
        if cmd_name == "grub":
            # Rendering needs jinja2, which no other verb should have to load.
            group = importlib.import_module("hypergen.boot.grub").commands
            assert isinstance(group, click.Group)
            return group
        return super().get_command(ctx, cmd_name)


@click.group(
    cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="hypergen")
@_options(COMMON + MACHINE)
@click.pass_context
def cli(ctx: click.Context, /, **values: Any) -> None:
    """Build hyper-gen, one bzImage that boots into a hypervisor's shell, and try it out.

    A setting's value is the first of: the option, the variable in brackets, hypergen.toml, the
    default. `hypergen config` shows them all. Example: hypergen build --out /tmp/out -v
    """
    ctx.meta["overrides"] = _take(values, COMMON + MACHINE)
    ctx.obj = config.load(ctx.meta["overrides"])


cli.add_command(cli_sources.sources_group)
cli.add_command(cli_sources.patches_group)


def verb(
    name: str, *, needs: str = "", settings: tuple[str, ...] = COMMON, **extra: Any
) -> Callable[[Callable[..., int | None]], click.Command]:
    """Declare a verb whose function takes the BuildConfig first.

    Args:
        name: what is typed.
        needs: the doctor's group of programs that it needs; installed where that is possible.
        settings: the settings it offers as options.
        extra: more arguments of :func:`click.command`.
    """

    def declare(function: Callable[..., int | None]) -> click.Command:
        def command(ctx: click.Context, /, **values: Any) -> int:
            given = {k: v for k, v in _take(values, settings).items() if v is not None}
            cfg = config.load({**ctx.meta.get("overrides", {}), **given})
            if needs:
                require(needs)
            return function(cfg, **values) or 0

        functools.update_wrapper(command, function)
        return cli.command(name, **extra)(_options(settings)(click.pass_context(command)))

    return declare


def require(group: str) -> None:
    """Stop unless the machine has what a group of verbs needs, after trying to install it."""
    if lacking := doctor.ensure([group]):
        raise UserError(
            f"missing for {doctor.GROUPS[group]}: {', '.join(need.package for need in lacking)}",
            tail=tuple(doctor.table(lacking).splitlines()),
            hint=doctor.advice(lacking),
        )


# --- building -----------------------------------------------------------------------------------


def make_bzimage(cfg: BuildConfig) -> None:
    """Everything that ``out/bzImage`` consists of, and the manifest."""
    from hypergen import report, vmm
    from hypergen.image import initramfs
    from hypergen.linux import kernel

    report.begin(cfg)
    binary = vmm.build(cfg)
    report.record(cfg, "vmm", report.file_facts(binary))
    archive = initramfs.build(cfg, vmm=binary)
    report.record(cfg, "initramfs", report.file_facts(archive) | initramfs.describe(cfg))
    host = kernel.build_host(cfg, archive)
    report.record(cfg, "host_kernel", host.facts)
    report.record(cfg, "bzImage", report.file_facts(cfg.out / "bzImage"))


def make_guest(cfg: BuildConfig) -> None:
    """The demo guest's kernel and images, and the demo unikernel."""
    from hypergen import report
    from hypergen.guests import guest, unikernel
    from hypergen.linux import kernel

    built = kernel.build_guest(cfg)
    report.record(cfg, "guest_kernel", built.facts)
    report.record(cfg, "unikernel", report.file_facts(unikernel.build_demo(cfg)))
    guest.build(cfg)
    report.record(cfg, "guest_images", {p.name: p.stat().st_size for p in _images(cfg)})


def _images(cfg: BuildConfig) -> list[Path]:
    return sorted((cfg.out / "guest_image").glob("*.img"))


def make_all(cfg: BuildConfig) -> None:
    """bzImage, guest and disk image."""
    from hypergen.boot import disk

    make_bzimage(cfg)
    make_guest(cfg)
    disk.build(cfg)


def _results(cfg: BuildConfig) -> dict[str, Path]:
    results = {"bzImage": cfg.out / "bzImage"}
    results |= {f"guest {p.name}": p for p in sorted((cfg.out / "guest_kernel").glob("[!.]*"))}
    results |= {f"guest {p.name}": p for p in _images(cfg)}
    return results | {"disk image": cfg.out / "disk.img"}


def _summary(cfg: BuildConfig, started: float) -> None:
    from hypergen import report

    report.summary(cfg, _results(cfg), started)


@verb("build", needs="build")
def build(cfg: BuildConfig) -> None:
    """Build out/bzImage: kernel, KVM, VMM, shell, one file. What plain `make` does.

    Sources are fetched and verified once; every stage whose inputs have not changed is skipped.

    Example: hypergen build --out /tmp/out --kernel-src ~/src/linux-6.12
    """
    started = time.monotonic()
    make_bzimage(cfg)
    _summary(cfg, started)


@verb("guest", needs="guest")
def guest_verb(cfg: BuildConfig) -> None:
    """Build the demo guests: out/guest_kernel/ and the raw images in out/guest_image/.

    Example: hypergen guest && ls out/guest_image
    """
    started = time.monotonic()
    make_guest(cfg)
    _summary(cfg, started)


@verb("disk", needs="run")
def disk_verb(cfg: BuildConfig) -> None:
    """Build out/disk.img: GPT, GRUB for BIOS and UEFI, the host image, the demo guest.

    Example: hypergen disk && qemu-system-x86_64 -m 2G -drive file=out/disk.img,format=raw
    """
    started = time.monotonic()
    make_all(cfg)
    _summary(cfg, started)


@verb("run", needs="run", settings=COMMON + MACHINE)
def run_verb(cfg: BuildConfig) -> int:
    """Build everything that has changed and boot it in QEMU, under GRUB.

    KVM is used where the CPU has VMX or SVM, else TCG emulates a CPU with SVM.

    Example: hypergen run --display serial --firmware uefi
    """
    from hypergen.boot import qemu

    make_all(cfg)
    return int(qemu.run(cfg))


@verb("kernel", needs="build")
@click.argument("kind", type=click.Choice(["host", "guest"]), default="host")
def kernel_verb(cfg: BuildConfig, kind: str) -> None:
    """Build one kernel alone. The host's is compiled without its initramfs, out/ is not touched.

    Example: hypergen kernel guest
    """
    from hypergen import report
    from hypergen.linux import kernel

    built = kernel.build_guest(cfg) if kind == "guest" else kernel.build_host(cfg)
    report.record(cfg, f"{kind}_kernel", built.facts)
    click.echo(f"{built.release} {built.bzimage}")


@verb("initramfs", needs="build")
def initramfs_verb(cfg: BuildConfig) -> None:
    """Build the host's initramfs alone and print its path.

    Example: cpio -tv < $(hypergen initramfs)
    """
    from hypergen import vmm
    from hypergen.image import initramfs

    click.echo(initramfs.build(cfg, vmm=vmm.build(cfg)))


@verb("vmm", needs="build")
@click.argument("target", type=click.Choice(["all", "asan", "fuzz"]), default="all")
def vmm_verb(cfg: BuildConfig, target: str) -> None:
    """Build hg-vmm alone and print its path; `asan` and `fuzz` are for tests.

    Example: $(hypergen vmm) --kernel out/guest_kernel/vmlinux-* --cmdline console=hvc0
    """
    from hypergen import vmm

    click.echo(vmm.build(cfg) if target == "all" else vmm.make(cfg, target))


@verb("fuzz", needs="build")
@click.option("--target", default="", help="One of them; see --list.  [default: all]")
@click.option("--seconds", default=10, show_default=True, help="How long, each.")
@click.option("--seed", default=1, show_default=True, help="The same scripts for the same seed.")
@click.option("--list", "listing", is_flag=True, help="Print the names of the fuzzers.")
@click.argument("files", nargs=-1)
def fuzz(
    cfg: BuildConfig, target: str, seconds: int, seed: int, listing: bool, files: tuple[str, ...]
) -> int:
    """Fuzz parts of the VMM in process, under AddressSanitizer and UBSan. Needs no KVM.

    With FILES, replays those scripts instead.

    Example: hypergen fuzz --target devices --seconds 600
    """
    from hypergen import run, vmm
    from hypergen.errors import UserError

    names = vmm.fuzzers()
    if listing:
        click.echo("\n".join(names))
        return 0
    if target and target not in names:
        raise UserError(f"no fuzzer '{target}'; there are {', '.join(names)}")
    if files and not target:
        raise UserError("name the fuzzer that the files are for: --target NAME")
    folder = vmm.make(cfg, "fuzz").parent
    for name in [target] if target else names:
        click.echo(f"fuzz-{name}:", err=True)
        words = list(files) or ["-s", str(seed), "-t", str(seconds)]
        if status := run.interactive([folder / f"fuzz-{name}", *words]):
            return status
    return 0


# --- configuration ----------------------------------------------------------------------------

KIND = click.argument("kind", type=click.Choice(["host", "guest"]), default="host")


@verb("menuconfig", needs="menuconfig")
@KIND
def menuconfig(cfg: BuildConfig, kind: str) -> None:
    """Change a kernel's configuration in Kbuild's menu, starting from the fragments.

    The build is not changed by it until `hypergen savedefconfig` writes the difference.

    Example: hypergen menuconfig host && hypergen savedefconfig host
    """
    from hypergen.linux import kernel

    changed = kernel.menuconfig(cfg, kind)
    if changed:
        progress.note(f"{len(changed)} symbols differ; `hypergen savedefconfig {kind}` keeps them")


@verb("savedefconfig", needs="build")
@KIND
def savedefconfig(cfg: BuildConfig, kind: str) -> None:
    """Write what menuconfig changed to kernel-config/KIND/99-local.config, a fragment read last.

    Move lines from there to the fragment of their topic to make them part of the project.

    Example: hypergen savedefconfig guest
    """
    from hypergen.linux import kernel

    fragment, symbols = kernel.save_local(cfg, kind)
    if not symbols:
        click.echo(f"nothing to save: the {kind} configuration is what the fragments say")
        return
    click.echo(f"{fragment}: {len(symbols)} symbols")
    for symbol in symbols:
        click.echo(f"  CONFIG_{symbol}")


@verb("config", settings=COMMON + MACHINE)
@click.option("--json", "as_json", is_flag=True, help="as one JSON object")
def show_config(cfg: BuildConfig, as_json: bool) -> None:
    """Show every setting: its variable, its value, what it means.

    Example: hypergen config --json
    """
    values = cfg.as_json()
    if as_json:
        click.echo(json.dumps(values, indent=2))
        return
    for setting in config.SETTINGS:
        value = values[setting.name]
        shown = "" if value is None else str(value)
        click.echo(f"{setting.variable:<15} {shown:<32} {setting.help}")


# --- tests --------------------------------------------------------------------------------------

PASS_ON = {"ignore_unknown_options": True}


@verb("test", needs="test", context_settings=PASS_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def test(cfg: BuildConfig, arguments: tuple[str, ...]) -> int:
    """Build everything and run every test; ends with pytest's own summary line.

    ARGUMENTS go to pytest. Example: hypergen test -k grub -x
    """
    from hypergen import checks

    make_all(cfg)
    return checks.pytest(cfg, arguments)


@verb("check")
def check(cfg: BuildConfig) -> int:
    """Linters and the quick tests, side by side, in under a minute.

    Example: hypergen check
    """
    from hypergen import checks

    return checks.check(cfg)


@verb("bench", needs="bench", context_settings=PASS_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def bench(cfg: BuildConfig, arguments: tuple[str, ...]) -> int:
    """Measure size, boot time, VM start and memory, compared with peers in the same run.

    ARGUMENTS go to tests/bench. Example: hypergen bench -- --help
    """
    from hypergen import checks

    make_all(cfg)
    return checks.bench(cfg, arguments)


# --- housekeeping -------------------------------------------------------------------------------


@verb("doctor", settings=())
@click.argument("groups", nargs=-1, type=click.Choice(list(doctor.GROUPS)))
@click.option("--install", is_flag=True, help="install what is missing (root or sudo, apt)")
def doctor_verb(cfg: BuildConfig, groups: tuple[str, ...], install: bool) -> int:
    """List the OS programs that the build needs, each with its package and purpose.

    Exit status 2 when something is missing. Example: hypergen doctor build run --install
    """
    return doctor.main([*groups, *(["--install"] if install else [])])


@verb("clean")
def clean(cfg: BuildConfig) -> None:
    """Remove the output folder and the build trees; downloads, ccache and the venv stay.

    Example: hypergen clean --out /tmp/out
    """
    from hypergen import cleanup

    cleanup.clean(cfg)


@verb("distclean")
def distclean(cfg: BuildConfig) -> None:
    """Remove all that hypergen ever made: clean, and the cache with downloads, ccache, venv.

    Example: hypergen distclean
    """
    from hypergen import cleanup

    cleanup.distclean(cfg)


# --- the one place where errors end ---------------------------------------------------------------


class Terminated(KeyboardInterrupt):
    """SIGTERM; ends programs and stages in the way Ctrl+C does."""


def _terminate(_number: int, _frame: object) -> NoReturn:
    raise Terminated


def _unexpected(error: Exception) -> None:
    """One line for the user, the traceback into a file."""
    text = "".join(traceback.format_exception(error))
    log: Path | None = None
    try:
        log = config.load().logs / "traceback.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(text, "utf-8")
    except (OSError, HypergenError):
        sys.stderr.write(text)
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    hint = "this is a mistake in hypergen; please report it with that log"
    if isinstance(error, OSError) and not hasattr(error, "argv"):
        hint = "is the disk full, or a folder not writable?"
    progress.failure(BuildError(what, log=log, hint=hint))


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run a verb and exit: 0 done, 1 failed, 2 the user's mistake, 130 interrupted."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        status = cli.main(arguments, prog_name="hypergen", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        status = 2
    except HypergenError as error:
        progress.failure(error)
        status = error.exit_code
    except (KeyboardInterrupt, click.Abort) as error:
        progress.console.print(
            "\nhypergen: interrupted; run the same command again, it carries on where it was"
        )
        cause = error.__cause__ or error  # click wraps the interruption in an Abort
        status = 143 if isinstance(cause, Terminated) else INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        status = 1
    except Exception as error:
        _unexpected(error)
        status = 1
    sys.exit(status if isinstance(status, int) else 0)
