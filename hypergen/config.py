# SPDX-License-Identifier: Apache-2.0
"""Every setting of the build, declared once.

A setting's value is the first of: the command line, the environment (which is how
``make NAME=value`` arrives), ``hypergen.toml`` beside the Makefile, the default. :func:`load` turns
them into one frozen :class:`BuildConfig`; nothing later in the run changes it.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hypergen.errors import UserError

TOP = Path(__file__).resolve().parent.parent
"""The source tree: the folder that holds ``hypergen/``, ``vmm/``, ``shell/``, …"""

DISPLAY_MODES = ("window", "curses", "serial")
FIRMWARES = ("bios", "uefi")
ACCELERATORS = ("auto", "kvm", "tcg")


def _path(text: str) -> Path:
    return Path(text).expanduser().absolute()


def _optional_path(text: str) -> Path | None:
    return _path(text) if text else None


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError("must be 1 or more")
    return value


def _bool(text: str) -> bool:
    try:
        return {"1": True, "y": True, "yes": True, "true": True, "on": True}.get(
            text.lower(), False
        ) or {"": False, "0": False, "n": False, "no": False, "false": False, "off": False}[
            text.lower()
        ]
    except KeyError:
        raise ValueError("must be yes or no") from None


def _choice(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return text

    return parse


def default_cache() -> str:
    """The cache folder of the XDG base directory specification, ours below it."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return str(Path(base).expanduser() / "hypergen")


@dataclass(frozen=True)
class Setting:
    """One setting: field of :class:`BuildConfig`, variable, parser, default and help."""

    name: str
    variable: str
    parse: Callable[[str], Any]
    default: Callable[[], str]
    help: str


SETTINGS: tuple[Setting, ...] = (
    Setting("out", "O", _path, lambda: str(TOP / "out"), "folder of everything that is built"),
    Setting("cache", "HYPERGEN_CACHE", _path, default_cache, "downloads, build trees, ccache"),
    Setting("jobs", "JOBS", _positive, lambda: str(os.cpu_count() or 1), "parallel compile jobs"),
    Setting("kernel_src", "KERNEL_SRC", _optional_path, lambda: "", "a local Linux 6.12 tree"),
    Setting("verbose", "V", _bool, lambda: "", "print the programs' own output"),
    Setting(
        "display",
        "DISPLAY_MODE",
        _choice(*DISPLAY_MODES),
        lambda: (
            "window" if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") else "curses"
        ),
        "how `run` shows the machine: window, curses or serial",
    ),
    Setting("firmware", "FIRMWARE", _choice(*FIRMWARES), lambda: "bios", "bios or uefi, for `run`"),
    Setting(
        "accel", "ACCEL", _choice(*ACCELERATORS), lambda: "auto", "auto, kvm or tcg, for `run`"
    ),
    Setting(
        "qemu", "QEMU", str, lambda: "auto", "the QEMU that emulates; auto: one without faults"
    ),
    Setting("memory", "MEMORY", _positive, lambda: "2048", "MiB of memory of the `run` machine"),
    Setting("cpus", "CPUS", _positive, lambda: "2", "CPUs of the `run` machine"),
)


@dataclass(frozen=True)
class BuildConfig:
    """What one run of the tool was asked to do; see :data:`SETTINGS` for each field's meaning."""

    out: Path
    cache: Path
    jobs: int
    kernel_src: Path | None
    verbose: bool
    display: str
    firmware: str
    accel: str
    qemu: str
    memory: int
    cpus: int

    @property
    def top(self) -> Path:
        """The source tree."""
        return TOP

    @property
    def downloads(self) -> Path:
        """Files fetched from elsewhere, verified on every use."""
        return self.cache / "downloads"

    @property
    def work(self) -> Path:
        """Build trees and stamps. Outside ``out`` so that a fresh clone builds incrementally."""
        return self.cache / "work"

    @property
    def logs(self) -> Path:
        """One log a program that was run."""
        return self.out / "log"

    def as_json(self) -> dict[str, object]:
        """The settings as JSON-ready values, keyed by field name."""
        return {
            key: str(value) if isinstance(value, Path) else value
            for key, value in asdict(self).items()
        }


def _file_settings(path: Path) -> dict[str, str]:
    """Read ``hypergen.toml``: a flat table of the settings' field names."""
    if not path.is_file():
        return {}
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid TOML: {error}") from None
    known = {setting.name for setting in SETTINGS}
    for key in table:
        if key not in known:
            raise UserError(
                f"{path}: unknown setting {key!r}", hint=f"known: {', '.join(sorted(known))}"
            )
    return {key: str(value) for key, value in table.items()}


def load(
    overrides: Mapping[str, str | None] | None = None,
    environment: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> BuildConfig:
    """Gather every setting from its sources.

    Raises:
        UserError: a value cannot be parsed; the message names where it came from.
    """
    environment = os.environ if environment is None else environment
    from_file = _file_settings(TOP / "hypergen.toml" if file is None else file)
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        given = (overrides or {}).get(setting.name)
        source = f"--{setting.name.replace('_', '-')}"
        if given is None:
            given, source = environment.get(setting.variable) or None, setting.variable
        if given is None:
            given, source = from_file.get(setting.name), f"hypergen.toml: {setting.name}"
        if given is None:
            given, source = setting.default(), setting.name
        try:
            values[setting.name] = setting.parse(given)
        except ValueError as error:
            raise UserError(f"{source}={given}: {error}", hint=setting.help) from None
    return BuildConfig(**values)
