# SPDX-License-Identifier: Apache-2.0
"""The two kernels: the host's bzImage with the initramfs inside, and the demo guest's.

Both come from one patched tree (:mod:`hypergen.tree`). Everything that Kbuild would take from the
machine is fixed, so the same inputs give the same bytes (kernel: Documentation/kbuild/
reproducible-builds.rst).
"""

from __future__ import annotations

import filecmp
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hypergen import ccache, progress, run
from hypergen.config import TOP, BuildConfig
from hypergen.errors import BuildError, UserError
from hypergen.linux import kconfig, tree
from hypergen.linux.kconfig import Request
from hypergen.linux.tree import Tree
from hypergen.stage import Stage

KINDS = ("host", "guest")
FRAGMENTS = TOP / "kernel-config"
LOCAL_FRAGMENT = "99-local.config"
INITRAMFS = "initramfs.cpio"
"""The initramfs's name in the host's build folder, which CONFIG_INITRAMFS_SOURCE is relative to."""

EMPTY_CPIO = (
    "070701" + "0" * 8 * 4 + "00000001" + "0" * 8 * 6 + "0000000b" + "0" * 8 + "TRAILER!!!\0\0\0\0"
).encode()
"""An archive without files (kernel: Documentation/driver-api/early-userspace/buffer-format.rst)."""


@dataclass(frozen=True)
class Kernel:
    """A kernel that was built.

    Attributes:
        kind: ``host`` or ``guest``.
        release: what ``uname -r`` says in it.
        key: changes whenever anything it is made of changes.
        bzimage: the compressed image, in the build folder.
        vmlinux: the ELF file, unstripped, in the build folder.
        facts: for the manifest.
    """

    kind: str
    release: str
    key: str
    bzimage: Path
    vmlinux: Path
    facts: dict[str, object]


def fragments(kind: str) -> list[Path]:
    """The fragment files of a kernel, in the order they are applied.

    Raises:
        UserError: there is no such kernel.
    """
    if kind not in KINDS:
        raise UserError(f"{kind}: no such kernel", hint=f"one of: {', '.join(KINDS)}")
    found = sorted((FRAGMENTS / kind).glob("*.config"))
    if not found:
        raise UserError(f"{FRAGMENTS / kind}: no *.config fragments")
    return found


def environment(cfg: BuildConfig) -> dict[str, str]:
    """Variables for Kbuild: no trace of this machine in the result, and ccache's settings."""
    return {
        "KBUILD_BUILD_TIMESTAMP": "Thu Jan  1 00:00:00 UTC 1970",
        "KBUILD_BUILD_USER": "hypergen",
        "KBUILD_BUILD_HOST": "hypergen",
        "KBUILD_BUILD_VERSION": "1",
        "SOURCE_DATE_EPOCH": "0",
        "TZ": "UTC",
        # Set though empty: else setlocalversion(1) appends "+" inside somebody's git tree.
        "LOCALVERSION": "",
        **ccache.environment(cfg, cfg.work),
    }


def _make(cfg: BuildConfig, folder: Path, *targets: str) -> list[str | Path]:
    """The command line of Kbuild for the O= folder `folder`."""
    command: list[str | Path] = ["make", "-C", folder.parent, f"O={folder.name}", f"-j{cfg.jobs}"]
    command += [f"CC={ccache.compiler()}", f"HOSTCC={ccache.compiler()}"]
    if cfg.verbose:
        command.append("V=1")
    return [*command, *targets]


def toolchain() -> str:
    """What compiles and links, in words; part of the stages' keys."""
    first = [run.capture([tool, "--version"]).partition("\n")[0] for tool in ("gcc", "ld")]
    return "; ".join(first)


def _requests(kind: str) -> list[Request]:
    requests, remarks = kconfig.read_fragments(fragments(kind))
    for remark in remarks:
        progress.warn(remark)
    if kind == "host":
        requests.append(Request("INITRAMFS_SOURCE", f'"{INITRAMFS}"', "hypergen/linux/kernel.py"))
    return requests


def configure(cfg: BuildConfig, source: Tree, kind: str) -> str:
    """Bring the build folder's ``.config`` to what the fragments ask; returns the stage's key.

    Raises:
        BuildError: Kconfig refused a symbol; the message lists each.
    """
    folder = source.build_folder(kind)
    stage = Stage(cfg, f"config-{kind}", outputs=[folder / ".config"])
    stage.text("tree", source.key).text("tools", toolchain()).text("kind", kind)
    for path in fragments(kind):
        stage.file(path)
    with stage as todo:
        if todo:
            with progress.step(f"configure the {kind} kernel"):
                _olddefconfig(cfg, folder, kind)
    return stage.key


