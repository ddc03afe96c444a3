# SPDX-License-Identifier: Apache-2.0
"""Which QEMU emulates a CPU: the distribution's, or a newer one where that one has a fault.

QEMU before 8.1 may translate text on one CPU while another CPU patches it, and keep the stale
translation ("accel/tcg: Always lock pages before translation" ends that). A Linux that patches
itself at run time, as every KVM host does, then stops at an int3 or waits for ever, once in a few
hundred boots. Debian 12 has QEMU 7.2, and a newer one in its backports: that is fetched into the
cache, without root, and nothing on the machine changes. It is also quicker: its translations do
not depend on virtual addresses. With KVM the emulator does not matter.
"""

from __future__ import annotations

import fcntl
import functools
import platform
import re
from pathlib import Path

from hypergen import progress, run
from hypergen.config import BuildConfig
from hypergen.errors import BuildError, HypergenError
from hypergen.image import debs
from hypergen.image.debs import Archive

PROGRAM = "qemu-system-x86_64"
GOOD = (8, 1)
"""The first version without the fault."""

CPU = "max,+svm,-erms,-fsrm"
"""What it emulates: SVM with nested paging, and no fast string instructions.

A kernel that sees ERMS or FSRM clears and copies pages with REP STOSB and MOVSB, which TCG does a
byte at a time, and much slower still where the page had code; else eight bytes at a time.
"""

PACKAGES = (
    *("qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios"),
    *("qemu-system-gui", "qemu-system-modules-opengl"),  # its windows
)
"""What of a newer QEMU is taken; the libraries are those of the distribution's own."""

MODULES = "usr/lib/x86_64-linux-gnu/qemu"
"""Where its displays are; it would look below / first and find those of another build."""

CARD_ROMS = "/usr/lib/ipxe/qemu"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
BACKPORTED = ("bookworm",)


def version(program: str = PROGRAM) -> tuple[int, int]:
    """QEMU's major and minor version.

    Raises:
        UserError: it is not installed.
        BuildError: it does not start, or does not say.
    """
    said = run.capture([program, "--version"])
    if match := re.search(r"version (\d+)\.(\d+)", said):
        return int(match[1]), int(match[2])
    raise BuildError(f"{program} --version says no version: {said.strip()[:80]}")


def _release() -> str:
    """The distribution's code name; empty when it has none."""
    try:
        return platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    except OSError:
        return ""


def sources(release: str, mirrors: str) -> str:
    """The line of apt's sources for the backports of `release`.

    Args:
        mirrors: what ``apt-get indextargets`` prints of the release: a URI a line.

    Raises:
        BuildError: apt takes the release from no server.
    """
    for uri in mirrors.split():
        if uri.startswith(("http:", "https:")):
            signed = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
            return f"deb {signed}{uri} {release}-backports main\n"
    raise BuildError(f"apt takes {release} from no server, so its backports are not known")


def _backports(cfg: BuildConfig, release: str) -> Archive:
    """The backports as apt sees them through settings of our own, which we may write."""
    folder = cfg.work / "apt-backports"
    lists = folder / "lists"
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    wanted = ("Created-By: Packages", f"Codename: {release}", "Component: main")
    mirrors = run.capture(["apt-get", "indextargets", "--format", "$(REPO_URI)", *wanted])
    (folder / "sources.list").write_text(sources(release, mirrors), "utf-8")
    settings = {
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": lists,
        "Dir::Cache": folder / "cache",
        "APT::Sandbox::User": "root",
    }
    options = tuple(word for name, value in settings.items() for word in ("-o", f"{name}={value}"))
    return Archive(options, lists, "backports")


def _newer(cfg: BuildConfig, release: str) -> Path:
    """The folder of a newer QEMU's files."""
    archive = _backports(cfg, release)

    def update() -> None:
        log = cfg.logs / "apt-backports.log"
        run.run(["apt-get", *archive.options, "-qq", "update"], log=log)

    fresh = not any(archive.lists.glob("*Packages*"))
    if fresh:
        update()
    try:
        found = debs.fetch(cfg, PACKAGES, archive)
    except BuildError:
        if fresh:
            raise
        update()  # the index was of a version that is gone
        found = debs.fetch(cfg, PACKAGES, archive)
    return debs.unpack(cfg, *(found[name] for name in PACKAGES), archive=archive)


@functools.cache
def words(cfg: BuildConfig) -> tuple[str, ...]:
    """The first words of the command line of a QEMU that emulates.

    The setting ``qemu`` is taken as it is. A newer QEMU that cannot be had is no obstacle.
    """
    if cfg.qemu != "auto":
        return (cfg.qemu,)
    release = _release()
    if release not in BACKPORTED or version() >= GOOD:
        return (PROGRAM,)
    cfg.work.mkdir(parents=True, exist_ok=True)
    with (cfg.work / "qemu.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            tree = _newer(cfg, release)
        except HypergenError as error:
            progress.warn(
                f"{release}'s QEMU is older than {GOOD[0]}.{GOOD[1]}, a newer one cannot be had "
                f"({error.message}): machines may stop now and then"
            )
            return (PROGRAM,)
    modules = f"QEMU_MODULE_DIR={tree / MODULES}"
    return ("env", modules, str(tree / "usr/bin" / PROGRAM), "-L", CARD_ROMS)
