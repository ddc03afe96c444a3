# SPDX-License-Identifier: Apache-2.0
"""What a build machine must have: the table of OS programs, the check, the installation.

Runs before the project's virtual environment exists, so it uses the standard library alone and
works as a plain script too: ``python3 -I hypergen/doctor.py --install build``. It also makes that
environment (``--venv``), from the dependency lists in ``pyproject.toml``.

Exit status: 0 all there, 2 something is missing and could not be installed.
"""

from __future__ import annotations

import argparse
import glob
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

MINIMUM = (3, 11)
TOP = Path(__file__).resolve().parent.parent
SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")


@dataclass(frozen=True)
class Need:
    """One program or file: what finds it, the Debian package, what it is for.

    Attributes:
        group: the verb group that needs it, see :data:`GROUPS`.
        probe: a program's name; or paths with ``*``, alternatives separated by ``|``.
        package: the Debian package.
        purpose: what it does here.
    """

    group: str
    probe: str
    package: str
    purpose: str

    def present(self) -> bool:
        """Whether it is there."""
        if self.probe.startswith("python:"):
            module = self.probe.removeprefix("python:")
            return all(_importable(name) for name in module.split(","))
        if self.probe.startswith("/"):
            return any(glob.glob(pattern) for pattern in self.probe.split("|"))  # noqa: PTH207
        path = os.pathsep.join([os.environ.get("PATH", os.defpath), *SBIN])
        return any(shutil.which(name, path=path) for name in self.probe.split("|"))


GROUPS = {
    "python": "the build tool itself",
    "build": "make: out/bzImage",
    "run": "make run: the disk image and the machine",
    "guest": "make guest: the demo guest's images",
    "test": "make test",
    "bench": "make bench",
    "menuconfig": "make menuconfig",
}

NEEDS = (
    Need("python", "python:ensurepip,venv", "python3-venv", "the project's Python environment"),
    Need("build", "gcc", "gcc", "compiles the kernel and the VMM"),
    Need("build", "make", "make", "drives Kbuild"),
    Need("build", "ld", "binutils", "links the kernel; strip"),
    Need("build", "/usr/include/stdio.h", "libc6-dev", "C library headers"),
    Need("build", "flex", "flex", "Kconfig's lexer"),
    Need("build", "bison", "bison", "Kconfig's parser"),
    Need("build", "bc", "bc", "time constants of the kernel"),
    Need("build", "perl", "perl", "scripts of Kbuild"),
    Need("build", "/usr/include/gelf.h", "libelf-dev", "objtool, which checks the kernel's stacks"),
    Need("build", "patch", "patch", "applies the KVM series"),
    Need("build", "tar", "tar", "unpacks the sources"),
    Need("build", "xz", "xz-utils", "unpacks the sources"),
    Need("build", "zstd", "zstd", "compresses the kernel"),
    Need("guest", "lz4", "lz4", "compresses the guest kernel"),
    Need("build", "ccache", "ccache", "makes the second build of a kernel quick"),
    Need("build", "/usr/include/jansson.h", "libjansson-dev", "JSON in the VMM (static)"),
    Need("build", "/usr/include/liburing.h", "liburing-dev", "disk I/O in the VMM (static)"),
    Need("build", "/usr/include/zlib.h", "zlib1g-dev", "unikernels' archives in the VMM (header)"),
    Need("build", "/usr/include/mbedtls/ssl.h", "libmbedtls-dev", "TLS in hg-tls (static)"),
    Need("build", "npm", "npm", "fetches xterm.js, the terminal of the page's consoles"),
    Need("build", "dpkg-deb", "dpkg", "unpacks CPython, busybox and lvm2 for the initramfs"),
    Need("run", "qemu-system-x86_64", "qemu-system-x86", "the machine that `run` boots"),
    Need(
        "run",
        "/usr/share/OVMF/OVMF_CODE*.fd|/usr/share/edk2/ovmf/OVMF_CODE*.fd"
        "|/usr/share/edk2/x64/OVMF_CODE*.fd|/usr/share/qemu/ovmf-x86_64-code.bin",
        "ovmf",
        "UEFI firmware for that machine",
    ),
    Need("run", "grub-mkimage|grub2-mkimage", "grub-common", "puts GRUB together"),
    Need("run", "/usr/lib/grub*/i386-pc/boot.img", "grub-pc-bin", "GRUB for BIOS"),
    Need("run", "/usr/lib/grub*/x86_64-efi/linux.mod", "grub-efi-amd64-bin", "GRUB for UEFI"),
    Need("run", "mcopy", "mtools", "writes the EFI partition without root"),
    Need("run", "mkfs.vfat", "dosfstools", "makes the EFI partition"),
    Need("run", "mke2fs", "e2fsprogs", "makes ext4 images without root"),
    Need("run", "sfdisk", "fdisk", "writes partition tables"),
    Need("guest", "mmdebstrap", "mmdebstrap", "makes the Debian guest image without root"),
    Need("guest", "mke2fs", "e2fsprogs", "makes ext4 images without root"),
    Need("guest", "fakeroot", "fakeroot", "keeps the owners of files when built without root"),
    Need("guest", "newuidmap", "uidmap", "lets mmdebstrap work without root"),
    Need("test", "busybox", "busybox", "runs the host's start-up scripts as the image does"),
    Need("test", "chromium|chromium-browser|google-chrome", "chromium", "looks at the page"),
    Need("test", "ssh", "openssh-client", "goes to the host as a person at a workstation does"),
    Need("test", "grub-script-check", "grub-common", "checks the rendered GRUB files"),
    Need("bench", "qemu-system-x86_64", "qemu-system-x86", "the machine that counts instructions"),
    Need(
        "menuconfig", "/usr/include/ncurses.h|/usr/include/ncurses/*", "libncurses-dev", "the menu"
    ),
)

