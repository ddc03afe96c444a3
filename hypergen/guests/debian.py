# SPDX-License-Identifier: Apache-2.0
"""The larger guest image: Debian minbase with systemd, made by mmdebstrap.

The steps: mmdebstrap makes a tarball (as root, or in a user namespace), which is kept; the tarball
becomes an ext4 image with every file's owner. As long as the recipe is the same the tarball is
taken as it is, so a second build needs no network.

What a small VM has no use for is masked, and the login does not wait for udev: under emulation
each unit that systemd does not start is a quarter of a second.
"""

from __future__ import annotations

import io
import re
import shutil
import tarfile
import tempfile
from pathlib import Path

from hypergen import progress, run
from hypergen.config import BuildConfig
from hypergen.guests import ext4
from hypergen.stage import Stage

SUITE = "bookworm"
LABEL = "debian"
MIB = 1024
PACKAGES = ("systemd-sysv", "udev", "iproute2", "udhcpc")
PASSWORD = "hypergen"  # said in the documentation and on the login screen

EXCLUDED = (
    *("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*"),
    *("/usr/share/lintian/*", "/usr/share/bug/*", "/usr/share/bash-completion/*"),
)

MASKED = (
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer"),
    *("e2scrub_all.timer", "e2scrub_reap.service", "fstrim.timer"),
    *("systemd-tmpfiles-clean.timer", "systemd-pstore.service", "systemd-binfmt.service"),
    *("systemd-modules-load.service", "kmod-static-nodes.service", "modprobe@.service"),
    *("systemd-update-utmp.service", "systemd-update-utmp-runlevel.service"),
    *("systemd-machine-id-commit.service", "systemd-firstboot.service"),
    *("systemd-hwdb-update.service", "systemd-logind.service", "systemd-networkd.service"),
    *("sys-kernel-debug.mount", "sys-kernel-tracing.mount", "sys-kernel-config.mount"),
    *("sys-fs-fuse-connections.mount", "dev-hugepages.mount", "dev-mqueue.mount"),
    *("proc-sys-fs-binfmt_misc.automount", "getty-static.service", "getty@tty1.service"),
    *("systemd-ask-password-console.path", "systemd-ask-password-wall.path"),
)

GENERATORS = (
    *("systemd-cryptsetup-generator", "systemd-debug-generator", "systemd-getty-generator"),
    *("systemd-gpt-auto-generator", "systemd-hibernate-resume-generator", "systemd-sysv-generator"),
    *("systemd-integritysetup-generator", "systemd-rc-local-generator", "systemd-run-generator"),
    *("systemd-veritysetup-generator", "systemd-system-update-generator"),
)

FILES: dict[str, str] = {
    "etc/hostname": "debian\n",
    "etc/hosts": "127.0.0.1 localhost debian\n",
    "etc/fstab": "/dev/vda / ext4 errors=remount-ro 0 1\n",
    # Empty, not missing: systemd makes an id in memory and does not take this for a first boot.
    "etc/machine-id": "",
    "etc/issue": f"\nDebian in a hyper-gen VM. Log in as root, password {PASSWORD}.\n\n",
    "etc/motd": "",
    "etc/apt/apt.conf.d/90hypergen": (
        'APT::Install-Recommends "false";\nAcquire::Languages "none";\n'
    ),
    "etc/systemd/journald.conf.d/hypergen.conf": "[Journal]\nStorage=volatile\n",
    "etc/systemd/system/console-login.service": (
        "[Unit]\n"
        "Description=Login on the kernel's console\n"
        # serial-getty@ binds to the device's unit, which is there only after udev's cold plug.
        "After=systemd-remount-fs.service local-fs.target\n"
        "DefaultDependencies=no\n"
        "Conflicts=shutdown.target\n"
        "Before=shutdown.target\n"
        "\n"
        "[Service]\n"
        "ExecStart=/bin/sh -c 'exec /sbin/agetty --local-line --keep-baud"
        ' "$$(sed "s/.* //" /sys/class/tty/console/active)" 115200 vt220\'\n'
        "Type=idle\n"
        "Restart=always\n"
        "RestartSec=0\n"
        "UtmpIdentifier=cons\n"
        "KillMode=process\n"
        "IgnoreSIGPIPE=no\n"
        "SendSIGHUP=yes\n"
    ),
    "etc/systemd/system/dhcp.service": (
        "[Unit]\n"
        "Description=Address for eth0\n"
        "ConditionPathExists=/sys/class/net/eth0\n"
        "After=local-fs.target\n"
        "\n"
        "[Service]\n"
        "ExecStartPre=/bin/ip link set eth0 up\n"
        "ExecStart=/sbin/udhcpc -f -R -i eth0\n"
        "Restart=on-failure\n"
        "RestartSec=10\n"
    ),
    "etc/systemd/system/power-button.service": (
        "[Unit]\n"
        "Description=Orderly stop when the host presses the power button\n"
        "ConditionPathExists=/dev/input/event0\n"
        "\n"
        "[Service]\n"
        # The button is the only input device; any event of it is a press.
        "ExecStart=/bin/sh -c 'dd if=/dev/input/event0 of=/dev/null bs=24 count=1"
        " && exec systemctl poweroff'\n"
    ),
}

