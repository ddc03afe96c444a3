# SPDX-License-Identifier: Apache-2.0
"""The raw console: this terminal on one side, the VM's console.sock on the other."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time

from hypershell import paths, qmp, terminal

DETACH, ESCAPE = 0x04, 0x1D  # CTRL+d, CTRL+]
_CHUNK = 256  # bytes a write to the terminal: what a serial line takes without blocking us for long
_OUTPUT_LIMIT = 1 << 20  # bytes kept for a terminal slower than the guest
_INPUT_LIMIT = 1 << 16  # bytes kept for a guest that does not read
_SKIPPED = b"\r\n[output skipped: this terminal is slower than the guest]\r\n"
_RECONNECTS = 5
_MODES = {"steal": "steal", "look": "view"}

HELP = (
    "\r\nCTRL+d            detach, the VM goes on"
    "\r\nCTRL+] d          send CTRL+d to the guest"
    "\r\nCTRL+] CTRL+]     send CTRL+] to the guest"
    "\r\nCTRL+] ?          this help\r\n"
)


class Keys:
    """What is typed, sorted into bytes for the guest, the wish for help, and the wish to leave."""

    def __init__(self) -> None:
        self._escaped = False
        self.help = False
        self.detached = False

    def feed(self, byte: int) -> bytes:
        """The bytes for the guest that ``byte`` leads to; sets ``help`` or ``detached``."""
        if self._escaped:
            self._escaped = False
            if byte in (ord("d"), ord("D")):
                return bytes([DETACH])
            if byte == ESCAPE:
                return bytes([ESCAPE])
            if byte == DETACH:
                self.detached = True
            else:
                self.help = True
            return b""
        if byte == ESCAPE:
            self._escaped = True
            return b""
        if byte == DETACH:
            self.detached = True
            return b""
        return bytes([byte])


class Session:
    """One attachment. ``run`` says why it ended: ``detached``, ``panicked``, ``ended``, ``hangup``.

    ``tty_in`` and ``tty_out`` are fds of a terminal in raw mode. Whoever attached first types;
    ``mode`` ``steal`` takes the keyboard from them, ``look`` never has it. Raises OSError when
    console.sock cannot be connected.
    """

    def __init__(self, folder: str, tty_in: int, tty_out: int, mode: str = "") -> None:
        self._folder, self._in, self._out, self._mode = folder, tty_in, tty_out, mode
        self._console = qmp.connect(folder, "console.sock")
        self._resized = Resized() if mode != "look" else None
        self._control: qmp.Connection | None = None
        self._keys = Keys()
        self._to_guest = b""
        self._to_tty = b""
        self._reason = ""
        self._reconnects = 0
        with contextlib.suppress(OSError):  # without it panics go unnoticed; ends do not
            self._control = qmp.Connection(folder)

    def close(self) -> None:
        """Leave the VM's sockets; the terminal is the caller's."""
        self._console.close()
        if self._resized is not None:
            self._resized.close()
        if self._control is not None:
            self._control.close()

    def run(self) -> str:
        """Carry bytes both ways until something ends it; what has arrived is shown first."""
        if self._control is not None:
            self._control.send("qmp_capabilities")
            self._control.send("query-status")
            self._tell_mode()
            self._tell_size()
        while not self._reason:
            self._turn(None)
        deadline = time.monotonic() + 2 * paths.timeout_scale()
        while self._to_tty and self._reason != "hangup" and time.monotonic() < deadline:
            self._write_tty()
        return self._reason

    def _turn(self, timeout: int | None) -> None:
        poll = select.poll()
        poll.register(self._in, select.POLLIN)
        if len(self._to_tty) < _OUTPUT_LIMIT or self._reason:
            poll.register(self._console, select.POLLIN)
        if self._to_guest:
            poll.modify(self._console, select.POLLIN | select.POLLOUT)
        if self._control is not None:
            poll.register(self._control, select.POLLIN)
        if self._to_tty:
            # The same fd may be input too: poll knows one mask an fd.
            both = select.POLLIN | select.POLLOUT if self._out == self._in else select.POLLOUT
            poll.register(self._out, both)
        if self._resized is not None:
            poll.register(self._resized.fd, select.POLLIN)
        for fd, events in poll.poll(timeout):
            if self._resized is not None and fd == self._resized.fd:
                self._resized.seen()
                self._tell_size()
            elif fd == self._console.fileno():
                self._console_event(events)
            elif self._control is not None and fd == self._control.fileno():
                self._control_event()
            else:
                if fd == self._in and events & ~select.POLLOUT:
                    self._read_tty()
                if fd == self._out and events & select.POLLOUT:
                    self._write_tty()

    def _tell_mode(self) -> None:
        """Who attached last is us."""
        if self._control is not None and self._mode:
            self._control.send(f"x-hypergen-console-{_MODES[self._mode]}")

    def _tell_size(self) -> None:
        """The guest's programs fill the window of who types."""
        if self._control is None or self._mode == "look":
            return
        try:
            size = os.get_terminal_size(self._out)
        except OSError:
            return
        if size.columns and size.lines:
            told: dict[str, object] = {"cols": size.columns, "rows": size.lines}
            self._control.send("x-hypergen-console-size", told)

    def _console_event(self, events: int) -> None:
        if events & select.POLLOUT:
            self._write_guest()
        if not events & ~select.POLLOUT:
            return
        try:
            data = self._console.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            if self._reconnects:  # it lives, and what it has kept comes again
                self._to_tty += _SKIPPED
            self._reconnects = 0
            self._to_tty += data
            if len(self._to_tty) >= _OUTPUT_LIMIT:
                self._to_tty = _SKIPPED + self._to_tty[-_OUTPUT_LIMIT // 2 :]
        else:
            self._console_lost()

    def _console_lost(self) -> None:
        """The VM ended, or dropped us as a slow reader: then attach again.

        Which of the two is known when something comes: a process that ends may take a connection
        to its last.
        """
        self._console.close()
        self._reconnects += 1
        try:
            if self._reconnects > _RECONNECTS:
                raise ConnectionResetError
            self._console = qmp.connect(self._folder, "console.sock")
            self._tell_mode()
        except OSError:
            self._console = socket.socket(socket.AF_UNIX)
            self._reason = self._reason or "ended"

    def _control_event(self) -> None:
        assert self._control is not None
        for message in self._control.receive():
            status = message.get("return")
            panicked = message.get("event") == "GUEST_PANICKED" or (
                isinstance(status, dict) and status.get("status") == "guest-panicked"
            )
            if panicked:
                self._drain()
                self._reason = "panicked"
        if self._control.ended:
            self._control.close()
            self._control = None

    def _drain(self) -> None:
        """Take what the guest wrote last; a short wait, as it may still be on its way."""
        poll = select.poll()
        poll.register(self._console, select.POLLIN)
        while not self._reason and poll.poll(100) and len(self._to_tty) < _OUTPUT_LIMIT // 2:
            self._console_event(select.POLLIN)

    def _read_tty(self) -> None:
        """Take what is typed byte by byte: what follows CTRL+d belongs to the shell's prompt."""
        poll = select.poll()
        poll.register(self._in, select.POLLIN)
        for _ in range(4096):
            try:
                byte = os.read(self._in, 1)
            except OSError:
                byte = b""
            if not byte:
                self._reason = "hangup"
                return
            typed = self._keys.feed(byte[0]) if self._mode != "look" else self._looker(byte[0])
            self._to_guest = (self._to_guest + typed)[:_INPUT_LIMIT]
            if self._keys.help:
                self._keys.help = False
                self._to_tty += HELP.encode()
            if self._keys.detached or not poll.poll(0):
                break
        self._write_guest()
        if self._keys.detached:
            self._reason = "detached"

    def _looker(self, byte: int) -> bytes:
        """Who only looks can leave and have the help, and no more."""
        self._keys.feed(byte)
        return b""

    def _write_guest(self) -> None:
        try:
            self._to_guest = self._to_guest[self._console.send(self._to_guest) :]
        except BlockingIOError:
            pass
        except OSError:
            self._to_guest = b""  # the read side will say how it ended

    def _write_tty(self) -> None:
        try:
            self._to_tty = self._to_tty[os.write(self._out, self._to_tty[:_CHUNK]) :]
        except OSError:
            self._reason = "hangup"


class Resized:
    """SIGWINCH as something to poll for: ``fd`` becomes readable."""

    def __init__(self) -> None:
        self.fd, self._tell = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._before = signal.signal(signal.SIGWINCH, self._on_signal)

    def _on_signal(self, *_: object) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._tell, b"x")

    def seen(self) -> None:
        """Wait for the next one."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.fd, 4096)

    def close(self) -> None:
        """Give the signal back."""
        signal.signal(signal.SIGWINCH, self._before)
        os.close(self.fd)
        os.close(self._tell)


def attach(folder: str, greeting: str, tty_in: int, tty_out: int, mode: str = "") -> str:
    """Attach the terminal to the VM in ``folder``: Session.run's reason. Terminal whole afterwards.

    Raises OSError when the VM's console cannot be connected; the terminal is untouched then.
    """
    session = Session(folder, tty_in, tty_out, mode)
    saved = terminal.modes(tty_in)
    try:
        terminal.set_raw(tty_in, saved)
        terminal.write_all(tty_out, greeting.encode() + b"\r\n")
        return session.run()
    finally:
        session.close()
        with contextlib.suppress(OSError):
            terminal.write_all(tty_out, terminal.reset_sequence() + b"\r\n")
        terminal.restore(tty_in, saved)
