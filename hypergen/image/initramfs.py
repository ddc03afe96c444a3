# SPDX-License-Identifier: Apache-2.0
"""Compose the host's initramfs from ``initramfs/manifest.toml``; no root needed.

The archive is not compressed: the kernel build compresses it with the kernel, as one stream. Same
inputs (manifest, overlay, sources, package digests, compiler) give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hypergen import __version__, progress, run
from hypergen.config import BuildConfig
from hypergen.errors import BuildError, UserError
from hypergen.image import debs, elf, ldcache, npm, pystdlib
from hypergen.image.cpio import Archive
from hypergen.image.manifest import Manifest, load
from hypergen.stage import Stage, tree_files

_TOOL = ("cpio", "debs", "elf", "initramfs", "ldcache", "manifest", "npm", "pystdlib")
"""Modules of this tool that determine the archive."""

_LIBRARIES = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")
"""Where Debian's packages keep shared libraries."""

_LIBRARY_FOLDER = "usr/lib/x86_64-linux-gnu"
_WARNINGS = ("-std=gnu11", "-Os", "-Wall", "-Wextra", "-Werror")
_SMALL = ("-Wl,--build-id=none", "-Wl,-z,noseparate-code", "-s")
PROGRAM_FLAGS = (
    *(*_WARNINGS, "-fstack-protector-strong", "-D_FORTIFY_SOURCE=2", *_SMALL),
    *("-Wl,-z,relro", "-Wl,-z,now"),
)
"""How each ``[[compile]]`` is compiled."""
_SHIM_FLAGS = (*_WARNINGS, "-shared", "-fPIC", "-nostdlib", *_SMALL)


