# SPDX-License-Identifier: Apache-2.0
"""A small client of GDB's remote serial protocol, for what is awkward to make gdb itself do."""

from __future__ import annotations

import re
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.e2e.bounds import TimedOut, bound


class Rsp:
    """One connection; a context manager that ends it without a word."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._heard = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def send(self, body: str) -> None:
        """Send a packet that is not answered at once (``c``)."""
        data = body.encode("latin-1")
        self._socket.sendall(b"$%s#%02x" % (data, sum(data) & 255))

    def hear(self, seconds: float = 30) -> str:
        """The body of the next packet that comes."""
        end = time.monotonic() + bound(seconds)
        while not (match := re.search(rb"\$([^#]*)#..", self._heard, re.DOTALL)):
            self._socket.settimeout(max(end - time.monotonic(), 0.01))
            try:
                more = self._socket.recv(65536)
            except TimeoutError:
                raise TimedOut(f"no packet within {bound(seconds):.0f} s") from None
            if not more:
                raise AssertionError("the debugger's server hung up")
            self._heard += more
        self._heard = self._heard[match.end() :]
        self._socket.sendall(b"+")
        return match[1].decode("latin-1")

    def ask(self, body: str) -> str:
        """Send a packet and wait for the answer."""
        self.send(body)
        return self.hear()

    def interrupt(self) -> str:
        """What Ctrl-C does in gdb; the stop reply."""
        self._socket.sendall(b"\x03")
        return self.hear()

    def rip(self, thread: int) -> int:
        """Where a thread is."""
        assert self.ask(f"Hg{thread:x}") == "OK"
        return int.from_bytes(bytes.fromhex(self.ask("p10")), "little")
