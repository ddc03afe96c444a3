# SPDX-License-Identifier: Apache-2.0
"""The line editor: prompt_toolkit with completion, history and the status line."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sys

from prompt_toolkit.application.current import get_app
from prompt_toolkit.completion import Completer, Completion
from prompt_toolkit.history import History
from prompt_toolkit.output.color_depth import ColorDepth
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.shortcuts.prompt import PromptSession
from prompt_toolkit.styles import Style

from hypershell import complete, status
from hypershell.app import PROMPT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from prompt_toolkit.completion import CompleteEvent
    from prompt_toolkit.document import Document

HISTORY_LINES = 500  # kept when the file is trimmed
_HISTORY_BYTES = 256 * 1024  # size at which it is

# Colours that 16-colour VTs have, readable on them; where there is none, reverse video remains.
_MENU = "fg:ansiblack bg:ansicyan noreverse"
_CHOSEN = "fg:ansiblack bg:ansicyan reverse"
_STYLE = Style.from_dict(
    {
        "bottom-toolbar": "reverse",
        "completion-menu.completion": _MENU,
        "completion-menu.completion.current": _CHOSEN,
        "completion-menu.meta.completion": _MENU,
        "completion-menu.meta.completion.current": _CHOSEN,
    }
)


class LineHistory(History):
    """A file of lines shared by all shells, oldest first; bounded. A full disk only forgets."""

    def __init__(self, path: str) -> None:
        self._path = path
        super().__init__()

    def load_history_strings(self) -> Iterable[str]:
        """Newest first, as prompt_toolkit wants them."""
        try:
            with open(self._path, "rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(size - _HISTORY_BYTES, 0))
                lines = file.read().decode("utf-8", "replace").splitlines()
        except OSError:
            return []
        if size > _HISTORY_BYTES:
            lines = lines[-HISTORY_LINES:]
            self._trim(lines)
        return [line for line in reversed(lines[-HISTORY_LINES:]) if line.strip()]

    def store_string(self, string: str) -> None:
        """Append one line in one write, so that shells do not mix theirs."""
        try:
            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_SH)
                os.write(fd, string.replace("\n", " ").encode("utf-8", "replace") + b"\n")
            finally:
                os.close(fd)
        except OSError:
            pass

    def _trim(self, lines: list[str]) -> None:
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                os.ftruncate(fd, 0)
                os.write(fd, ("\n".join(lines) + "\n").encode("utf-8", "replace"))
            finally:
                os.close(fd)
        except OSError:
            pass


class _Output(Vt100_Output):
    """Claims two rows for the prompt and the status line.

    Else prompt_toolkit asks the terminal where its cursor is (CPR), which serial lines are not sure
    to answer, and hides the status line until it knows. More rows are taken when they are needed.
    """

    def get_rows_below_cursor_position(self) -> int:
        return 2


class _Completer(Completer):
    def get_completions(self, document: Document, event: CompleteEvent) -> Iterable[Completion]:
        text = document.text_before_cursor
        word = "" if not text or text[-1].isspace() else text.split()[-1]
        for value, about in complete.candidates(text):
            yield Completion(value, -len(word), display_meta=about[:60])


def _color_depth() -> ColorDepth | None:
    """VT100s and their heirs have no colour; the rest is left to prompt_toolkit."""
    term = os.environ.get("TERM", "")
    return ColorDepth.DEPTH_1_BIT if term.startswith(("vt1", "vt2", "vt3")) else None


def _toolbar() -> str:
    """What the command being typed takes; else how the host is."""
    return complete.hint(get_app().current_buffer.text) or status.text()


async def _refresh() -> None:
    """Redraw the status line when it has changed; a look costs some file reads."""
    shown = status.text()
    while True:
        await asyncio.sleep(status.interval())
        if status.text() != shown:
            shown = status.text()
            get_app().invalidate()


class Editor:
    """The prompt with everything, for terminals that are not dumb."""

    def __init__(self) -> None:
        self._session: PromptSession[str] = PromptSession(
            PROMPT,
            completer=_Completer(),
            complete_while_typing=False,
            complete_in_thread=False,
            history=LineHistory(complete.history_path()),
            bottom_toolbar=_toolbar,
            style=_STYLE,
            color_depth=_color_depth(),
            output=_Output.from_pty(sys.stdout, term=os.environ["TERM"]),
            include_default_pygments_style=False,
            mouse_support=False,
            enable_system_prompt=False,
        )

    def read(self) -> str | None:
        """The next line; None at CTRL+d. CTRL+c gives up the line and starts another."""
        while True:
            try:
                return self._session.prompt(pre_run=self._start_refresh)
            except KeyboardInterrupt:
                continue
            except EOFError:
                return None

    @staticmethod
    def _start_refresh() -> None:
        get_app().create_background_task(_refresh())
