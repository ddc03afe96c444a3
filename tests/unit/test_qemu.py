# SPDX-License-Identifier: Apache-2.0
"""The QEMU machine: which accelerator, which arguments, which complaints."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from hypergen.boot import emulator, qemu
from hypergen.errors import UserError
from tests.unit.fakes import settings

INTEL = "processor\t: 0\nflags\t\t: fpu vme vmx ssse3\n"
AMD = "processor\t: 0\nflags\t\t: fpu svm npt\n"
# Words that contain the two names, and the lines that speak of vmx without having it.
NEITHER = "flags\t\t: fpu avmx svm_lock\nvmx flags\t: vnmi\nbugs\t\t: vmx svm\n"


@pytest.fixture
def kvm(tmp_path: Path) -> Path:
    device = tmp_path / "kvm"
    device.touch()
    return device


@pytest.mark.parametrize(("cpuinfo", "picked"), [(INTEL, "kvm"), (AMD, "kvm"), (NEITHER, "tcg")])
def test_kvm_needs_vmx_or_svm(kvm: Path, cpuinfo: str, picked: str) -> None:
    assert qemu.pick_accelerator(cpuinfo=cpuinfo, device=kvm) == picked


def test_kvm_needs_its_device(tmp_path: Path) -> None:
    assert qemu.pick_accelerator(cpuinfo=INTEL, device=tmp_path / "none") == "tcg"


def test_kvm_needs_permission(kvm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert qemu.pick_accelerator(cpuinfo=INTEL, device=kvm) == "tcg"
    with pytest.raises(UserError, match="permission"):
        qemu.pick_accelerator("kvm", cpuinfo=INTEL, device=kvm)


def test_kvm_that_was_asked_for_and_cannot_be_is_an_error(kvm: Path) -> None:
    with pytest.raises(UserError, match="neither vmx nor svm"):
        qemu.pick_accelerator("kvm", cpuinfo=NEITHER, device=kvm)
    assert qemu.pick_accelerator("tcg", cpuinfo=INTEL, device=kvm) == "tcg"


def option(argv: list[str], name: str) -> list[str]:
    """Every value of an option."""
    return [argv[i + 1] for i, word in enumerate(argv) if word == name]


def test_an_emulated_cpu_has_svm() -> None:
    argv = qemu.Machine(disk=Path("d.img")).argv()
    assert option(argv, "-accel") == ["tcg"]
    assert option(argv, "-cpu") == [emulator.CPU]
    assert "+svm" in emulator.CPU
    argv = qemu.Machine(disk=Path("d.img"), accel="kvm").argv()
    assert option(argv, "-cpu") == ["host"]


def test_commas_in_paths_are_doubled() -> None:
    machine = qemu.Machine(disk=Path("/a,b/d.img"), qmp=Path("/r,un/q"))
    drives = option(machine.argv(), "-drive")
    assert any(drive.endswith("file=/a,,b/d.img") for drive in drives)
    assert option(machine.argv(), "-qmp") == ["unix:/r,,un/q,server=on,wait=off"]


def test_uefi_gets_its_own_copy_of_the_variables(tmp_path: Path) -> None:
    try:
        code, variables = qemu.ovmf()
    except UserError:
        pytest.skip("no OVMF here")
    disk = tmp_path / "d.img"
    disk.touch()
    argv = qemu.command(settings(tmp_path), disk, firmware="uefi", accel="tcg")
    drives = option(argv, "-drive")
    assert any("readonly=on" in drive and drive.endswith(str(code)) for drive in drives)
    copy = tmp_path / "d.img.nvram"
    assert any(drive.endswith(f"file={copy}") for drive in drives)
    assert copy.read_bytes() == variables.read_bytes()
    copy.write_bytes(b"kept")
    qemu.command(settings(tmp_path), disk, firmware="uefi", accel="tcg")
    assert copy.read_bytes() == b"kept"


def test_missing_ovmf_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qemu, "OVMF", (("/none/code", "/none/vars"),))
    with pytest.raises(UserError) as caught:
        qemu.ovmf()
    assert "ovmf" in (caught.value.hint or "")


def test_settings_fill_what_is_not_given(tmp_path: Path) -> None:
    cfg = settings(tmp_path, memory="777", cpus="3", accel="tcg")
    argv = qemu.command(cfg, tmp_path / "d.img")
    assert option(argv, "-m") == ["777M"]
    assert option(argv, "-smp") == ["3"]
    argv = qemu.command(cfg, tmp_path / "d.img", memory=99, extra=("-S",))
    assert option(argv, "-m") == ["99M"]
    assert argv[-1] == "-S"


@pytest.mark.parametrize("bus", ["virtio", "ahci"])
@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_qemu_takes_the_arguments(tmp_path: Path, bus: str, firmware: str) -> None:
    if shutil.which(emulator.PROGRAM) is None:
        pytest.skip("QEMU is not installed")
    disk = tmp_path / "d.img"
    disk.write_bytes(bytes(1024 * 1024))
    argv = qemu.command(
        settings(tmp_path),
        disk,
        accel="tcg",
        bus=bus,
        firmware=firmware,
        memory=64,
        qmp=tmp_path / "q",
        extra=("-S", "-monitor", "stdio"),
    )
    done = subprocess.run(
        argv, input=b"info block\nquit\n", capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert b"d.img" in done.stdout


def run_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **chosen: str) -> UserError:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/disk.img").touch()
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(UserError) as caught:
        qemu.run(settings(tmp_path, accel="tcg", **chosen))
    assert "\n" not in caught.value.message
    return caught.value


def test_a_window_needs_a_display(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = run_with(tmp_path, monkeypatch, display="window")
    assert "DISPLAY" in found.message
    assert "DISPLAY_MODE=serial" in (found.hint or "")


def test_serial_needs_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "isatty", lambda handle: False)
    assert "terminal" in run_with(tmp_path, monkeypatch, display="serial").message


def test_curses_cannot_show_uefi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "isatty", lambda handle: True)
    found = run_with(tmp_path, monkeypatch, display="curses", firmware="uefi")
    assert "text" in found.message


def test_missing_disk_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such disk image"):
        qemu.run(settings(tmp_path))


@pytest.mark.parametrize("display", ["window", "curses", "serial"])
def test_every_display_says_how_to_reach_the_shell(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    display: str,
) -> None:
    cfg = settings(tmp_path, display=display, accel="tcg")
    cfg.out.mkdir()
    (cfg.out / "disk.img").touch()
    started: list[list[str]] = []
    monkeypatch.setattr(qemu, "_check_display", lambda cfg: None)

    def interactive(argv: list[str], env: dict[str, str]) -> int:
        started.append(argv)
        return 7

    monkeypatch.setattr("hypergen.run.interactive", interactive)
    monkeypatch.setattr("builtins.input", lambda prompt: "")
    assert qemu.run(cfg) == 7
    said = capsys.readouterr().err
    assert "hyper-gen" in said
    assert ("CTRL+a x" if display == "serial" else "sendkey alt-f3") in said
    [argv] = started
    assert option(argv, "-serial") == ["mon:stdio" if display == "serial" else "none"]
    shown = {"window": [], "curses": ["curses"], "serial": ["none"]}[display]
    assert option(argv, "-display") == shown
