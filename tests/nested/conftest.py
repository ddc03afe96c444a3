# SPDX-License-Identifier: Apache-2.0
"""One nested host for all tests here, booted when it is first wanted and after a failure.

A test module that needs more files in the host defines ``nest_overlay(overlay, cfg)``, which adds
them to the second initramfs before the host boots; one that needs more than two CPUs says how many
as ``NEST_CPUS``, and gets a host of its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from hypergen import config, run
from hypergen.config import BuildConfig
from hypergen.guests import ext4
from tests.bench.overlay import Overlay
from tests.e2e.bounds import TimedOut
from tests.e2e.files import only
from tests.e2e.machine import make_room
from tests.nested import nest as nests
from tests.nested import stock
from tests.nested.nest import Nest

TOP = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
FAILED = pytest.StashKey[bool]()
CFLAGS = ("-std=gnu11", "-O2", "-static", "-pthread", "-Wall", "-Wextra", "-Werror")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Iterator[None]:  # the type of a wrapper is looser than mypy can say
    report = yield
    if report.failed:  # type: ignore[attr-defined]
        item.stash[FAILED] = True
    return report


@pytest.fixture(scope="session")
def cfg() -> BuildConfig:
    """The settings that `make test` was started with."""
    return config.load()


def _tree(files: Overlay, folder: Path) -> None:
    """PID 1, the start-up scripts and the shell of this source tree, as out/bzImage may be older.

    The shell's sources lie beside the compiled modules, and Python takes a source first.
    """
    init = folder / "init"
    subprocess.run(["cc", *CFLAGS, "-o", init, *(TOP / "initramfs").glob("*.c")], check=True)
    files.copy("init", init)
    for script in (TOP / "initramfs/overlay/etc/hypergen").iterdir():
        files.copy(f"etc/hypergen/{script.name}", script)
    for source in (TOP / "shell").rglob("*.py"):
        files.copy(f"usr/lib/python3.11/{source.relative_to(TOP / 'shell')}", source, 0o644)


def _programs(folder: Path) -> dict[str, Path]:
    built = {}
    for source in sorted((HERE / "programs").glob("*.c")):
        built[source.stem] = folder / source.stem
        argv = ["cc", *CFLAGS, "-o", str(folder / source.stem), str(source)]
        subprocess.run(argv, check=True)
        subprocess.run(["strip", "-s", str(folder / source.stem)], check=True)
    return built


def _guest_initrd(cfg: BuildConfig, target: Path) -> Path:
    busybox = stock.busybox(cfg)
    initrd = Overlay()
    initrd.copy("init", HERE / "guest-init")
    initrd.copy("bin/busybox", busybox)
    for applet in run.capture([busybox, "--list"]).split():
        if applet != "busybox":
            initrd.symlink(f"bin/{applet}", "busybox")
    for folder in ("dev", "proc", "sys"):
        initrd.directory(folder)
    initrd.node("dev/console", "c", 5, 1, 0o600)
    return initrd.write(target)


@pytest.fixture(scope="session")
def overlay(
    cfg: BuildConfig, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The second initramfs of the host."""
    (cfg.out / "nested").mkdir(parents=True, exist_ok=True)
    with (cfg.out / "nested" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests of other files may run beside us
        return _overlay(cfg, request, tmp_path_factory.mktemp("nest"))


def _overlay(cfg: BuildConfig, request: pytest.FixtureRequest, folder: Path) -> Path:
    kernels = cfg.out / "guest_kernel"
    files = Overlay()
    files.copy("nest/init", HERE / "host-init")
    files.copy("usr/bin/hg-vmm", nests.build_vmm(cfg, folder))
    _tree(files, folder)
    files.copy("nest/vmlinux", only(kernels, "vmlinux-*"))
    files.copy("nest/bzImage", only(kernels, "bzImage-*"))
    files.copy("nest/guest.cpio", _guest_initrd(cfg, folder / "guest.cpio"))
    for name, program in _programs(folder).items():
        files.copy(f"nest/bin/{name}", program)
        fragment = Overlay()
        fragment.copy(f"bin/{name}", program)
        files.copy(f"nest/cpio/{name}", fragment.write(folder / f"{name}.cpio"))
    modules = {item.module for item in request.session.items if isinstance(item, pytest.Function)}
    for module in sorted(modules, key=lambda one: one.__name__):
        if add := getattr(module, "nest_overlay", None):
            add(files, cfg)
    return files.write(folder / "overlay.cpio")


@pytest.fixture(scope="session")
def scratch(cfg: BuildConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The host's disk; its content is forgotten when the host ends."""
    folder = tmp_path_factory.mktemp("scratch")
    (folder / "tree").mkdir()
    image = folder / "disk.img"
    log = cfg.logs / "nested-mke2fs.log"
    ext4.make(image, folder / "tree", label="scratch", mib=4096, log=log)
    return image


class Shared:
    """The one host of the session."""

    def __init__(self, cfg: BuildConfig, overlay: Path, disk: Path) -> None:
        self._cfg, self._overlay, self._disk = cfg, overlay, disk
        self._stack = contextlib.ExitStack()
        self._nest: Nest | None = None
        self._boots = 0
        self._cpus = 0

    def nest(self, cpus: int = 2) -> Nest:
        """A host with that many CPUs, booted if need be."""
        if cpus != self._cpus:
            self.close()
            self._cpus = cpus
        if self._nest is None:
            make_room(self.close)
            self._boots += 1
            name = f"nest{self._boots}{os.environ.get('PYTEST_XDIST_WORKER', '')}"
            self._nest = self._stack.enter_context(
                nests.boot(self._cfg, self._overlay, self._disk, name, cpus=cpus)
            )
        return self._nest

    def close(self) -> None:
        """End the machine, if there is one."""
        self._nest = None
        self._stack.close()


@pytest.fixture(scope="session")
def shared(cfg: BuildConfig, overlay: Path, scratch: Path) -> Iterator[Shared]:
    """See :class:`Shared`."""
    one = Shared(cfg, overlay, scratch)
    yield one
    one.close()


@pytest.fixture
def nest(shared: Shared, request: pytest.FixtureRequest) -> Iterator[Nest]:
    """The shared host without guests, and after the test again."""
    request.node.stash[FAILED] = False  # also when this is another try
    yield (one := shared.nest(getattr(request.module, "NEST_CPUS", 2)))
    if request.node.stash[FAILED]:
        shared.close()
        return
    try:
        one.clean()
    except TimedOut as error:
        # The test is over and was good; the next one gets a host booted anew.
        warnings.warn(f"the host did not come clean: {error}", stacklevel=1)
        shared.close()
