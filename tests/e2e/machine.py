# SPDX-License-Identifier: Apache-2.0
"""A QEMU machine under test: its keyboard, its display, two serial lines and its monitor."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.e2e import keys
from tests.e2e.bounds import bound, wait
from tests.e2e.qmp import Qmp, QmpError
from tests.e2e.screen import VGA_BYTES, Font, Picture, vga_lines
from tests.e2e.serial_line import SerialLine

LIVE: set[Machine] = set()
"""Every machine that runs now; a failing test's report shows what stands on their screens."""

_end_shared: Callable[[], None] | None = None


def make_room(end: Callable[[], None]) -> None:
    """End the machine that other tests shared, whose `end` this was called with before.

    An idle host costs a fifth of a CPU, and folders take their turns: each shares one of its own.
    """
    global _end_shared
    if _end_shared is not None and _end_shared != end:
        _end_shared()
    _end_shared = end


KEY_MS = 20
"""Milliseconds a key is held; the same again before the next one (PS/2's buffer is 16 bytes)."""

FIRST_SERIAL = "chardev:s0"
"""What to give ``hypergen.qemu`` for the first serial line."""

SECOND_SERIAL = ("-serial", "chardev:s1")
SPARE_PORT = ("-device", "virtio-serial-pci", "-device", "virtserialport,chardev=s1")
"""Two kinds of second line, one of which belongs to ``argv``. The port is /dev/vportNp1 inside:
8-bit clean and without a line discipline (and QEMU 7.2's 16550A forgets, now and then, to announce
the last bytes in its FIFO under TCG)."""

