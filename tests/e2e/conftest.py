# SPDX-License-Identifier: Apache-2.0
"""What the end-to-end tests share: what is built, a disk to boot, one booted host.

A boot takes long where QEMU emulates the CPU, so the tests share one host (`host`) and leave it as
they found it; a test that fails costs the next one a new boot.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hypergen import config
from hypergen.boot import disk
from hypergen.config import BuildConfig
from tests.bench import rig
from tests.bench.overlay import Overlay
from tests.e2e import host as hosts
from tests.e2e.files import FILES, only
from tests.e2e.host import Host
from tests.e2e.machine import LIVE, free_port, make_room

TOP = Path(__file__).resolve().parents[2]
MIB = 1 << 20
CLOCK_SLACK = 5
"""Seconds that the shared host's clock may be late."""
FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Iterator[None]:  # the type of a wrapper is looser than mypy can say
    report = yield
    if call.when == "call":
        item.stash[FAILED] = report.failed  # type: ignore[attr-defined]
    if report.failed:  # type: ignore[attr-defined]
        for machine in LIVE:
            report.sections.append((f"machine {machine.name}", machine.dump()))  # type: ignore[attr-defined]
    return report


@pytest.fixture(scope="session")
def cfg() -> BuildConfig:
    """The settings that `make test` was started with."""
    return config.load()


@pytest.fixture(scope="session")
def built(cfg: BuildConfig) -> BuildConfig:
    """Everything is built, by the verb that a person would use if something is missing."""
    needed = [cfg.out / name for name in ("bzImage", "disk.img", "guest_kernel", "guest_image")]
    if not all(path.exists() for path in needed):
        subprocess.run([sys.executable, "-m", "hypergen", "disk"], cwd=TOP, check=True)
    return cfg


@pytest.fixture(scope="session")
def logs(cfg: BuildConfig) -> Path:
    """Where the machines' logs and last screens are kept."""
    return cfg.logs / "e2e"


@pytest.fixture(scope="session")
def test_disk(built: BuildConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk like `make run`'s, with more guests on it, some of them broken."""
    folder = tmp_path_factory.mktemp("disk")
    kernels, images = built.out / "guest_kernel", built.out / "guest_image"
    vmlinux = only(kernels, "vmlinux-*")

    def made(name: str, content: bytes) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    initrd = Overlay()
    init = rig.compile_c(built, "guest_init", ["guest_init.c"], rig.FREESTANDING)
    initrd.copy("init", init)
    second = folder / FILES.second  # a copy: a second name of one file would share its lock
    shutil.copyfile(only(images, "busybox*.img"), second)
    made(FILES.blank, b"").open("r+b").truncate(16 * MIB)
    return disk.make(
        folder / "disk.img",
        bzimage=built.out / "bzImage",
        kernels={
            FILES.vmlinux: vmlinux,
            FILES.bzimage: only(kernels, "bzImage-*"),
            FILES.initrd: initrd.write(folder / FILES.initrd),
            FILES.corrupt: made(FILES.corrupt, os.urandom(MIB)),
            FILES.cut: made(FILES.cut, vmlinux.read_bytes()[: 256 * 1024]),
        },
        images={
            FILES.busybox: only(images, "busybox*.img"),
            FILES.second: second,
            FILES.debian: only(images, "debian*.img"),
            FILES.blank: folder / FILES.blank,
            FILES.zero: made(FILES.zero, b""),
        },
        extra_mib=64,
        grub_timeout=-1,
    )


@pytest.fixture(scope="session")
def spare_disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A blank second disk; what is written to it stays."""
    path = tmp_path_factory.mktemp("spare") / "spare.img"
    with path.open("wb") as stream:
        stream.truncate(512 * MIB)
    return path


class Shared:
    """The one host of the session, booted when it is first wanted and after a failure."""

    def __init__(self, cfg: BuildConfig, disk_image: Path, spare: Path, logs: Path) -> None:
        self._cfg, self._disk, self._spare, self._logs = cfg, disk_image, spare, logs
        self._stack = contextlib.ExitStack()
        self._host: Host | None = None
        self._boots = 0
        self._paused = 0.0  # since when, by time.monotonic()

    def host(self) -> Host:
        """The host, with a shell at its prompt."""
        if self._host is not None:
            self._host.machine.qmp("cont")
            if time.monotonic() - self._paused > CLOCK_SLACK:
                self._host.rescue.run("hwclock -s -u")  # the emulated RTC went on
        else:
            make_room(self.close)
            self._boots += 1
            ssh = free_port()
            # Another machine boots from the spare disk later, when this one has let go of it.
            second = f"if=none,id=disk1,format=raw,file.locking=off,file={self._spare}"
            self._host = self._stack.enter_context(
                hosts.grub(
                    self._cfg,
                    self._disk,
                    self._logs,
                    f"host{self._boots}{os.environ.get('PYTEST_XDIST_WORKER', '')}",
                    memory=3072,
                    cpus=2,
                    forwards={ssh: 22},
                    extra=("-drive", second, "-device", "virtio-blk-pci,drive=disk1"),
                )
            )
            self._host.ssh = ssh
        return self._host

    def pause(self) -> None:
        """Stop the machine's CPUs: even an idle one takes 5 % of ours."""
        if self._host is not None:
            self._host.machine.qmp("stop")
            self._paused = time.monotonic()

    def close(self) -> None:
        """End the machine, if there is one."""
        self._host = None
        self._stack.close()


@pytest.fixture(scope="session")
def shared(built: BuildConfig, test_disk: Path, spare_disk: Path, logs: Path) -> Iterator[Shared]:
    """See :class:`Shared`."""
    one = Shared(built, test_disk, spare_disk, logs)
    yield one
    one.close()


@pytest.fixture
def host(shared: Shared, request: pytest.FixtureRequest) -> Iterator[Host]:
    """The shared host without any VM, and after the test again."""
    yield (one := shared.host())
    if request.node.stash.get(FAILED, True):
        shared.close()
        return
    # Most tests have ended their VMs, and to ask the shell costs more than to look.
    if one.rescue.run("set -- /run/hypergen/vm/*; [ ! -e $1 ] || echo VMs"):
        one.command("vm_destroy all")
    one.serial.ready()
    shared.pause()