UNITS = ("console-login.service", "dhcp.service", "power-button.service")


def links() -> dict[str, str]:
    """Symbolic links of the image: what is masked, what is started."""
    found = {f"etc/systemd/system/{unit}": "/dev/null" for unit in MASKED}
    found |= {f"etc/systemd/system-generators/{name}": "/dev/null" for name in GENERATORS}
    for unit in UNITS:
        found[f"etc/systemd/system/multi-user.target.wants/{unit}"] = f"../{unit}"
    found["etc/systemd/system/default.target"] = "/lib/systemd/system/multi-user.target"
    # eth0 whatever the bus is called.
    found["etc/systemd/network/99-default.link"] = "/dev/null"
    return found


def sources(folder: Path = Path("/etc/apt")) -> list[Path]:
    """The build machine's own apt sources that have the suite; none: mmdebstrap's default."""
    candidates = [folder / "sources.list"]
    candidates += sorted((folder / "sources.list.d").glob("*.list"))
    candidates += sorted((folder / "sources.list.d").glob("*.sources"))
    found = []
    for path in candidates:
        if not path.is_file():
            continue
        text = re.sub(r"(?m)^\s*#.*$", "", path.read_text("utf-8", "replace"))
        if re.search(rf"\b{SUITE}\b", text) and re.search(r"\bmain\b", text):
            found.append(path)
    return found


def _proxies() -> list[str]:
    """The build machine's apt proxies, as apt options."""
    if run.which("apt-config") is None:
        return []
    lines = run.capture(["apt-config", "dump"]).splitlines()
    return [line for line in lines if re.match(r'Acquire::https?::Proxy\S* ".+";', line)]


def _overlay(path: Path) -> None:
    """Write our files and links as a tar archive, all root's."""
    with tarfile.open(path, "w") as archive:
        for name, text in FILES.items():
            entry = tarfile.TarInfo(name)
            entry.mode, data = 0o644, text.encode()
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        for name, target in links().items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)


def _bootstrap(cfg: BuildConfig, tarball: Path) -> None:
    """Run mmdebstrap; packages it downloads are kept for the next time."""
    archives = cfg.downloads / "guest-apt"
    archives.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        overlay = Path(folder) / "overlay.tar"
        _overlay(overlay)
        cache = "/var/cache/apt/archives"
        argv: list[str | Path] = ["mmdebstrap", "--variant=minbase", "--format=tar"]
        argv += [f"--include={','.join(PACKAGES)}"]
        argv += [f"--dpkgopt=path-exclude={pattern}" for pattern in EXCLUDED]
        argv += [f"--aptopt={option}" for option in _proxies()]
        argv += [
            '--aptopt=APT::Install-Recommends "false"',
            '--aptopt=Acquire::Languages "none"',
            *("--skip=download/empty", "--skip=essential/unlink"),
            f'--setup-hook=mkdir -p "$1{cache}"',
            f"--setup-hook=sync-in {archives} {cache}",
            f"--customize-hook=sync-out {cache} {archives}",
            f"--customize-hook=tar-in {overlay} /",
            f'--customize-hook=echo root:{PASSWORD} | chroot "$1" chpasswd',
            # The proxies are this machine's, not the guest's.
            '--customize-hook=rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap"',
            '--customize-hook=rm -rf "$1/usr/share/locale" "$1/var/log/"*.log',
        ]
        argv += [SUITE, tarball, *sources()]
        run.run(
            argv,
            log=cfg.logs / "guest-mmdebstrap.log",
            hint="without root, mmdebstrap needs the package uidmap and lines in /etc/sub[ug]id",
            verbose=cfg.verbose,
        )


def build(cfg: BuildConfig) -> Path:
    """Make ``out/guest_image/debian.img``; returns its path."""
    image = cfg.out / "guest_image" / f"{LABEL}.img"
    tarball = cfg.work / "guest" / "debian.tar"
    bootstrap = Stage(cfg, "guest-debian-tar", [tarball]).file(Path(__file__), "recipe")
    with bootstrap as todo:
        if todo:
            tarball.parent.mkdir(parents=True, exist_ok=True)
            temporary = tarball.with_suffix(".tmp")
            with progress.step(f"Making Debian {SUITE} with mmdebstrap"):
                _bootstrap(cfg, temporary)
            temporary.replace(tarball)
    stage = Stage(cfg, "guest-debian", [image])
    stage.text("tarball", bootstrap.key).file(Path(ext4.__file__), "ext4")
    with stage as todo:
        if todo:
            with progress.step("Making debian.img"):
                _image(cfg, tarball, image)
    return image


def _image(cfg: BuildConfig, tarball: Path, image: Path) -> None:
    folder = cfg.work / "guest" / "debian"
    shutil.rmtree(folder, ignore_errors=True)
    tree, state = folder / "tree", folder / "fakeroot"
    tree.mkdir(parents=True)
    try:
        run.run(
            [
                *ext4.fakeroot(state),
                *("tar", "-xpf", tarball, "--numeric-owner", "--exclude=./dev/*", "-C", tree),
            ],
            log=cfg.logs / "guest-debian-tar.log",
        )
        log = cfg.logs / "guest-debian-mke2fs.log"
        ext4.make(image, tree, label=LABEL, mib=MIB, log=log, state=state)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
