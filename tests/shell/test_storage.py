# SPDX-License-Identifier: Apache-2.0
"""Images and kernels as files: made, copied, imported, looked at; and what must not happen."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import json
import lzma
import os
import shutil
import struct
import subprocess
import threading
import zlib
from pathlib import Path

import pytest
from hypershell import probe, qcow2
from hypershell.errors import UsageError

from .conftest import Host

CLUSTER = 65536


@pytest.fixture
def host(host: Host) -> Host:
    """A host whose folders are empty."""
    for path in (*host.images.iterdir(), *host.kernels.iterdir()):
        path.unlink()
    return host


def make_qcow2(path: Path, size: int, clusters: dict[int, bytes], packed: bool = False) -> None:
    """A version 3 image (docs/interop/qcow2.txt) with one L2 table."""
    l1, l2, data = CLUSTER, 2 * CLUSTER, 3 * CLUSTER
    header = struct.pack(
        ">4sIQIIQIIQQIIQQQQII",
        *(b"QFI\xfb", 3, 0, 0, 16, size, 0, 1, l1, 0, 0, 0, 0, 0, 0, 0, 4, 104),
    )
    table = [0] * (CLUSTER // 8)
    body = b""
    for number, start in clusters.items():
        content = start.ljust(CLUSTER, b"\0")
        if packed:
            deflater = zlib.compressobj(9, zlib.DEFLATED, -12)
            small = deflater.compress(content) + deflater.flush()
            sectors = -(-len(small) // 512)
            table[number] = 1 << 62 | (sectors - 1) << 54 | (data + len(body))
            body += small.ljust(sectors * 512, b"\0")
        else:
            table[number] = 1 << 63 | (data + len(body))
            body += content
    image = bytearray(data)
    image[: len(header)] = header
    struct.pack_into(">Q", image, l1, 1 << 63 | l2)
    struct.pack_into(f">{len(table)}Q", image, l2, *table)
    path.write_bytes(bytes(image) + body)


def test_create_clone_resize_remove(host: Host) -> None:
    assert "20 GiB" in host.ok("image_create a.img 20G")
    path = host.images / "a.img"
    assert path.stat().st_size == 20 << 30 and path.stat().st_blocks == 0
    with path.open("r+b") as file:
        file.seek(1 << 30)
        file.write(b"something")
    host.ok("image_clone a.img b.img")
    copy = host.images / "b.img"
    assert copy.stat().st_size == 20 << 30 and copy.stat().st_blocks < 4096
    with copy.open("rb") as file:
        file.seek(1 << 30)
        assert file.read(9) == b"something"
    assert "20 GiB -> 24 GiB" in host.ok("image_resize b.img 24G")
    assert "already" in host.ok("image_resize b.img 24G")
    assert "add --shrink" in host.fails("image_resize b.img 1G", 2)
    host.ok("image_resize b.img 1G --shrink")
    assert host.ok("image_rm a.img b.img") == "image a.img removed\nimage b.img removed\n"
    assert list(host.images.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("image_create a.img 1G", "exists already"),
        ("image_create ../b 1G", "a name has letters"),
        ("image_create .b 1G", "a name has letters"),
        ("image_create b 100B", "not a size"),
        ("image_create b 0.0007", "in steps of 512"),
        ("image_clone nope c", "unknown image 'nope'"),
        ("image_import /nope", "No such file"),
        ("image_import -", "--name NAME is needed"),
        ("image_import /etc/hostname --name a.img", "exists already"),
        ("kernel_import /etc/passwd --name k", "is no kernel"),
    ],
)
def test_what_cannot_be_is_one_line(host: Host, line: str, part: str) -> None:
    host.ok("image_create a.img 1M")
    assert part in host.fails(line, 2)
    assert [path.name for path in host.images.iterdir()] == ["a.img"]
    assert list(host.kernels.iterdir()) == []


def test_an_image_in_use_is_left_alone(host: Host) -> None:
    host.add_vmlinux("vmlinux")
    host.add_image("a.img")
    host.ok("vm_create 1 1 --name web")
    assert "in use by VM 1 (web)" in host.fails("image_rm a.img", 2)
    assert "being written by VM 1 (web)" in host.fails("image_clone a.img b.img", 2)
    assert "stop it to make it less" in host.fails("image_resize a.img 512K --shrink", 2)
    assert "VM 1 (web) knows" in host.ok("image_resize a.img 2M")
    told = json.loads((host.run_dir / "vm/1/told").read_text())
    assert told["arguments"] == {"device": "disk0", "size": 2 << 20}
    host.ok("vm_pause web")
    host.ok("image_clone a.img b.img")
    assert "removed" in host.ok("kernel_rm vmlinux")


def test_import_unpacks_and_leaves_holes(host: Host) -> None:
    content = b"begin" + bytes(3 << 20) + b"end"
    whole = content + bytes(-len(content) % 512)
    digest = hashlib.sha256(content).hexdigest()
    sources = {"plain.img": content, "g.img.gz": gzip.compress(content)}
    if shutil.which("unxz"):
        sources["x.img.xz"] = lzma.compress(content)
    for name, data in sources.items():
        path = host.base / name
        path.write_bytes(data)
        text = host.ok(f"image_import {path}")
        assert digest in text
        made = host.images / name.removesuffix(".gz").removesuffix(".xz")
        assert made.read_bytes() == whole and made.stat().st_blocks * 512 < 1 << 20
    packed = gzip.compress(content)
    for name, data in (("piped.img", content), ("unpacked.img", packed)):
        done = subprocess.run(
            [*host.argv, "-c", f"image_import - --name {name} --sha256 {digest}"],
            env=host.env,
            input=data,
            capture_output=True,
            check=True,
        )
        assert b"sha256" not in done.stdout and (host.images / name).read_bytes() == whole
    bad = host.base / "bad.img.gz"
    bad.write_bytes(packed[: len(packed) // 2])
    before = sorted(host.images.iterdir())
    assert "bad.img.gz" in host.fails(f"image_import {bad}", 1)
    assert "nothing kept" in host.fails(f"image_import {bad.with_name('plain.img')} --name q"
                                        f" --sha256 {'0' * 64}", 1)  # fmt: skip
    assert sorted(host.images.iterdir()) == before


@pytest.mark.skipif(not shutil.which("wget"), reason="no wget")
def test_import_from_the_network(host: Host) -> None:
    folder = host.base / "served"
    folder.mkdir()
    (folder / "a.img").write_bytes(b"x" * 4096)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(folder))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert "nothing has vouched" in host.ok(f"image_import {url}/a.img")
        assert "a.img" in [path.name for path in host.images.iterdir()]
        assert "nope.img" in host.fails(f"image_import {url}/nope.img", 1)
        server.shutdown()
    assert [path.name for path in host.images.iterdir()] == ["a.img"]


@pytest.mark.parametrize("packed", [False, True])
def test_qcow2_becomes_raw(host: Host, packed: bool) -> None:
    source = host.base / "disk.qcow2"
    make_qcow2(source, 8 * CLUSTER + 512, {1: b"one", 7: b"\xff" * CLUSTER, 8: b"tail"}, packed)
    host.ok(f"image_import {source}")
    data = (host.images / "disk.img").read_bytes()
    assert len(data) == 8 * CLUSTER + 512
    want = bytearray(len(data))
    want[CLUSTER : CLUSTER + 3] = b"one"
    want[7 * CLUSTER : 8 * CLUSTER] = b"\xff" * CLUSTER
    want[8 * CLUSTER : 8 * CLUSTER + 4] = b"tail"
    assert data == bytes(want)


@pytest.mark.parametrize(
    ("at", "value", "part"),
    [
        (8, b"\1" * 8, "backing file"),
        (32, b"\0\0\0\1", "encrypted"),
        (79, b"\2", "corrupt"),
        (79, b"\4", "another file"),
        (79, b"\x10", "extended L2"),
        (76, b"\1", "not known here"),
        (4, b"\0\0\0\7", "version 7"),
        (20, b"\0\0\0\x40", "damaged"),
        (24, b"\x7f" * 8, "damaged"),
        (36, b"\xff" * 4, "impossible size"),
        (40, b"\x00\x7f" * 4, "truncated or damaged"),
        (CLUSTER, b"\x80\x7f" * 4, "truncated or damaged"),
    ],
)
def test_qcow2_that_is_not_read_is_named(host: Host, at: int, value: bytes, part: str) -> None:
    source = host.base / "disk.qcow2"
    make_qcow2(source, 8 * CLUSTER, {1: b"one"})
    data = bytearray(source.read_bytes())
    data[at : at + len(value)] = value
    source.write_bytes(data)
    assert part in host.fails(f"image_import {source}", 2)
    assert list(host.images.iterdir()) == []


def test_any_damage_to_qcow2_is_refused_or_read(tmp_path: Path) -> None:
    import random

    chance = random.Random(1)
    path = tmp_path / "disk"
    make_qcow2(path, 8 * CLUSTER, {1: b"one", 3: b"three"}, packed=True)
    whole = path.read_bytes()
    for _ in range(300):
        data = bytearray(whole[: chance.choice((len(whole), chance.randrange(len(whole))))])
        for _ in range(chance.randrange(6) if data else 0):
            at = chance.choice((chance.randrange(104), CLUSTER + 3, 2 * CLUSTER + 8))
            data[min(at, len(data) - 1)] = chance.randrange(256)
        path.write_bytes(data)
        fd = os.open(path, os.O_RDONLY)
        try:
            image = qcow2.Qcow2(fd)
            if image.size <= 1 << 30:
                for _, _ in zip(image.clusters(), range(64), strict=False):
                    pass
        except UsageError:
            pass
        finally:
            os.close(fd)


def test_verify_sees_cut_images(host: Host, tmp_path: Path) -> None:
    path = host.add_image("a.img")
    assert "nothing wrong" in host.ok("image_verify a.img")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    host.ok(f"image_verify a.img --sha256 {digest.upper()}")
    done = host.run(f"image_verify a.img --sha256 {'0' * 64} --json")
    assert done.returncode == 1 and json.loads(done.stdout)["sha256"] == digest
    if mke2fs := shutil.which("mke2fs") or shutil.which("mke2fs", path="/sbin:/usr/sbin"):
        real = host.images / "b.img"
        subprocess.run([mke2fs, "-q", "-F", str(real), "8M"], check=True, capture_output=True)
        assert probe.past_the_end(str(real), real.stat().st_size) == []
        os.truncate(real, 4 << 20)
        assert "it was cut" in host.run("image_verify b.img --quick").stderr
    table = bytearray(4096)
    table[510:512] = b"\x55\xaa"
    struct.pack_into("<B3xB3xII", table, 446, 0x80, 0x83, 2048, 100000)
    (host.images / "c.img").write_bytes(bytes(table) + bytes(1 << 20))
    assert "partition 1 ends behind" in host.run("image_verify c.img --quick").stderr


def test_kernel_import_and_info(host: Host) -> None:
    source = host.add_vmlinux("vmlinux-1")
    host.ok(f"kernel_import {source} --name two")
    record = json.loads(host.ok("kernel_info two --json"))
    assert record["kind"] == "vmlinux" and record["version"] == "6.12.9-guest"
    assert record["protocol"].startswith("64-bit entry")
    host.add_bzimage("boxed")
    assert "Linux boot protocol" in host.ok("kernel_info boxed")
