# SPDX-License-Identifier: Apache-2.0
"""The guest images: what is put in them, and that only a change makes them anew."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

import pytest

from hypergen import run
from hypergen.guests import busybox, debian, ext4, unikernel
from hypergen.image import debs
from tests.unit.fakes import settings


def debugfs(image: Path, request: str) -> str:
    return run.capture(["debugfs", "-R", request, image])


@pytest.fixture
def applets(tmp_path: Path) -> Path:
    """A stand-in for the package's program, which lists three applets."""
    path = tmp_path / "deb/bin/busybox"
    path.parent.mkdir(parents=True)
    path.write_text("#!/bin/sh\nprintf 'bin/sh\\nsbin/init\\nsbin/getty\\n'\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def package(applets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deb = debs.Deb(busybox.PACKAGE, "1", "amd64", "00" * 32)
    monkeypatch.setattr(debs, "fetch", lambda cfg, names: {deb.name: deb})
    monkeypatch.setattr(debs, "unpack", lambda cfg, deb: applets.parent.parent)


def test_busybox_image_is_a_clean_sparse_file_system_owned_by_root(
    tmp_path: Path, package: None
) -> None:
    image = busybox.build(settings(tmp_path))
    assert image.stat().st_size == busybox.MIB * 1024 * 1024
    assert image.stat().st_blocks * 512 < image.stat().st_size / 4
    subprocess.run(["e2fsck", "-f", "-n", image], check=True, capture_output=True)
    for name in ("/bin/busybox", "/etc/inittab", "/sbin/init"):
        assert "User:     0   Group:     0" in debugfs(image, f"stat {name}")
    assert 'Fast link dest: "/bin/busybox"' in debugfs(image, "stat /sbin/init")
    assert "Mode:  0755" in debugfs(image, "stat /etc/init.d/rcS")
    assert "root::0:0:" in debugfs(image, "cat /etc/passwd")


def test_busybox_image_is_made_once(tmp_path: Path, package: None) -> None:
    cfg = settings(tmp_path)
    first = busybox.build(cfg).stat()
    again = busybox.build(cfg).stat()
    assert (first.st_ino, first.st_mtime_ns) == (again.st_ino, again.st_mtime_ns)
    with busybox.build(cfg).open("ab") as stream:  # a VM wrote to the pristine copy
        stream.write(b"x")
    assert busybox.build(cfg).stat().st_size == first.st_size


def test_scripts_of_the_busybox_image_are_sh(tmp_path: Path) -> None:
    scripts = {n: t for n, (m, t) in busybox.FILES.items() if m & 0o100}
    assert "etc/init.d/rcS" in scripts
    for text in scripts.values():
        assert text.startswith("#!/bin/sh\n")
        subprocess.run(["sh", "-n"], input=text.encode(), check=True)


def test_debian_overlay_is_all_roots_and_starts_the_login(tmp_path: Path) -> None:
    archive = tmp_path / "overlay.tar"
    debian._overlay(archive)
    with tarfile.open(archive) as overlay:
        members = {member.name: member for member in overlay}
    assert all((member.uid, member.gid) == (0, 0) for member in members.values())
    units = "etc/systemd/system"
    wanted = members[f"{units}/multi-user.target.wants/console-login.service"]
    assert wanted.linkname == "../console-login.service"
    assert members[f"{units}/console-login.service"].isfile()
    assert members["etc/machine-id"].size == 0
    assert not set(debian.MASKED) & set(debian.UNITS)


def test_only_apt_sources_of_the_suite_are_used(tmp_path: Path) -> None:
    folder = tmp_path / "sources.list.d"
    folder.mkdir()
    (tmp_path / "sources.list").write_text("# deb mirror bookworm main\n")
    assert debian.sources(tmp_path) == []
    (tmp_path / "sources.list").write_text("deb mirror bookworm main\n")
    (folder / "a.list").write_text("deb other bookworm stable\n")
    (folder / "b.sources").write_text("Types: deb\nSuites: bookworm\nComponents: main\n")
    (folder / "c.sources").write_text("Types: deb\nSuites: noble\nComponents: main\n")
    found = debian.sources(tmp_path)
    assert [path.name for path in found] == ["sources.list", "b.sources"]


def test_owners_survive_without_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tree that a plain user unpacks keeps its owners through fakeroot's state."""
    if run.which("fakeroot") is None:
        pytest.skip("fakeroot is not installed")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    archive, tree, state = tmp_path / "t.tar", tmp_path / "tree", tmp_path / "state"
    with tarfile.open(archive, "w") as out:
        entry = tarfile.TarInfo("file")
        entry.uid, entry.gid, entry.mode = 42, 43, 0o4755
        out.addfile(entry)
    tree.mkdir()
    run.run(
        [*ext4.fakeroot(state), "tar", "-xpf", archive, "--numeric-owner", "-C", tree],
        log=tmp_path / "log",
    )
    image = tmp_path / "x.img"
    ext4.make(image, tree, label="x", mib=4, log=tmp_path / "log", state=state)
    stat = debugfs(image, "stat /file")
    assert "User:    42   Group:    43" in stat
    assert "Mode:  04755" in stat


def test_the_demo_unikernel_is_a_program_that_says_which_interface_it_wants(tmp_path: Path) -> None:
    cfg = settings(tmp_path)
    made = unikernel.build_demo(cfg)
    data = made.read_bytes()
    assert (
        data[:8] == b"\x7fELF\2\1\1\xff"
        and b"UHYVEIF" in data
        and b"Hello from a unikernel" in data
    )
    assert made.stat().st_mode & 0o111 == 0o111 and len(data) < 64 * 1024
    assert unikernel.build_demo(cfg).stat().st_mtime_ns == made.stat().st_mtime_ns
    core = unikernel.build("web_hello", unikernel.CORE, tmp_path / "core", tmp_path / "log")
    assert core.read_bytes()[7] == 0xFF and b"UHYVEIF" not in core.read_bytes()
