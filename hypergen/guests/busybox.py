# SPDX-License-Identifier: Apache-2.0
"""The small guest image: busybox's init, a login on the kernel's console, root without password."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypergen import progress, run
from hypergen.config import BuildConfig
from hypergen.guests import ext4
from hypergen.image import debs
from hypergen.stage import Stage

MIB = 24
LABEL = "busybox"
PACKAGE = "busybox-static"

FOLDERS = ("bin", "dev", "etc", "mnt", "proc", "root", "run", "sbin", "sys", "tmp", "usr", "var")

# path → (mode, text)
FILES: dict[str, tuple[int, str]] = {
    "etc/hostname": (0o644, "busybox\n"),
    "etc/hosts": (0o644, "127.0.0.1 localhost busybox\n"),
    "etc/passwd": (0o644, "root::0:0:root:/root:/bin/sh\n"),
    "etc/group": (0o644, "root:x:0:\ntty:x:5:\n"),
    "etc/fstab": (0o644, "/dev/vda / ext4 rw 0 0\n"),
    "etc/issue": (0o644, "\nA small Linux in a hyper-gen VM. Log in as root, no password.\n\n"),
    "etc/profile": (
        0o644,
        "export PATH=/usr/sbin:/usr/bin:/sbin:/bin\nexport PS1='root@\\h:\\w# '\n",
    ),
    "etc/inittab": (
        0o644,
        "::sysinit:/etc/init.d/rcS\n"
        "::respawn:/sbin/console-login\n"
        "::ctrlaltdel:/sbin/reboot\n"
        "::shutdown:/bin/sync\n"
        "::shutdown:/bin/umount -a -r\n"
        "::restart:/sbin/init\n",
    ),
    "etc/init.d/rcS": (
        0o755,
        "#!/bin/sh\n"
        "export PATH=/sbin:/bin\n"
        "mount -t proc proc /proc\n"
        "mount -t sysfs sysfs /sys\n"
        "grep -q ' /dev ' /proc/mounts || mount -t devtmpfs devtmpfs /dev\n"
        "mkdir -p /dev/pts && mount -t devpts devpts /dev/pts\n"
        "mount -t tmpfs -o mode=0755,nosuid,nodev tmpfs /run\n"
        "mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs /tmp\n"
        "mount -o remount,rw / 2>/dev/null\n"
        "hostname -F /etc/hostname\n"
        "ip link set lo up\n"
        "if [ -e /sys/class/net/eth0 ]; then\n"
        "\tip link set eth0 up\n"
        "\tfor word in $(cat /proc/cmdline); do\n"
        "\t\tcase $word in ip=*:*:*:*) IFS=:; set -- ${word#ip=}; unset IFS ;; esac\n"
        "\tdone\n"
        '\tif [ "$4" ]; then # an isle is told its address (nfsroot.rst)\n'
        '\t\tifconfig eth0 "$1" netmask "$4"; ip route add default via "$3"\n'
        "\telse\n"
        "\t\tudhcpc -b -S -i eth0 >/dev/null 2>&1 &\n"
        "\tfi\n"
        "fi\n"
        "# The host's orderly stop arrives as a press of the power button.\n"
        "[ -e /dev/input/event0 ] && acpid -l /dev/null\n"
        "exit 0\n",
    ),
    "etc/acpi/PWRF/00000080": (0o755, "#!/bin/sh\nexec /sbin/poweroff\n"),
    "etc/udhcpc/default.script": (
        0o755,
        "#!/bin/sh\n"
        'case "$1" in\n'
        "deconfig)\n"
        '\tip addr flush dev "$interface"\n'
        "\t;;\n"
        "bound | renew)\n"
        '\tip addr flush dev "$interface"\n'
        '\tip addr add "$ip/${mask:-24}" dev "$interface"\n'
        '\tfor gateway in $router; do ip route replace default via "$gateway"; break; done\n'
        '\tfor server in $dns; do echo "nameserver $server"; done >/etc/resolv.conf\n'
        "\t;;\n"
        "esac\n",
    ),
    # The last console= of the kernel command line, whatever it is: hvc0 in hyper-gen's VMs.
    "sbin/console-login": (
        0o755,
        "#!/bin/sh\n"
        "tty=$(sed 's/.* //' /sys/class/tty/console/active)\n"
        'exec /sbin/getty -L 115200 "${tty:-console}" vt220\n',
    ),
}


def _populate(tree: Path, busybox: Path) -> None:
    for name in FOLDERS:
        (tree / name).mkdir(parents=True, exist_ok=True)
    (tree / "root").chmod(0o700)
    (tree / "tmp").chmod(0o1777)
    shutil.copyfile(busybox, tree / "bin/busybox")
    (tree / "bin/busybox").chmod(0o755)
    for applet in run.capture([busybox, "--list-full"]).split():
        link = tree / applet
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to("/bin/busybox")
    for name, (mode, text) in FILES.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)


def build(cfg: BuildConfig) -> Path:
    """Make ``out/guest_image/busybox.img``; returns its path."""
    image = cfg.out / "guest_image" / f"{LABEL}.img"
    deb = debs.fetch(cfg, [PACKAGE])[PACKAGE]
    stage = Stage(cfg, "guest-busybox", [image])
    stage.text(PACKAGE, deb.sha256).file(Path(__file__), "recipe").file(Path(ext4.__file__), "ext4")
    with stage as todo:
        if todo:
            with progress.step("Making busybox.img"), tempfile.TemporaryDirectory() as folder:
                scratch = Path(folder)
                _populate(scratch / "tree", debs.unpack(cfg, deb) / "bin/busybox")
                log = cfg.logs / "guest-busybox-mke2fs.log"
                ext4.make(image, scratch / "tree", label=LABEL, mib=MIB, log=log)
    return image
