# SPDX-License-Identifier: Apache-2.0
"""A serial line of the machine under test, with a terminal at our end of it."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from pathlib import Path

import pyte

from tests.e2e.bounds import TimedOut, bound

COLUMNS, ROWS = 80, 24
HISTORY = 400
"""Lines kept above the screen; `raw` has everything."""


class _Screen(pyte.HistoryScreen):
    """A terminal that answers what it is asked (ESC [ 6 n), as a real one does."""

    def __init__(self, answer: socket.socket) -> None:
        super().__init__(COLUMNS, ROWS, history=HISTORY, ratio=0.5)
        self._answer = answer

    def write_process_input(self, data: str) -> None:
        self._answer.sendall(data.encode())


class SerialLine:
    """Reads everything that arrives, keeps it raw (`raw`), as a log file and as a screen."""

    def __init__(self, path: Path, log: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._screen = _Screen(self._socket)
        self._stream = pyte.ByteStream(self._screen)
        self._lock = threading.Condition()
        self._log = log.open("ab")
        self.raw = bytearray()
        self._over = False  # QEMU has hung up
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while data := self._receive():
            with self._lock:
                self.raw += data
                self._log.write(data)
                self._log.flush()
                self._stream.feed(data)
                self._lock.notify_all()
        with self._lock:
            self._over = True
            self._lock.notify_all()

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(4096)
        except OSError:
            return b""

    def lines(self) -> list[str]:
        """Everything shown so far, what has scrolled off the top first; no trailing blanks."""
        with self._lock:
            rows = [*self._screen.history.top, *(self._screen.buffer[y] for y in range(ROWS))]
            lines = ["".join(row[x].data for x in range(COLUMNS)).rstrip() for row in rows]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def press(self, text: str) -> None:
        """Send `text` as it stands."""
        self._socket.sendall(text.encode())

    def mark(self) -> int:
        """The number of bytes that have arrived: where a later :meth:`expect` shall begin."""
        with self._lock:
            return len(self.raw)

    def expect(self, pattern: str, seconds: float, start: int = 0) -> re.Match[bytes]:
        """Wait until the raw bytes from `start` on match `pattern`."""
        expression = re.compile(pattern.encode())
        end = time.monotonic() + bound(seconds)
        seen = -1
        while self._grown(seen, end):
            with self._lock:
                text = bytes(self.raw)
            if found := expression.search(text, start):
                return found
            seen = len(text)
            time.sleep(0.01)  # what comes byte by byte is not looked at as often
        when = "before QEMU hung up" if self._over else f"within {bound(seconds):.0f} s"
        what = f"no {pattern!r} on the serial line {when}"
        raise TimedOut(f"{what}\n{self.describe()}")

    def _grown(self, seen: int, end: float) -> bool:
        """Wait until more than `seen` bytes have arrived; False when none will, or not in time."""
        with self._lock:
            self._lock.wait_for(lambda: self._over or len(self.raw) > seen, end - time.monotonic())
            return len(self.raw) > seen

    def describe(self) -> str:
        """The last lines, for an error message."""
        return "\n".join(["--- serial line ---", *self.lines()[-40:], "---"])

    def close(self) -> None:
        """Hang up."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # close() alone does not end a recv()
        self._thread.join(5)
        self._socket.close()
        self._log.close()
