# SPDX-License-Identifier: Apache-2.0
"""``hg-vmm`` by itself: Debian's kernel with its own KVM for a host, libc, and nothing of ours."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from pathlib import Path

import pytest

from hypergen.boot import emulator
from hypergen.config import BuildConfig
from hypergen.errors import HypergenError
from tests.e2e.bounds import bound
from tests.e2e.files import only
from tests.e2e.machine import FIRST_SERIAL, SPARE_PORT, Machine
from tests.nested import stock, unikernels
from tests.nested.nest import build_vmm

MODULES = ("irqbypass", "ccp", "kvm", "kvm-amd")

INIT = """#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in $(cat /modules/order); do insmod /modules/$module; done
# An initramfs is no mount that a jail could leave.
mount -t tmpfs root /mnt
cp -a /bin /lib /lib64 /guests /host /mnt/
for folder in dev proc sys; do mkdir /mnt/$folder; mount --move /$folder /mnt/$folder; done
mkdir -p /mnt/run /mnt/tmp
exec switch_root /mnt /bin/sh /host
"""

# The KVM of this host lacks the patch that meets an error of QEMU's TCG, by which one of some
# forty Linux guests stands still (docs/performance.md, "Guests that spin"): three tries.
HOST = """
uname -r
for abi in core v1 v2; do
	echo "=$abi="
	hg-vmm --memory 64M /guests/hello-$abi 2
	echo "=status $?="
done
for try in 1 2 3; do
	echo "=linux="
	timeout SECONDS hg-vmm --kernel /guests/vmlinux --initrd /guests/guest.cpio --memory 128M \\
		--cmdline "console=hvc0 quiet panic=-1"
	status=$?
	echo "=status $status="
	[ $status = 0 ] && break
done
echo "=end="
poweroff -f
"""

GUEST_INIT = """#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
echo "the guest runs $(/bin/busybox uname -r)"
/bin/busybox poweroff -f
"""


def _host(cfg: BuildConfig, tree: Path, folder: Path) -> Path:
    files = stock.initrd(cfg, INIT, "proc", "sys", "mnt")
    files.file("host", HOST.replace("SECONDS", str(int(bound(60)))).encode())
    stock.add_modules(files, tree, MODULES)
    with (cfg.out / "nested" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the shared host's tests may compile it beside us
        program = build_vmm(cfg, folder)
        files.copy("bin/hg-vmm", program)
        files.libraries(program, "")
    for name, image in unikernels.build_all(folder, "hello").items():
        files.copy(f"guests/{name}", image)
    files.copy("guests/vmlinux", only(cfg.out / "guest_kernel", "vmlinux-*"))
    files.copy("guests/guest.cpio", stock.initrd(cfg, GUEST_INIT).write(folder / "guest.cpio"))
    return files.write(folder / "host.cpio")


@pytest.fixture(scope="module")
def said(cfg: BuildConfig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What the host and its guests printed, from its init to its end."""
    (cfg.out / "nested").mkdir(parents=True, exist_ok=True)
    try:
        tree = stock.debian(cfg)
    except HypergenError as error:
        pytest.skip(f"Debian's kernel: {error.message}")
    initrd = _host(cfg, tree, tmp_path_factory.mktemp("stock"))
    words = [
        *emulator.words(cfg),
        *("-nodefaults", "-no-user-config", "-machine", "q35", "-m", "2048M", "-accel", "tcg"),
        *("-cpu", emulator.CPU, "-display", "none", "-no-reboot", "-nic", "none"),
        *("-kernel", str(stock.kernel(tree)), "-initrd", str(initrd)),
        *("-append", "console=ttyS0,115200 quiet panic=-1", "-serial", FIRST_SERIAL, *SPARE_PORT),
    ]
    with Machine(words, cfg.logs / "nested", "stock") as machine:
        end = machine.serial.expect(r"=end=", 600)
        yield bytes(machine.serial.raw[: end.start()]).decode(errors="replace").replace("\r", "")


@pytest.mark.parametrize("abi", unikernels.ABIS)
def test_a_unikernel_runs_on_a_stock_kernel(said: str, abi: str) -> None:
    """KVM_SYNC_X86_CALL is not there: all of the registers come with each exit."""
    words = said.split(f"={abi}=\n")[1].split("=status ")
    assert "hello" in words[0]
    assert words[1].startswith("0=")


def test_linux_runs_on_a_stock_kernel(said: str) -> None:
    assert "-cloud-amd64" in said
    last = said.rsplit("=linux=\n", maxsplit=1)[-1]
    assert "the guest runs 6.12" in last
    assert "=status 0=" in last
