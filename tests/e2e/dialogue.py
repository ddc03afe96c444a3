# SPDX-License-Identifier: Apache-2.0
"""Talking to what runs on the machine: the hyper-gen shell, a guest, the rescue shell."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any, ClassVar, Protocol

from tests.e2e.bounds import TimedOut, wait
from tests.e2e.machine import Machine
from tests.e2e.serial_line import SerialLine

PROMPT = "hyper-gen:#"


class Terminal(Protocol):
    """Where one can type and read."""

    def lines(self) -> list[str]:
        """What is shown, top to bottom, without trailing blanks in a line."""

    def press(self, text: str) -> None:
        """Type `text`; control characters are keys."""


class Keyboard:
    """The machine's own keyboard and display as a :class:`Terminal`."""

    _KEYS: ClassVar = {"\r": "ret", "\t": "tab", "\x1b": "esc", "\x1b[A": "up", "\x1b[B": "down"}

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def lines(self) -> list[str]:
        """See :class:`Terminal`."""
        return self._machine.lines()

    def press(self, text: str) -> None:
        """See :class:`Terminal`; understands ``\\r``, TAB, ESC, CTRL+x, arrow up and down."""
        for part in re.findall(r"\x1b\[[AB]|[\x00-\x1f]|[^\x00-\x1f]+", text):
            if part in self._KEYS:
                self._machine.press(self._KEYS[part])
            elif part < " ":
                self._machine.press("ctrl-" + chr(ord(part) + 64).lower())
            else:
                self._machine.type(part)


