# SPDX-License-Identifier: Apache-2.0
"""A terminal with a shell in it: a pty read by pyte, so that tests see what a person sees."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterable
from fcntl import ioctl
from typing import Any

import pyte

from .conftest import Host, copies, scale, started_alike
from .copies import Run

PROMPT = "hyper-gen:#"


class Terminal:
    """``line`` is run with -c; without it the shell prompts. 80x25 as a VGA text screen.

    The shell is a fork of one that is there; ``argv`` is what to start instead.
    """

    def __init__(
        self,
        host: Host,
        line: str = "",
        env: dict[str, str] | None = None,
        argv: list[str] | None = None,
    ) -> None:
        self.screen = pyte.HistoryScreen(80, 25, history=2000)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self._master, slave = pty.openpty()
        ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 25, 80, 0, 0))
        self.slave = slave
        self.before = self.modes()
        words, full = (["-c", line] if line else []), host.env | (env or {})
        self.process: subprocess.Popen[bytes] | Run
        if argv is None and host.copied and started_alike(full):
            self.process = copies.start(words, full, host.constants, (slave, slave, slave), True)
            return
        self.process = subprocess.Popen(
            (argv or host.argv) + words,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=full,
            start_new_session=True,
            preexec_fn=lambda: ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - no threads yet
        )

    def modes(self) -> list[Any]:
        return termios.tcgetattr(self.slave)

    def pump(self, timeout: float) -> bool:
        """Take what the program wrote; False when nothing came within ``timeout`` seconds."""
        if not select.select([self._master], [], [], timeout)[0]:
            return False
        data = os.read(self._master, 65536)
        self.raw += data
        self._stream.feed(data)
        return True

    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip()

    def until(self, condition: Callable[[], object], what: str, seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds * scale()
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"no {what} in {seconds} s; the screen:\n{self.text()}")
            self.pump(0.1)

    def expect(self, text: str, seconds: float = 20) -> None:
        self.until(lambda: text in self.text(), repr(text), seconds)

    def at_prompt(self) -> bool:
        """Is the cursor behind an empty prompt?"""
        line = self.screen.display[self.screen.cursor.y].rstrip()
        return line == PROMPT and self.screen.cursor.x == len(PROMPT) + 1

    def prompt(self) -> None:
        self.until(self.at_prompt, "prompt")

    def type(self, data: str | bytes) -> None:
        os.write(self._master, data.encode() if isinstance(data, str) else data)

    def command(self, line: str) -> str:
        """Type a line at the prompt and wait for the next one: what stands between."""
        self.prompt()
        self.screen.reset()
        self.type(line + "\r")
        lines: list[str] = []

        def done() -> bool:
            lines[:] = [text.rstrip() for text in self.screen.display]
            # The first prompt may have been repainted: the one that was typed at has the line.
            return self.at_prompt() and any(PROMPT in x and line[:20] in x for x in lines)

        self.until(done, f"end of {line!r}")
        first = next(i for i, x in enumerate(lines) if PROMPT in x and line[:20] in x)
        return "\n".join(lines[first + 1 : self.screen.cursor.y])

    def wait(self, seconds: float = 20) -> int:
        """The program's exit status."""
        deadline = time.monotonic() + seconds * scale()
        while self.process.poll() is None and time.monotonic() < deadline:
            self.pump(0.05)
        assert self.process.returncode is not None, f"still runs:\n{self.text()}"
        while self.pump(0):
            pass
        return self.process.returncode

    def close(self) -> None:
        if self.process.poll() is None:
            with contextlib.suppress(OSError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self._master)
        os.close(self.slave)


def close_all(terminals: Iterable[Terminal]) -> None:
    for terminal in terminals:
        terminal.close()
