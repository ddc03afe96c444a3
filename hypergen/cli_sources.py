# SPDX-License-Identifier: Apache-2.0
"""The verbs ``sources`` and ``patches``: where Linux comes from, and the series on top of it."""

from __future__ import annotations

import click

from hypergen.config import BuildConfig


@click.group("sources")
def sources_group() -> None:
    """The pinned Linux sources of kernel-config/sources.toml."""


@sources_group.command("show")
@click.pass_obj
def sources_show(cfg: BuildConfig) -> None:
    """Show the pins and which source a build would take. Fetches nothing.

    Example: hypergen sources show
    """
    from hypergen.linux import sources

    pins = sources.load_pins()
    for tarball in pins.tarballs:
        click.echo(f"pinned  kernel.org {tarball.version} sha256:{tarball.sha256}")
    if pins.package:
        click.echo(f"pinned  debian {pins.package} (the version that apt has)")
    source = sources.linux(cfg) if cfg.kernel_src else sources.cached(cfg, pins)
    if source is None:
        click.echo("cached  none; `hypergen sources fetch` gets the first that can be had")
    else:
        click.echo(f"cached  {source.kind} {source.version} sha256:{source.digest} {source.path}")


@sources_group.command("fetch")
@click.option("--update", is_flag=True, help="ask the servers even when something is cached")
@click.pass_obj
def sources_fetch(cfg: BuildConfig, update: bool) -> None:
    """Fetch the Linux source, or verify the one at hand by its digest.

    Example: hypergen sources fetch --update
    """
    from hypergen.linux import sources

    source = sources.linux(cfg, update=True) if update else sources.checked(cfg)
    click.echo(f"{source.kind} {source.version} sha256:{source.digest} {source.path}")


@click.group("patches")
def patches_group() -> None:
    """The KVM patch series of kernel-config/patches/."""


@patches_group.command("check")
@click.pass_obj
def patches_check(cfg: BuildConfig) -> None:
    """Try the series on a pristine tree, strictly; says which patch, file and hunk fails.

    Example: hypergen patches check
    """
    from hypergen.linux import tree

    version, series = tree.check_series(cfg)
    for patch in series:
        click.echo(f"{patch.path.name}: {patch.purpose}")
    click.echo(f"{len(series)} patches apply to Linux {version}")
