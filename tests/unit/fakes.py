# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for programs and servers, and settings in a temporary folder."""

from __future__ import annotations

import contextlib
import http.server
import os
import re
import stat
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from hypergen import config
from hypergen.boot import emulator
from hypergen.config import TOP, BuildConfig


def settings(tmp_path: Path, **overrides: str) -> BuildConfig:
    """Settings whose every folder is below `tmp_path`; nothing of the environment is read."""
    given = {
        "out": str(tmp_path / "out"),
        "cache": str(tmp_path / "cache"),
        "jobs": "2",
        "qemu": emulator.PROGRAM,
        **overrides,
    }
    return config.load(given, environment={}, file=tmp_path / "none.toml")


def program(folder: Path, name: str, script: str = "") -> Path:
    """A fake program in `folder` that logs its words to ``NAME.calls``, then runs `script` (sh)."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f'#!/bin/sh\necho "$*" >> "{folder}/{name}.calls"\n{script}\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def calls(folder: Path, name: str) -> list[str]:
    """The words of each call of a fake program, in order."""
    log = folder / f"{name}.calls"
    return log.read_text().splitlines() if log.exists() else []


def hypergen_environment(tmp_path: Path, bin_folder: Path) -> dict[str, str]:
    """Variables for running the tool as a process, with fake programs first on PATH."""
    return {
        "PATH": f"{bin_folder}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "O": str(tmp_path / "out"),
        "HYPERGEN_CACHE": str(tmp_path / "cache"),
        "PYTHONPATH": str(TOP),
        # Compiled once, and not into the source tree.
        **(
            {"PYTHONPYCACHEPREFIX": sys.pycache_prefix}
            if sys.pycache_prefix
            else {"PYTHONDONTWRITEBYTECODE": "1"}
        ),
    }


PYTHON = sys.executable


class Server:
    """What a :func:`serve`\\ d server does; tests change it and read ``requests``.

    Attributes:
        body: what it serves.
        cut: bytes after which it closes the connection once, or None.
        ranges: whether it honours Range.
        requests: each request's Range header, ``""`` for none.
    """

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.cut: int | None = None
        self.ranges = True
        self.requests: list[str] = []
        self.url = ""


@contextlib.contextmanager
def serve(body: bytes) -> Iterator[Server]:
    """An HTTP server on the loopback interface that serves `body` under every path."""
    state = Server(body)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range") or ""
            state.requests.append(asked)
            start = 0
            if state.ranges and (match := re.fullmatch(r"bytes=(\d+)-", asked)):
                start = int(match[1])
                if start >= len(state.body):
                    self.send_error(416)
                    return
                self.send_response(206)
            else:
                self.send_response(200)
            piece = state.body[start:]
            self.send_header("Content-Length", str(len(piece)))
            self.end_headers()
            if state.cut is not None:
                piece, state.cut = piece[: state.cut], None
            self.wfile.write(piece)
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}/linux-6.12.9.tar.xz"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