class _Composer:
    """One run of the composition: the archive so far and the unpacked packages."""

    def __init__(self, cfg: BuildConfig, manifest: Manifest, trees: dict[str, Path]) -> None:
        self.cfg = cfg
        self.manifest = manifest
        self.trees = trees
        self.archive = Archive()
        self.room = cfg.top / "initramfs"
        self.folder = cfg.work / "initramfs"
        self.sizes: dict[str, int] = {}
        self._shims: dict[str, Path] = {}

    def _put(self, item: str, path: str, data: bytes, permissions: int = 0o644) -> None:
        if elf.is_elf(data):
            data = elf.without_unwinding(data, f"/{path}")
        self.archive.file(path, data, permissions)
        self.sizes[item] = self.sizes.get(item, 0) + len(data)

    def layout(self) -> None:
        for path in self.manifest.directories:
            self.archive.directory(path, {"tmp": 0o1777, "root": 0o700}.get(path, 0o755))
        for path, target in self.manifest.symlinks:
            self.archive.symlink(path, target)
        for node in self.manifest.nodes:
            self.archive.node(*node)

    def packages(self) -> None:
        for package in self.manifest.packages:
            for source, target in package.files:
                path = self.trees[package.name] / source
                if not path.is_file():
                    raise UserError(f"manifest.toml: package {package.name} has no file /{source}")
                self._put(package.name, target, path.read_bytes(), 0o755)

    def npm(self) -> None:
        for package in self.manifest.npm:
            path = npm.archive(self.cfg, package.name, package.version, package.sha256)
            for source, target in package.files:
                self._put(package.name, target, npm.member(path, source))

    def applets(self) -> None:
        busybox = self.manifest.busybox
        known = set(self._run_image_program(busybox, ["--list"]).split())
        for applet in self.manifest.applets:
            if applet not in known:
                raise UserError(f"manifest.toml: this busybox has no applet {applet!r}")
            self.archive.symlink(f"usr/bin/{applet}", "busybox")

    def _run_image_program(self, path: str, words: list[str]) -> str:
        """Run a program of the packages by the packages' own loader and C library."""
        file = self.folder / "run" / Path(path).name
        file.parent.mkdir(parents=True, exist_ok=True)
        entry = self.archive.get(path)
        assert entry is not None
        file.write_bytes(entry.data)
        file.chmod(0o755)
        return run.capture([*self.interpreter().argv[:3], file, *words])

    def programs(self, built: dict[str, Path]) -> None:
        """What is compiled from the sources here, and what other verbs built."""
        for program in self.manifest.compiled:
            out = self.folder / Path(program.to).name
            what = (*program.sources, *program.link_flags())
            self._cc([*PROGRAM_FLAGS, "-o", out, *what], out)
            self._put(out.name, program.to, out.read_bytes(), 0o755)
        for name, soname in self.manifest.shims:
            out = self.folder / soname
            source = f"shims/{name}"
            flags: list[str | Path] = [
                f"-Wl,--version-script={source}.map",
                f"-Wl,-soname={soname}",
                "-o",
                out,
            ]
            self._cc([*_SHIM_FLAGS, *flags, f"{source}.c"], out)
            self._shims[soname] = out
        for to, path in built.items():
            stripped = self.folder / "stripped"
            run.run(["strip", "-s", "-o", stripped, path], log=self.cfg.logs / "strip.log")
            self._put(path.name, to, stripped.read_bytes(), 0o755)

    def _cc(self, words: Sequence[str | Path], out: Path) -> None:
        log = self.cfg.logs / f"cc-{out.name}.log"
        # From inside the room: relative names, so that no path of ours gets into the program.
        run.run(["cc", *words], cwd=self.room, log=log, verbose=self.cfg.verbose)

    def interpreter(self) -> pystdlib.Interpreter:
        trees = self.trees
        library = self.manifest.library
        return pystdlib.Interpreter(
            loader=trees["libc6"] / "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
            library_path=tuple(
                tree / folder
                for tree in trees.values()
                for folder in _LIBRARIES
                if (tree / folder).is_dir()
            ),
            program=trees["python3.11-minimal"] / self.manifest.interpreter,
            home=trees["libpython3.11-minimal"] / "usr",
            path=(trees["libpython3.11-stdlib"] / library,),
        )

    def python(self) -> None:
        library = self.manifest.library
        roots = [
            self.trees[name] / library for name in ("libpython3.11-minimal", "libpython3.11-stdlib")
        ]
        groups = {
            "python stdlib": pystdlib.stdlib_modules(
                roots, self.manifest.stdlib, self.manifest.stdlib_exclude
            )
        }
        for package in self.manifest.python_packages:
            base = self.trees[package.deb] if package.deb else self.cfg.top
            groups[package.name] = pystdlib.package_modules(
                package.name, base / package.folder, package.exclude
            )
        modules = [module for group in groups.values() for module in group]
        compiled = pystdlib.compile_modules(self.cfg, self.interpreter(), modules, library)
        for item, group in groups.items():
            for module in group:
                place = f"{module.place}.pyc"
                self._put(item, f"{library}/{place}", compiled[place])
        for package in self.manifest.python_packages:
            base = (self.trees[package.deb] if package.deb else self.cfg.top) / package.folder
            for source in pystdlib.package_data(package.name, base, package.data):
                place = f"{library}/{package.name}/{source.relative_to(base).as_posix()}"
                self._put(package.name, place, source.read_bytes())
        for name in self.manifest.extensions:
            self._put("python extensions", *self._extension(name, roots), 0o644)

    def _extension(self, name: str, roots: list[Path]) -> tuple[str, bytes]:
        for root in roots:
            for path in (root / "lib-dynload").glob(f"{name}.cpython-*.so"):
                return f"{self.manifest.library}/lib-dynload/{path.name}", path.read_bytes()
        raise UserError(f"manifest.toml: python.extensions: no extension module {name!r}")

    def overlay(self) -> None:
        top = self.room / "overlay"
        for path in tree_files(top):
            place = path.relative_to(top).as_posix()
            if path.is_symlink():
                self.archive.symlink(place, str(path.readlink()))
            else:
                executable = path.stat().st_mode & 0o100
                self._put("overlay", place, path.read_bytes(), 0o755 if executable else 0o644)
        release = (
            'NAME="hyper-gen"\nID=hyper-gen\nPRETTY_NAME="hyper-gen {0}"\n'
            'VERSION="{0}"\nVERSION_ID="{0}"\n'
        )
        self._put("overlay", "etc/os-release", release.format(__version__).encode())
        self._put("overlay", "etc/hypergen/version", f"{__version__}\n".encode())

    def libraries(self) -> None:
        """Add every shared library that an ELF file of the archive needs."""
        roots = [(f"/{entry.path}", entry.data) for entry in self.archive if elf.is_elf(entry.data)]
        known: list[str] = []
        for soname, path in elf.closure(roots, self._find_library).items():
            if soname.startswith("ld-linux"):
                continue  # it is there, under the name that programs ask the kernel for
            self._put("shared libraries", f"{_LIBRARY_FOLDER}/{soname}", path.read_bytes(), 0o755)
            known.append(soname)
        self._put(
            "shared libraries", "etc/ld.so.cache", ldcache.build(f"/{_LIBRARY_FOLDER}", known)
        )

    def _find_library(self, soname: str) -> Path | None:
        if soname in self._shims:
            return self._shims[soname]
        for tree in self.trees.values():
            for folder in _LIBRARIES:
                if (tree / folder / soname).is_file():
                    return tree / folder / soname
        return None


