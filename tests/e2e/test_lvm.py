# SPDX-License-Identifier: Apache-2.0
"""The host's root on a logical volume, made by the host's own tools."""

from __future__ import annotations

from pathlib import Path

from hypergen.config import BuildConfig
from tests.e2e import host as hosts
from tests.e2e.files import FILES
from tests.e2e.host import Host

MAKE = f"""
set -e
lvm pvcreate /dev/vdb
lvm vgcreate e2evg /dev/vdb
lvm lvcreate -y -n root -L 128M e2evg
lvm vgmknodes
mke2fs /dev/e2evg/root
mkdir -p /mnt
mount -t ext4 /dev/e2evg/root /mnt
mkdir -p /mnt/kernels /mnt/images
cp /run/hypergen/guest_kernel/{FILES.vmlinux} /mnt/kernels
cp /run/hypergen/guest_image/{FILES.busybox} /mnt/images
umount /mnt
lvm vgchange -an e2evg
sync
"""


def test_root_on_a_logical_volume(
    host: Host, built: BuildConfig, spare_disk: Path, logs: Path
) -> None:
    host.rescue.run(f"cat >/tmp/lvm.sh <<'EOF'\n{MAKE}EOF")
    host.rescue.run("sh -x /tmp/lvm.sh", 240)
    append = "root=/dev/e2evg/root rw guest_kernel=/kernels guest_image=/images"
    with hosts.direct(built, spare_disk, logs, "lvm", append, cpus=1) as other:
        shell = other.serial
        assert "/dev/e2evg/root" in "\n".join(shell.run("host_info"))
        assert FILES.vmlinux in "\n".join(shell.run("kernel_list"))
        shell.run(f"vm_create {FILES.vmlinux} {FILES.busybox}")
        assert "running" in "\n".join(shell.run("vm_list"))
        shell.enter("vm_console 1")
        shell.see("login:", 120)
        shell.terminal.press("\x04")
        shell.see("Detached")
        shell.run("vm_destroy 1")
