# SPDX-License-Identifier: Apache-2.0
"""The prompt before the editor: painted at once, while the editor is loaded on the first key.

Loading prompt_toolkit (with asyncio) takes several times as long as everything else up to the
prompt, and some 15 MB. A shell waits on every console of the host, and most of them never see a
key: so the prompt and its status line are painted by hand, in the places where the editor will
paint them, and the editor takes over when something is typed. Nothing typed is lost: the terminal
neither echoes nor edits meanwhile, and the editor reads it from where it is.
"""

from __future__ import annotations

import os
import select
import sys
import termios

from hypershell import status, terminal
from hypershell.app import PROMPT, run_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def paint(text: str, columns: int) -> bytes:
    """The prompt, the status line below in reverse video, and the cursor back behind the prompt."""
    bar = text[:columns].ljust(columns)
    # Bit by bit what xterm, the Linux VT and VT100s agree on; no newline after a full line, as
    # the cursor then still stands on it (autowrap is pending).
    return f"\r\x1b[J{PROMPT}\r\n\x1b[0;7m{bar}\x1b[0m\r\x1b[A\x1b[{len(PROMPT)}C".encode()


def _columns() -> int:
    try:
        return os.get_terminal_size(1).columns or 80
    except OSError:
        return 80


def _wait_for_key() -> None:
    """Show the prompt until something is typed or the terminal hangs up."""
    poll = select.poll()
    poll.register(0, select.POLLIN)
    shown = b""
    while True:
        now = paint(status.text(), _columns())
        if now != shown:
            terminal.write_all(1, now)
            shown = now
        if poll.poll(status.interval() * 1000):
            break
    terminal.write_all(1, b"\r\x1b[J")


def _read_plain() -> str | None:
    """A line as the terminal driver edits it: all that a dumb terminal can do."""
    while True:
        terminal.write_all(1, PROMPT.encode())
        try:
            line = sys.stdin.readline()
        except KeyboardInterrupt:
            terminal.write_all(1, b"\n")
            continue
        if not line:
            terminal.write_all(1, b"\n")
        return line or None


def _load_editor() -> Callable[[], str | None]:
    """The editor's read. While modules load nothing becomes garbage: looking for it costs 5 %."""
    import gc

    gc.disable()
    from hypershell.editor import Editor

    read = Editor().read
    gc.freeze()
    gc.enable()
    return read


def _take_back(saved: terminal.Modes) -> None:
    """After a command: what is typed from now on is the editor's to show, not the terminal's.

    What was typed while the command ran stands on the line already, where the prompt belongs; the
    editor reads it and shows it again.
    """
    terminal.set_raw(0, saved, output=False)
    if select.select([0], [], [], 0)[0]:
        terminal.write_all(1, b"\r\x1b[K")


def interactive(end: Callable[[int, object], None]) -> int:
    """Prompt and run until CTRL+d, exit, or the terminal's end. ``end`` handles SIGTERM, SIGHUP."""
    import _signal  # type: ignore[import-not-found] # signal itself would load enum for the prompt

    _signal.signal(_signal.SIGTERM, end)
    _signal.signal(_signal.SIGHUP, end)
    _signal.signal(_signal.SIGTSTP, _signal.SIG_IGN)  # CTRL+z: nobody is there to wake us again
    saved = terminal.modes(0)
    dumb = terminal.is_dumb()
    try:
        if dumb:
            terminal.restore(0, saved)
            read = _read_plain
        else:
            terminal.set_raw(0, saved, output=False)
            _wait_for_key()
            read = _load_editor()
        while True:
            line = read()
            terminal.restore(0, saved)
            if line is None or not _run(line):
                if os.path.isdir("/etc/hypergen") and "SSH_CONNECTION" not in os.environ:
                    terminal.write_all(1, b"The shell starts again; the VMs go on.\n")
                return 0
            if not dumb:
                _take_back(saved)
    except (OSError, termios.error):
        return 1  # the terminal has hung up
    finally:
        terminal.restore(0, saved)


def _run(line: str) -> bool:
    """Run one line; False to leave the shell."""
    from hypershell.spec import Exit

    try:
        for one in line.splitlines():  # several were pasted
            run_line(one, True)
    except Exit:
        return False
    finally:
        status.forget()
    return True
