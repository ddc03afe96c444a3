# SPDX-License-Identifier: Apache-2.0
"""The disk image, parsed back: partitions, boot blocks, files, and what is replaced in place."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from hypergen import run
from hypergen.boot import disk, emulator, grubimage, qemu
from hypergen.config import BuildConfig
from hypergen.errors import UserError
from tests.unit.fakes import settings

NEEDS = ("sfdisk", "mkfs.vfat", "mcopy", "mke2fs", "debugfs", "grub-mkimage")
pytestmark = pytest.mark.skipif(
    any(run.which(name) is None for name in NEEDS), reason="the disk tools are not installed"
)

MIB = disk.MIB


def image_of(path: Path, size: int, byte: bytes = b"k") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(byte * size)
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("disk")
    sparse = folder / "guest.img"
    with sparse.open("wb") as stream:
        stream.truncate(64 * MIB)
    (program := image_of(folder / "unikernel", 100)).chmod(0o755)
    return disk.make(
        folder / "disk.img",
        bzimage=image_of(folder / "bzImage", 3 * MIB),
        kernels={
            "odd \"name' $x": image_of(folder / "vmlinux", 1 * MIB, b"v"),
            "unikernel": program,
        },
        images={"guest.img": sparse},
        append='a="b c"',
        grub_timeout=3,
    )


def cat(image: Path, name: str) -> bytes:
    at = f"{image}?offset={disk.ROOT_START}"
    quoted = '"' + name.replace('"', '""') + '"'
    argv = ["debugfs", "-R", f"cat {quoted}", at]
    return subprocess.run(argv, capture_output=True, check=True).stdout


def table(image: Path) -> dict[str, object]:
    text = run.capture(["sfdisk", "--json", image])
    parsed: dict[str, object] = json.loads(text)["partitiontable"]
    return parsed


def test_partition_table_is_a_valid_gpt(made: Path) -> None:
    assert "No errors" in run.capture(["sfdisk", "--verify", made])
    found = table(made)
    assert found["label"] == "gpt"
    partitions = found["partitions"]
    assert isinstance(partitions, list)
    assert [p["type"] for p in partitions] == [disk._TYPES[k] for k in ("bios", "esp", "root")]
    starts = [p["start"] * 512 for p in partitions]
    assert starts == [disk.BIOS_START, disk.ESP_START, disk.ROOT_START]


def test_boot_blocks_lead_from_the_first_sector_to_all_of_core_img(made: Path) -> None:
    data = made.read_bytes()[: disk.ESP_START]
    assert data[510:512] == b"\x55\xaa"
    assert data[446 + 4] == 0xEE  # the protective MBR is still there
    [kernel_sector] = struct.unpack_from("<Q", data, 0x5C)
    assert kernel_sector * 512 == disk.BIOS_START
    boot = (grubimage.module_folder("i386-pc") / "boot.img").read_bytes()
    assert data[:0x5C] == boot[:0x5C]
    start, count, segment = struct.unpack_from("<QHH", data, disk.BIOS_START + 0x1F4)
    assert (start, segment) == (kernel_sector + 1, 0x820)
    end = (start + count) * 512
    assert data[end - 512 : end].strip(b"\0")
    assert not data[end:].strip(b"\0")


def test_core_img_too_large_for_its_partition_is_refused(tmp_path: Path) -> None:
    core = image_of(tmp_path / "core.img", 3 * 512)
    target = image_of(tmp_path / "disk.img", 8 * 512, b"\0")
    with pytest.raises(Exception, match="3 sectors"):
        grubimage.embed(target, core, start=2, sectors=2)


def test_uefi_loader_is_where_the_firmware_looks(made: Path) -> None:
    argv = ["mtype", "-i", f"{made}@@{disk.ESP_START}", "::/EFI/BOOT/BOOTX64.EFI"]
    loader = subprocess.run(argv, capture_output=True, check=True).stdout
    assert loader[:2] == b"MZ"
    [pe] = struct.unpack_from("<I", loader, 0x3C)
    assert loader[pe : pe + 6] == b"PE\0\0\x64\x86"


def test_root_file_system_is_clean_and_has_the_files(made: Path) -> None:
    subprocess.run(
        ["e2fsck", "-f", "-n", f"{made}?offset={disk.ROOT_START}"], check=True, capture_output=True
    )
    assert cat(made, disk.BZIMAGE) == b"k" * (3 * MIB)
    assert cat(made, f"{disk.KERNELS}/odd \"name' $x") == b"v" * MIB
    text = cat(made, disk.GRUB_CFG).decode()
    assert "root=LABEL=hypergen rw guest_kernel=/var/lib/hypergen/kernels" in text
    assert "console=ttyS0,115200 console=tty0 'a=b c'" in text
    assert "set timeout=3" in text
    assert "terminal_output console serial" in text
    image, program = (
        run.capture(["debugfs", "-R", f"stat {name}", f"{made}?offset={disk.ROOT_START}"])
        for name in (f"{disk.IMAGES}/guest.img", f"{disk.KERNELS}/unikernel")
    )
    assert f"Size: {64 * MIB}" in image
    assert "User:     0" in image and "Mode:  0644" in image
    assert "User:     0" in program and "Mode:  0755" in program


def test_image_is_sparse(made: Path) -> None:
    stat = made.stat()
    assert stat.st_size > 160 * MIB
    assert stat.st_blocks * 512 < 24 * MIB


def test_one_source_under_two_names_becomes_two_files(tmp_path: Path) -> None:
    file = image_of(tmp_path / "f", 4096)
    image = disk.make(tmp_path / "d.img", bzimage=file, images={"a": file, "b": file})
    numbers = set()
    for name in ("a", "b"):
        at = f"{image}?offset={disk.ROOT_START}"
        stat = run.capture(["debugfs", "-R", f"stat {disk.IMAGES}/{name}", at])
        assert "Links: 1" in stat
        numbers.add(stat.split()[1])
    assert len(numbers) == 2


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        disk.make(tmp_path / "d.img", bzimage=tmp_path / "none")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["", "a/b", "a\nb"])
def test_bad_guest_names_are_refused(tmp_path: Path, name: str) -> None:
    file = image_of(tmp_path / "f", 10)
    with pytest.raises(UserError, match="file name"):
        disk.make(tmp_path / "d.img", bzimage=file, kernels={name: file})


@pytest.fixture
def cfg(tmp_path: Path) -> BuildConfig:
    made = settings(tmp_path)
    image_of(made.out / "bzImage", MIB)
    image_of(made.out / "guest_kernel/vmlinux-1", MIB)
    image_of(made.out / "guest_image/small.img", MIB)
    return made


def write_in_root(image: Path, name: str, source: Path) -> None:
    at = f"{image}?offset={disk.ROOT_START}"
    subprocess.run(
        ["debugfs", "-w", "-R", f"write {source} {name}", at], check=True, capture_output=True
    )


def test_nothing_changed_leaves_the_disk_alone(cfg: BuildConfig) -> None:
    path = disk.build(cfg)
    before = path.stat()
    assert disk.build(cfg) == path
    after = path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_new_bzimage_replaces_only_itself(cfg: BuildConfig, tmp_path: Path) -> None:
    path = disk.build(cfg)
    write_in_root(path, "kept", image_of(tmp_path / "note", 5, b"n"))
    for content in (b"2", b"3"):
        image_of(cfg.out / "bzImage", 2 * MIB, content)
        disk.build(cfg)
        assert cat(path, disk.BZIMAGE) == content * (2 * MIB)
        assert cat(path, "/kept") == b"nnnnn"
    check = ["e2fsck", "-f", "-n", f"{path}?offset={disk.ROOT_START}"]
    subprocess.run(check, check=True, capture_output=True)


def test_an_interrupted_update_is_made_up_for(
    cfg: BuildConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = disk.build(cfg)
    image_of(cfg.out / "bzImage", 2 * MIB, b"2")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(disk, "_debugfs", interrupt)
        with pytest.raises(KeyboardInterrupt):
            disk.build(cfg)
    disk.build(cfg)
    assert cat(path, disk.BZIMAGE) == b"2" * (2 * MIB)


def test_other_guests_make_the_disk_anew(cfg: BuildConfig, tmp_path: Path) -> None:
    path = disk.build(cfg)
    write_in_root(path, "gone", image_of(tmp_path / "note", 5, b"n"))
    image_of(cfg.out / "guest_image/second.img", MIB, b"s")
    disk.build(cfg)
    assert cat(path, "/gone") == b""
    assert cat(path, f"{disk.IMAGES}/second.img") == b"s" * MIB


def test_a_disk_in_use_is_not_touched(cfg: BuildConfig) -> None:
    path = disk.build(cfg)
    image_of(cfg.out / "bzImage", MIB, b"2")
    program = (
        "import fcntl, sys; f = open(sys.argv[1], 'r+b'); "
        "fcntl.lockf(f, fcntl.LOCK_SH, 1, 100); print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        ["python3", "-c", program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match="running from it"):
            disk.build(cfg)
    finally:
        holder.communicate()
    assert cat(path, disk.BZIMAGE) == b"k" * MIB


def test_the_lock_looked_for_is_the_one_qemu_takes(cfg: BuildConfig) -> None:
    if shutil.which(emulator.PROGRAM) is None:
        pytest.skip("QEMU is not installed")
    path = disk.build(cfg)
    machine = qemu.Machine(disk=path, memory=64, cpus=1, network=False, extra=("-S",))
    argv = [*machine.argv(), "-monitor", "stdio"]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert b"QEMU" in process.stdout.readline()
        assert disk._in_use(path)
    finally:
        process.communicate(b"quit\n", timeout=60)
    assert not disk._in_use(path)


def test_without_a_bzimage_the_user_is_told_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        disk.build(settings(tmp_path))
    assert caught.value.hint == "type `make` first"