INCLUDES = {
    "run": ("build", "guest", "run"),
    "test": ("build", "guest", "run", "test"),
    "bench": ("build", "guest", "run", "bench"),
    "guest": ("build", "guest"),
    "menuconfig": ("build", "menuconfig"),
}


def _importable(name: str) -> bool:
    from importlib.util import find_spec

    return find_spec(name) is not None


def needs(groups: Iterable[str]) -> list[Need]:
    """The needs of verb groups and of the groups that these include, each package once."""
    wanted = {inner for group in groups for inner in INCLUDES.get(group, (group,))}
    unique: dict[tuple[str, str], Need] = {}
    for need in NEEDS:
        if need.group in wanted:
            unique.setdefault((need.probe, need.package), need)
    return list(unique.values())


def missing(groups: Iterable[str]) -> list[Need]:
    """What of :func:`needs` this machine lacks."""
    return [need for need in needs(groups) if not need.present()]


def table(rows: Sequence[Need]) -> str:
    """The needs as text: state, program or file, package, purpose."""
    lines = []
    for need in rows:
        state = "ok     " if need.present() else "MISSING"
        probe = need.probe.removeprefix("python:").split("|")[0]
        name = Path(probe).name if probe.startswith("/") else probe
        lines.append(f"{state} {name:<20} {need.package:<20} {need.purpose}")
    return "\n".join(lines)