def _built(cfg: BuildConfig, manifest: Manifest, vmm: Path | None) -> dict[str, Path]:
    """Place in the image → file, for what other verbs build."""
    found = {}
    for source, target in manifest.built:
        path = cfg.work / source
        if vmm is not None and path.name == "hg-vmm":
            path = vmm
        if not path.is_file():
            raise BuildError(f"{path} is missing", hint=f"`hypergen vmm` builds {path.name}")
        found[target] = path
    return found


def _archives(manifest: Manifest) -> list[Path]:
    """The build machine's libraries that are linked into programs of the room."""
    found = []
    for name in sorted({name for one in manifest.compiled for name in one.libraries}):
        path = Path(run.capture(["cc", f"-print-file-name=lib{name}.a"]).strip())
        if not path.is_absolute():
            hint = "`hypergen doctor` lists what to install"
            raise UserError(f"lib{name}.a: this machine has no such library", hint=hint)
        found.append(path)
    return found


def _compiler_version() -> str:
    return run.capture(["cc", "--version"]).splitlines()[0]


def build(cfg: BuildConfig, *, vmm: Path | None = None) -> Path:
    """Write ``initramfs.cpio`` into the work folder, unless it is up to date; returns its path.

    Beside it, ``initramfs.json`` holds the packages with versions and digests, and the bytes of
    each item.

    Args:
        vmm: the mini-VMM's binary, when it is not where its verb puts it.

    Raises:
        UserError: the manifest asks for something that does not exist.
        BuildError: a download, a compiler or something built before failed.
    """
    room = cfg.top / "initramfs"
    manifest = load(room / "manifest.toml")
    built = _built(cfg, manifest, vmm)
    fetched = debs.fetch(cfg, [package.name for package in manifest.packages])
    folder = cfg.work / "initramfs"
    cpio, facts = folder / "initramfs.cpio", folder / "initramfs.json"
    stage = Stage(cfg, "initramfs", outputs=[cpio, facts])
    stage.tree(room).tree(cfg.top / "shell" / "hypershell")
    for name in _TOOL:
        stage.file(Path(__file__).with_name(f"{name}.py"))
    for path in (*built.values(), *_archives(manifest)):
        stage.file(path)
    for deb in fetched.values():
        stage.text(deb.name, deb.sha256)
    stage.text("version", __version__).text("compiler", _compiler_version())
    with stage as todo:
        if todo:
            folder.mkdir(parents=True, exist_ok=True)
            with progress.step("Composing the initramfs"):
                sizes = _compose(cfg, manifest, fetched, built, cpio)
            _write_facts(facts, fetched, sizes)
    return cpio


def _compose(
    cfg: BuildConfig,
    manifest: Manifest,
    fetched: dict[str, debs.Deb],
    built: dict[str, Path],
    cpio: Path,
) -> dict[str, int]:
    trees = {package.name: debs.unpack(cfg, fetched[package.name]) for package in manifest.packages}
    composer = _Composer(cfg, manifest, trees)
    composer.layout()
    composer.packages()
    composer.npm()
    composer.applets()
    composer.programs(built)
    composer.python()
    composer.overlay()
    composer.libraries()
    temporary = cpio.with_suffix(".tmp")
    temporary.write_bytes(composer.archive.serialise())
    temporary.replace(cpio)
    return composer.sizes


def _write_facts(path: Path, fetched: dict[str, debs.Deb], sizes: dict[str, int]) -> None:
    facts: dict[str, Any] = {
        "packages": {name: asdict(fetched[name]) for name in sorted(fetched)},
        "bytes": dict(sorted(sizes.items())),
    }
    path.write_text(json.dumps(facts, indent=1) + "\n", "utf-8")


def describe(cfg: BuildConfig) -> dict[str, Any]:
    """What the last build put in: ``packages`` (name → version, digest) and ``bytes`` (item → n).

    Raises:
        BuildError: there was no build yet.
    """
    path = cfg.work / "initramfs" / "initramfs.json"
    try:
        facts: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        raise BuildError(f"{path} is missing", hint="`hypergen initramfs` makes it") from None
    return facts