CRTC_INDEX, CRTC_DATA = 0x3D4, 0x3D5


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Machine:
    """One run of QEMU; a context manager that always ends it.

    Args:
        argv: QEMU and what the machine is made of, with :data:`FIRST_SERIAL` and one of
            :data:`SECOND_SERIAL` and :data:`SPARE_PORT`; the lines' ends and the monitor are
            added here.
        logs: folder for ``NAME.serial0.log``, ``NAME.qemu.log`` and the failure's screen.
        name: tells this machine's files from others'.
        held: do not start the CPUs yet.

    Attributes:
        font: how to read a graphical screen; None reads VGA text memory.
    """

    def __init__(self, argv: Sequence[str], logs: Path, name: str, *, held: bool = False) -> None:
        self.name = name
        self._held = held
        self.logs = logs
        self.font: Font | None = None
        self._argv = list(argv)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self.logs.mkdir(parents=True, exist_ok=True)
        # Unix socket paths are short (108 bytes), pytest's tmp_path is long.
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="hg-")))
        extra = ["-monitor", "none"]
        extra += ["-qmp", f"unix:{self._folder}/qmp,server=on,wait=off"]
        for line in range(2):
            extra += ["-chardev", f"socket,id=s{line},path={self._folder}/s{line},server=on"]
            extra[-1] += ",wait=off"
        extra += ["-S"]  # until we listen: not a byte of the serial lines is lost
        self._log = self.logs / f"{self.name}.qemu.log"
        try:
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    [*self._argv, *extra], stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            self._stack.callback(self._kill)
            wait("monitor", self._up, 30, last=self._log.read_text)
            self.qmp = Qmp(self._folder / "qmp")
            self._stack.callback(self.qmp.close)
            self.serial, self.spare = (self._line(number) for number in range(2))
            if not self._held:
                self.qmp("cont")
        except BaseException:
            self._stack.close()
            raise
        LIVE.add(self)
        return self

    def _up(self) -> bool:
        if self._process.poll() is not None:
            raise AssertionError(f"QEMU ended at once:\n{self._log.read_text()}")
        return (self._folder / "qmp").exists()

    def _line(self, number: int) -> SerialLine:
        log = self.logs / f"{self.name}.serial{number}.log"
        log.unlink(missing_ok=True)
        line = SerialLine(self._folder / f"s{number}", log)
        self._stack.callback(line.close)
        return line

    def _kill(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.dump()
        LIVE.discard(self)
        self._stack.close()

    @property
    def pid(self) -> int:
        """QEMU's process id."""
        return self._process.pid

    def wait_end(self, seconds: float) -> int:
        """Wait until QEMU ends by itself (``-no-reboot``, power off); returns its exit status."""
        return self._process.wait(bound(seconds))

    # -- keyboard ----------------------------------------------------------------------------

    def press(self, *names: str) -> None:
        """Press chords one after another: ``press("alt-f3")``, ``press("down", "ret")``."""
        for name in names:
            self._send(keys.chord(name))

    def type(self, text: str) -> None:
        """Type `text` on the US keyboard; ``\\n`` is the Enter key."""
        for chord in keys.keys(text):
            self._send(chord)

    def _send(self, chord: list[str]) -> None:
        codes = [{"type": "qcode", "data": code} for code in chord]
        self.qmp("send-key", keys=codes, hold_time=KEY_MS)

    # -- display -----------------------------------------------------------------------------

    def _frozen(self) -> contextlib.AbstractContextManager[None]:
        @contextlib.contextmanager
        def freeze() -> Iterator[None]:
            ran = self.qmp("query-status")["running"]
            self.qmp("stop")
            try:
                yield
            finally:
                if ran:
                    self.qmp("cont")

        return freeze()

    def _crtc(self, register: int) -> int:
        self.qmp.hmp(f"o /b {CRTC_INDEX:#x} {register:#x}")
        answer = self.qmp.hmp(f"i /b {CRTC_DATA:#x}")  # "portb[0x03d5] = 0x00"
        return int(answer.rpartition("=")[2], 16)

    def vga(self) -> list[str]:
        """The 25 lines of the VGA text screen."""
        path = self._folder / "vga"
        # Registers and memory belong together, and the guest's own use of the index register
        # must not be disturbed: the CPUs stand still meanwhile.
        with self._frozen():
            index = int(self.qmp.hmp(f"i /b {CRTC_INDEX:#x}").rpartition("=")[2], 16)
            start = self._crtc(0x0C) << 8 | self._crtc(0x0D)
            self.qmp.hmp(f"o /b {CRTC_INDEX:#x} {index:#x}")
            self.qmp("pmemsave", val=0xB8000, size=VGA_BYTES, filename=str(path))
        return vga_lines(path.read_bytes(), start)

    def picture(self) -> Picture:
        """The display's pixels."""
        path = self._folder / "screen.ppm"
        self.qmp("screendump", filename=str(path))
        return Picture.from_ppm(path)

    def lines(self) -> list[str]:
        """The text on the display, as VGA text or by `font` off the picture."""
        return self.vga() if self.font is None else self.font.lines(self.picture())

    def learn_font(self, text: str) -> None:
        """Wait until the top left of the graphical screen shows `text`; read by it from now on."""

        def probe() -> Font | None:
            font = Font()
            try:
                font.learn(self.picture(), text)
            except ValueError:
                return None
            return font

        self.font = wait("known text on the picture", probe, 60)

    def see(self, text: str, seconds: float) -> list[str]:
        """Wait until a line of the display contains `text`; returns all lines."""

        def probe() -> list[str] | None:
            lines = self.lines()
            return lines if any(text in line for line in lines) else None

        return wait(f"{text!r} on the screen", probe, seconds, last=self.describe)

    # -- when something goes wrong -------------------------------------------------------------

    def describe(self) -> str:
        """The display's text, for an error message."""
        try:
            lines = self.lines()
        except (OSError, QmpError, ValueError) as error:
            lines = [f"(cannot be read: {error})"]
        return "\n".join([f"--- screen of {self.name} ---", *lines, "---"])

    def dump(self) -> str:
        """Write the screen as text and picture into the logs folder; returns screen and serial."""
        text = "\n".join([self.describe(), self.serial.describe()])
        (self.logs / f"{self.name}.screen.txt").write_text(text)
        with contextlib.suppress(OSError, QmpError):
            self.qmp("screendump", filename=str(self.logs / f"{self.name}.screen.ppm"))
        return text