def root_prefix() -> list[str] | None:
    """What to put before a command so that root runs it; None when we cannot become root."""
    if os.geteuid() == 0:
        return []
    if not shutil.which("sudo"):
        return None
    trial = subprocess.run(
        ["sudo", "-n", "true"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    if trial.returncode == 0:
        return ["sudo", "-n"]
    return ["sudo"] if sys.stdin is not None and sys.stdin.isatty() else None


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def install(packages: Sequence[str]) -> bool:
    """Install Debian packages; returns whether apt did. Shows apt's progress on standard error."""
    prefix = root_prefix()
    if not shutil.which("apt-get") or prefix is None:
        return False
    apt = [
        *prefix,
        "env",
        "DEBIAN_FRONTEND=noninteractive",
        "apt-get",
        "-q",
        "-o",
        "DPkg::Lock::Timeout=300",
    ]
    options = ["-y", "--no-install-recommends", "-o", "Dpkg::Options::=--force-confold"]
    _say(f"installing: {' '.join(packages)}")
    # sudo asks for its password on /dev/tty; nothing here reads standard input.
    subprocess.run([*apt, "update"], stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False)
    done = subprocess.run(
        [*apt, "install", *options, *packages],
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        check=False,
    )
    return done.returncode == 0


def advice(lacking: Sequence[Need]) -> str:
    """What to type to get what is missing."""
    packages = sorted({need.package for need in lacking})
    if shutil.which("apt-get"):
        return "sudo apt-get install " + " ".join(packages)
    return "install what carries these; Debian 12 calls them: " + " ".join(packages)


def ensure(groups: Sequence[str], *, may_install: bool = True) -> list[Need]:
    """Install what `groups` lack where that is possible; returns what is missing still."""
    lacking = missing(groups)
    if lacking and may_install:
        if lacking and shutil.which("apt-get"):
            _say(table(lacking))
        install(sorted({need.package for need in lacking}))
        lacking = [need for need in lacking if not need.present()]
    return lacking


def requirements(extras: Sequence[str] = ()) -> list[str]:
    """The Python packages that ``pyproject.toml`` names, with those of `extras`."""
    import tomllib

    project = tomllib.loads((TOP / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = list(project["dependencies"])
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    return wanted


def make_venv(folder: Path, extras: Sequence[str], stamp: Path) -> int:
    """Bring the virtual environment `folder` to ``pyproject.toml``; returns an exit status.

    `stamp` is made when all is installed. An environment of another Python is made anew.
    """
    python = folder / "bin" / "python"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if not (folder / "lib" / f"python{version}").is_dir() or not python.exists():
        if lacking := ensure(["python"]):
            _say(f"{table(lacking)}\nhypergen: {advice(lacking)}")
            return 2
        _say(f"making the Python environment {folder}")
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "-q"]
    done = subprocess.run(
        [*pip, *requirements(extras)], stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False
    )
    if done.returncode != 0:
        _say(
            "hypergen: pip could not install the packages that pyproject.toml names\n"
            "hint: is there a network? pip's own settings (PIP_INDEX_URL, PIP_FIND_LINKS) are kept"
        )
        return 1
    for old in folder.glob(f"{stamp.name.rsplit('-', 1)[0]}-*"):
        old.unlink()
    stamp.touch()
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The script's command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="doctor.py",
        description="Check, and with --install install, what a build machine must have.",
        epilog="groups: " + "; ".join(f"{name} ({what})" for name, what in GROUPS.items()),
    )
    parser.add_argument("groups", nargs="*", default=[], metavar="GROUP")
    parser.add_argument("--install", action="store_true", help="install what is missing")
    parser.add_argument("--venv", type=Path, help="make or update this Python environment")
    parser.add_argument("--extra", action="append", default=[], help="a dependency group as well")
    parser.add_argument("--stamp", type=Path, help="file to make when the environment is ready")
    given = parser.parse_args(arguments)
    if sys.version_info < MINIMUM:
        _say(
            f"hypergen: Python {MINIMUM[0]}.{MINIMUM[1]} or newer is needed, this is "
            f"{sys.version.split()[0]} ({sys.executable})\nhint: make PYTHON=/path/to/python3"
        )
        return 2
    if unknown := [name for name in given.groups if name not in GROUPS]:
        _say(f"hypergen: {unknown[0]}: no such group (one of: {', '.join(GROUPS)})")
        return 2
    if given.venv:
        return make_venv(given.venv, given.extra, given.stamp or given.venv / "ready-0")
    groups = given.groups or list(GROUPS)
    lacking = ensure(groups) if given.install else missing(groups)
    if not given.install or lacking:
        print(table(needs(groups)))
    if lacking:
        _say(f"hypergen: {len(lacking)} missing\nhint: {advice(lacking)}")
    return 2 if lacking else 0


if __name__ == "__main__":
    sys.exit(main())
