# SPDX-License-Identifier: Apache-2.0
"""A host for the shell: folders with kernels and images, and the fake VMM."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .copies import Copies

HERE = Path(__file__).resolve().parent
SHELL = HERE.parents[1] / "shell"


def scale() -> float:
    return float(os.environ.get("HYPERGEN_TIMEOUT_SCALE", "1"))


# Byte code is kept where this process keeps it, so that nothing is compiled for each start.
_START = {
    "PATH": os.environ["PATH"],
    "PYTHONPATH": str(SHELL),
    **({"PYTHONPYCACHEPREFIX": sys.pycache_prefix} if sys.pycache_prefix else {}),
}
copies = Copies(_START)


def started_alike(env: dict[str, str]) -> bool:
    """Is ``env`` one with which the interpreter starts as it does with _START?"""
    counts = ("PYTHON", "LC_", "LANG")
    return {k: v for k, v in env.items() if k.startswith(counts)} == {
        k: v for k, v in _START.items() if k.startswith(counts)
    }


def _run(
    words: list[str], env: dict[str, str], constants: dict[str, float], timeout: float
) -> subprocess.CompletedProcess[str]:
    """subprocess.run with a fork of the shell and nothing to read."""
    pipes = [os.pipe(), os.pipe()]
    with open(os.devnull) as null:  # noqa: PTH123
        files = (null.fileno(), pipes[0][1], pipes[1][1])
        run = copies.start(words, env, constants, files, False)
    said = {}
    waiting = select.poll()
    for out, into in pipes:
        os.close(into)
        said[out] = b""
        waiting.register(out, select.POLLIN)
    left = len(pipes)
    deadline = time.monotonic() + timeout
    try:
        while left and (seconds := deadline - time.monotonic()) > 0:
            for fd, _ in waiting.poll(seconds * 1000):
                data = os.read(fd, 65536)
                said[fd] += data
                if not data:
                    waiting.unregister(fd)
                    left -= 1
        status = run.wait(max(deadline - time.monotonic(), 0))
    except subprocess.TimeoutExpired:
        run.kill()
        raise
    finally:
        for out in said:
            os.close(out)
    output, errors = (data.decode() for data in said.values())
    return subprocess.CompletedProcess(words, status, output, errors)


class Host:
    """One host in a folder of its own; ``run`` is ``hypershell -c``."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.run_dir, self.kernels, self.images = base / "run", base / "kernels", base / "images"
        for folder in (self.run_dir, self.kernels, self.images):
            folder.mkdir()
        self.env = {
            **_START,
            "HOME": str(base),
            "TERM": "linux",
            "HYPERGEN_RUN": str(self.run_dir),
            "HYPERGEN_KERNELS": str(self.kernels),
            "HYPERGEN_IMAGES": str(self.images),
            "HYPERGEN_VMM": str(base / "hg-vmm"),
            "HYPERGEN_TIMEOUT_SCALE": str(scale()),
        }
        # The interpreter is named, as the tests may run in a venv that PATH does not know; and the
        # fake is imported, as what is run as a script is compiled each time.
        wrapper = base / "hg-vmm"
        wrapper.write_text(
            f"#!{sys.executable} -IS\nimport sys\nsys.pycache_prefix = {sys.pycache_prefix!r}\n"
            f"sys.path.append({str(HERE)!r})\nfrom fake_vmm import main\n\nmain()\n"
        )
        wrapper.chmod(0o755)
        # An installed shell can be put to the same tests, as "python3.11 -I -S -m hypershell".
        installed = os.environ.get("HYPERGEN_TEST_SHELL", "").split()
        self.argv = installed or [sys.executable, "-m", "hypershell"]
        self.copied = not installed
        self.constants: dict[str, float] = {}
        """Waits of the shell that are shorter here, where it is a copy; see Copies.start."""

    def add_vmlinux(self, name: str, version: str = "6.12.9-guest") -> Path:
        head = b"\x7fELF\x02\x01\x01" + bytes(11) + b"\x3e\x00" + bytes(2000)
        path = self.kernels / name
        path.write_bytes(head + b"Linux version %s\0Linux version " + f"{version} (x)".encode())
        return path

    def add_bzimage(self, name: str, version: str = "6.12.8-boxed") -> Path:
        data = bytearray(4096)
        data[0x1FE:0x206] = b"\x55\xaa\xeb\x66HdrS"
        struct.pack_into("<H", data, 0x20E, 0x300)
        data[0x500 : 0x500 + len(version) + 4] = f"{version} (x".encode()
        path = self.kernels / name
        path.write_bytes(data)
        return path

    def add_image(self, name: str, size: int = 1 << 20) -> Path:
        """A sparse ext4 by its magic number."""
        path = self.images / name
        data = bytearray(4096)
        data[0x438:0x43A] = b"\x53\xef"
        struct.pack_into("<II", data, 0x45C, 0x4, 0x40)
        path.write_bytes(data)
        os.truncate(path, size)
        return path

    def run(
        self, line: str, env: dict[str, str] | None = None, fresh: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """``hypershell -c line``; with ``fresh`` not a fork but an interpreter of its own."""
        words, full = ["-c", line], self.env | (env or {})
        if self.copied and not fresh and started_alike(full):
            return _run(words, full, self.constants, 60 * scale())
        return subprocess.run(
            [*self.argv, *words],
            env=full,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60 * scale(),
            check=False,
        )

    def ok(self, line: str, env: dict[str, str] | None = None) -> str:
        done = self.run(line, env)
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        assert done.stderr == "", (line, done.stderr)
        return done.stdout

    def fails(self, line: str, code: int, env: dict[str, str] | None = None) -> str:
        """Run what must fail with ``code`` and one line on stderr; the line."""
        done = self.run(line, env)
        assert done.returncode == code, (line, done.returncode, done.stdout, done.stderr)
        assert done.stderr.count("\n") == 1 and done.stderr.endswith("\n"), done.stderr
        return done.stderr.strip()

    def json(self, line: str) -> list[dict[str, object]]:
        value = json.loads(self.ok(f"{line} --json"))
        assert isinstance(value, list)
        return value

    def states(self) -> dict[object, object]:
        return {vm["id"]: vm["state"] for vm in self.json("vm_list")}

    def vmm_pid(self, vm_id: int) -> int:
        """PID of the fake behind a VM; 0 when there is none."""
        return self.process_in(self.run_dir / "vm" / str(vm_id))

    @staticmethod
    def process_in(folder: Path) -> int:
        """PID of the fake that runs in ``folder``, found independently of the shell's search."""
        wanted = str(folder).encode()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if wanted in (entry / "cmdline").read_bytes().split(b"\0"):
                        return int(entry.name)
                except OSError:
                    continue
        return 0


@contextlib.contextmanager
def a_host() -> Iterator[Host]:
    """A host that leaves nothing behind."""
    base = Path(tempfile.mkdtemp(prefix="hgsh"))
    made = Host(base)
    made.add_vmlinux("vmlinux-6.12")
    made.add_bzimage("bzImage-6.12")
    made.add_image("busybox.img")
    made.add_image("debian.img")
    try:
        yield made
    finally:
        _clear(made)


def _clear(made: Host) -> None:
    if (made.run_dir / "web").exists():
        made.run("host_web off")
    for vm_id in [int(p.name) for p in (made.run_dir / "vm").glob("[0-9]*")]:
        if pid := made.vmm_pid(vm_id):
            os.kill(pid, 9)
    if made.run_dir.is_mount():
        subprocess.run(["umount", "-q", str(made.run_dir)], check=False, capture_output=True)
    shutil.rmtree(made.base, ignore_errors=True)


@pytest.fixture
def host() -> Iterator[Host]:
    with a_host() as made:
        yield made