def _olddefconfig(cfg: BuildConfig, folder: Path, kind: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    requests = _requests(kind)
    env, log = environment(cfg), cfg.logs / f"kernel-{kind}-config.log"
    # A .config of its own name, so that an interruption leaves no half-asked one behind.
    env["KCONFIG_CONFIG"] = ".config.new"
    new = folder / ".config.new"
    run.run(_make(cfg, folder, "tinyconfig"), env=env, log=log)
    new.write_text(kconfig.merge(kconfig.read_config(new), requests), "utf-8")
    run.run(_make(cfg, folder, "olddefconfig"), env=env, log=log)
    kconfig.require(requests, kconfig.read_config(new), kind)
    target = folder / ".config"
    if target.exists() and filecmp.cmp(new, target, shallow=False):
        new.unlink()  # the old time stands, and Kbuild has nothing to do
    else:
        new.replace(target)


def _place_initramfs(folder: Path, initramfs: Path | None) -> None:
    """Put the archive where Kbuild looks; an unchanged one keeps its time: nothing is relinked."""
    target = folder / INITRAMFS
    temporary = folder / (INITRAMFS + ".new")
    if initramfs is None:
        temporary.write_bytes(EMPTY_CPIO)
    elif target.exists() and filecmp.cmp(initramfs, target, shallow=False):
        return
    else:
        shutil.copyfile(initramfs, temporary)
    temporary.replace(target)


def _counter() -> Callable[[str], str]:
    """Shows Kbuild's lines (``  CC      mm/slab.o``) as ``mm/slab.o (812 files)``."""
    done = 0

    def watch(line: str) -> str:
        nonlocal done
        match = re.match(r" {2}([A-Z]+)(?: \[M\])? +(\S+)", line)
        if not match:
            return line
        done += match[1] in ("CC", "AS", "HOSTCC")
        return f"{match[1]} {match[2]}" + (f" ({done} files)" if done else "")

    return watch


def _compile(
    cfg: BuildConfig, source: Tree, kind: str, targets: list[str], initramfs: Path | None
) -> Kernel:
    """Configure and build one kernel; skipped while nothing it depends on has changed."""
    folder = source.build_folder(kind)
    config_key = configure(cfg, source, kind)
    facts_file = folder / ".hypergen-facts.json"
    bzimage, vmlinux = folder / "arch/x86/boot/bzImage", folder / "vmlinux"
    stage = Stage(cfg, f"kernel-{kind}", outputs=[bzimage, vmlinux, facts_file])
    stage.text("config", config_key).text("targets", targets)
    if initramfs is not None:
        stage.file(initramfs, INITRAMFS)
    with stage as todo:
        if todo:
            title = "relink" if bzimage.exists() else "build"
            with progress.step(f"{title} the {kind} kernel, Linux {source.version}"):
                if kind == "host":
                    _place_initramfs(folder, initramfs)
                log = cfg.logs / f"kernel-{kind}.log"
                run.run(
                    _make(cfg, folder, *targets),
                    env=environment(cfg),
                    log=log,
                    verbose=cfg.verbose,
                    watch=_counter(),
                    hint=f"`grep -n error: {log}`; JOBS=1 puts the lines in order",
                )
            facts_file.write_text(json.dumps(_facts(folder, source, kind), indent=2), "utf-8")
    try:
        facts = json.loads(facts_file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise BuildError(f"{facts_file}: {error}", hint="`hypergen clean` and again") from None
    return Kernel(kind, facts["release"], stage.key, bzimage, vmlinux, facts)


def _facts(folder: Path, source: Tree, kind: str) -> dict[str, object]:
    config = kconfig.read_config(folder / ".config")
    return {
        "release": (folder / "include/config/kernel.release").read_text("utf-8").strip(),
        "version": source.version,
        "source": {
            "kind": source.source.kind,
            "version": source.source.version,
            "sha256": source.source.digest,
            "name": source.source.path.name,
        },
        "patches": list(source.patches),
        "config": {"fragments": [p.name for p in fragments(kind)], **kconfig.counts(config)},
        "toolchain": toolchain(),
    }


def build_host(cfg: BuildConfig, initramfs: Path | None = None) -> Kernel:
    """Build the host kernel around `initramfs` (an uncompressed cpio) into ``out/bzImage``.

    Without an initramfs only the kernel is compiled, with an empty one inside, and ``out/`` is left
    alone: a later call with the real one links and packs again, and compiles nothing.
    """
    with tree.turn(cfg):
        kernel = _compile(cfg, tree.prepare(cfg), "host", ["bzImage"], initramfs)
        if initramfs is not None:
            _publish(cfg, kernel.key, kernel.bzimage, cfg.out / "bzImage")
    return kernel


def build_guest(cfg: BuildConfig) -> Kernel:
    """Build the demo guest's kernel into ``out/guest_kernel/{vmlinux,bzImage}-RELEASE``."""
    with tree.turn(cfg):
        kernel = _compile(cfg, tree.prepare(cfg), "guest", ["vmlinux", "bzImage"], None)
        folder = cfg.out / "guest_kernel"
        _publish(cfg, kernel.key, kernel.bzimage, folder / f"bzImage-{kernel.release}")
        _publish(cfg, kernel.key, kernel.vmlinux, folder / f"vmlinux-{kernel.release}", strip=True)
    return kernel


def _publish(cfg: BuildConfig, key: str, built: Path, target: Path, *, strip: bool = False) -> None:
    """Copy a result into the output folder, once a change."""
    stage = Stage(cfg, f"publish-{target.name}", outputs=[target]).text("kernel", key)
    with stage as todo:
        if not todo:
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.new")
        if strip:
            # Allocated sections stay: the PVH note is one of them.
            run.run(["strip", "--strip-all", "-o", temporary, built], log=cfg.logs / "strip.log")
        else:
            shutil.copyfile(built, temporary)
        temporary.chmod(0o644)
        temporary.replace(target)


def menuconfig(cfg: BuildConfig, kind: str) -> list[str]:
    """Let the user change a kernel's configuration; returns the symbols that changed.

    The build's own ``.config`` is not touched: the result is ``.config.menu`` beside it, and
    :func:`save_local` turns it into a fragment.
    """
    with tree.turn(cfg):
        source = tree.prepare(cfg)
        configure(cfg, source, kind)
        folder = source.build_folder(kind)
        menu = folder / ".config.menu"
        if not menu.exists():
            shutil.copyfile(folder / ".config", menu)
        env = {**environment(cfg), "KCONFIG_CONFIG": menu.name}
        status = run.interactive(_make(cfg, folder, "menuconfig"), env=env)
        if status != 0:
            raise BuildError(
                f"menuconfig ended with status {status}", hint="it needs libncurses-dev"
            )
        return kconfig.changed(kconfig.read_config(folder / ".config"), kconfig.read_config(menu))


def save_local(cfg: BuildConfig, kind: str) -> tuple[Path, list[str]]:
    """Write what menuconfig changed into the fragment ``99-local.config``.

    Only symbols that a minimal configuration names are written (``make savedefconfig`` of both), so
    what follows from another choice is left to Kconfig.

    Returns:
        the fragment and the symbols written to it.
    """
    with tree.turn(cfg):
        source = tree.prepare(cfg)
        configure(cfg, source, kind)
        folder = source.build_folder(kind)
        menu, fragment = folder / ".config.menu", FRAGMENTS / kind / LOCAL_FRAGMENT
        if not menu.exists():
            return fragment, []
        minimal = {}
        for name in (".config", menu.name):
            env = {**environment(cfg), "KCONFIG_CONFIG": name}
            log = cfg.logs / f"kernel-{kind}-savedefconfig.log"
            run.run(_make(cfg, folder, "savedefconfig"), env=env, log=log)
            minimal[name] = kconfig.read_config(folder / "defconfig")
            (folder / "defconfig").unlink()
        symbols = kconfig.changed(minimal[".config"], minimal[menu.name])
        if symbols:
            wanted = kconfig.read_config(menu)
            former, _ = kconfig.read_fragments([fragment] if fragment.exists() else [])
            values = {request.symbol: request.value for request in former}
            values |= {symbol: wanted.get(symbol, kconfig.OFF) for symbol in symbols}
            lines = [kconfig.line_of(*pair) for pair in sorted(values.items())]
            head = f"# Written by `hypergen savedefconfig {kind}`; read last, so it wins.\n"
            fragment.write_text(head + "\n".join(lines) + "\n", "utf-8")
        menu.unlink()
        return fragment, symbols