class HyperShell:
    """The hyper-gen shell on a terminal."""

    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal

    def _show(self) -> str:
        return "\n".join(["--- terminal ---", *self.terminal.lines()[-40:], "---"])

    def _prompt(self, lines: list[str]) -> int | None:
        """Index of the last line that has a prompt."""
        found = [index for index, line in enumerate(lines) if line.startswith(PROMPT)]
        return found[-1] if found else None

    def ready(self, seconds: float = 60) -> list[str]:
        """Wait for an empty prompt; returns what is shown above it."""

        def probe() -> list[str] | None:
            lines = self.terminal.lines()
            index = self._prompt(lines)
            if index is None or lines[index].rstrip() != PROMPT:
                return None
            return ["", *lines[:index]]

        return wait("empty prompt", probe, seconds, last=self._show)[1:]

    def enter(self, command: str, seconds: float = 30) -> None:
        """Type `command`, see it stand after the prompt, and press Enter."""
        self.ready(seconds)
        self.terminal.press(command)
        self.typed(command, seconds)
        self.terminal.press("\r")

    def typed(self, command: str, seconds: float = 30) -> None:
        """Wait until `command` stands after the last prompt."""
        # A long line wraps; what the shell suggests may follow in grey.
        expected = f"{PROMPT} {command}"[:79]

        def echoed() -> bool:
            lines = self.terminal.lines()
            index = self._prompt(lines)
            return index is not None and lines[index].startswith(expected.rstrip())

        wait(f"echo of {command!r}", echoed, seconds, last=self._show)

    def run(self, command: str, seconds: float = 60) -> list[str]:
        """Run a command; returns the lines that it printed."""
        self.enter(command)
        above = self.ready(seconds)
        index = self._prompt(above)
        printed = above if index is None else above[index + 1 :]
        if index is not None and len(f"{PROMPT} {command}") > 80:
            printed = printed[len(f"{PROMPT} {command}") // 80 :]
        while printed and not printed[-1]:
            printed.pop()
        return printed

    def json(self, command: str, seconds: float = 60) -> Any:
        """Run a command that prints JSON; lines that the terminal wrapped are joined."""
        printed = self.run(command, seconds)
        try:
            return json.loads("".join(printed))
        except ValueError as error:
            raise AssertionError(f"{command}: {error}\n" + "\n".join(printed)) from None

    def rows(self, command: str) -> list[list[str]]:
        """Run a list command; the table's rows below its heading, split at two or more blanks."""
        lines = [line for line in self.run(command) if line.strip()]
        return [re.split(r"\s{2,}", line.strip()) for line in lines[1:]]

    def see(self, text: str, seconds: float = 30) -> None:
        """Wait until one of the last 24 lines with anything on them contains `text`."""

        def probe() -> bool:
            lines = [line for line in self.terminal.lines() if line]
            return any(text in line for line in lines[-24:])

        wait(f"{text!r}", probe, seconds, last=self._show)


_marks = itertools.count(1)


class Guest:
    """A Unix shell inside a VM, reached through an attached ``vm_console``.

    Args:
        terminal: where the console is attached.
        prompt: regular expression of the guest's prompt at the end of a line.
    """

    def __init__(self, terminal: Terminal, prompt: str = r"[#$]$") -> None:
        self.terminal = terminal
        self._at_prompt = re.compile(prompt)

    def _show(self) -> str:
        return "\n".join(["--- console ---", *self.terminal.lines()[-40:], "---"])

    def _last(self) -> str:
        lines = [line for line in self.terminal.lines() if line.strip()]
        return lines[-1].rstrip() if lines else ""

    def login(self, seconds: float, user: str = "root", password: str | None = None) -> None:
        """Log in at ``login:`` and wait for the prompt."""
        wait("login:", lambda: self._last().endswith("login:"), seconds, last=self._show)
        self.terminal.press(f"{user}\r")
        if password is not None:
            wait("Password:", lambda: self._last().endswith("ssword:"), seconds, last=self._show)
            self.terminal.press(f"{password}\r")
        self.prompt(seconds)

    def prompt(self, seconds: float = 60) -> None:
        """Wait until the last line ends in the guest's prompt."""
        wait(
            "guest's prompt",
            lambda: self._at_prompt.search(self._last()) is not None,
            seconds,
            last=self._show,
        )

    def run(self, command: str, seconds: float = 60, status: int | None = 0) -> list[str]:
        """Run a command; returns the lines it printed.

        The end is a mark with a number, spelt differently in what is typed than in what is shown.
        """
        number = next(_marks)  # never twice: earlier ones still stand on the screen
        mark = f"={number}:"
        self.terminal.press(f"{command}; echo =''{number}:$?\r")

        def probe() -> list[str] | None:
            lines = self.terminal.lines()
            ends = [i for i, line in enumerate(lines) if re.fullmatch(rf".*{mark}\d+", line)]
            return lines[: ends[-1] + 1] if ends else None

        lines = wait(f"end of {command!r}", probe, seconds, last=self._show)
        got = int(lines[-1].rpartition(":")[2])
        typed = [i for i, line in enumerate(lines) if f"=''{number}:$?" in line]
        start = typed[-1] + 1 if typed else 0
        printed = [*lines[start:-1], lines[-1][: lines[-1].rindex(mark)]]
        if status is not None and got != status:
            raise AssertionError(f"{command!r} ended with {got}:\n" + "\n".join(printed))
        self.prompt()
        return [line for line in printed if line]


class Rescue:
    """The host's own busybox shell (tty2), carried to the machine's spare port.

    It is opened at the keyboard as a person would; from then on commands go through the port.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._line: SerialLine = machine.spare
        self._serial = 0
        machine.press("alt-f2")
        machine.see("Rescue shell", 30)
        keyboard = Keyboard(machine)
        keyboard.press("\r")
        wait("rescue prompt", lambda: any(x.endswith(":~#") for x in machine.lines()), 60)
        keyboard.press("for p in /dev/vport*; do sh <>$p >&0 2>&1 & done")
        machine.see("2>&1 & done", 30)
        keyboard.press("\r")
        machine.press("alt-f3")
        self.run("true")

    def run(self, command: str, seconds: float = 60, status: int | None = 0) -> str:
        """Run a command; returns both its streams.

        Raises:
            AssertionError: its exit status is not `status` (None: any will do).
        """
        self._serial += 1
        start = self._line.mark()
        self._line.press(f"{command}\necho =''{self._serial}:$?:\n")
        try:
            match = self._line.expect(rf"={self._serial}:(\d+):", seconds, start)
        except TimedOut as error:
            raise TimedOut(f"rescue shell: {command}\n{error}") from None
        output = bytes(self._line.raw[start : match.start()]).decode(errors="replace")
        output = output.replace("\r\n", "\n")
        if status is not None and int(match[1]) != status:
            raise AssertionError(f"{command!r} ended with {int(match[1])}:\n{output}")
        return output
