# SPDX-License-Identifier: Apache-2.0
"""A small synchronous QMP client for the machine under test.

The ``qemu.qmp`` package is not used here on purpose: it is what proves *our* control socket
(test_qmp.py), and a harness should not share code with the thing that it measures.
QEMU docs/interop/qmp-spec.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from tests.e2e.bounds import bound


class QmpError(Exception):
    """The command was answered by an error, or the peer has gone."""


class Qmp:
    """One connection; commands are answered in order, events are collected."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(bound(60))
        self._socket.connect(str(path))
        self._lines = self._socket.makefile("rb")
        self.events: list[dict[str, Any]] = []
        greeting = self._read()
        if "QMP" not in greeting:
            raise QmpError(f"not a QMP greeting: {greeting}")
        self("qmp_capabilities")

    def _read(self) -> dict[str, Any]:
        line = self._lines.readline()
        if not line:
            raise QmpError("the connection was closed")
        message: dict[str, Any] = json.loads(line)
        return message

    def __call__(self, command: str, **arguments: Any) -> Any:
        """Execute a command (``_`` in an argument's name stands for ``-``) and return its value."""
        request: dict[str, Any] = {"execute": command}
        if arguments:
            request["arguments"] = {key.replace("_", "-"): v for key, v in arguments.items()}
        try:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            while True:
                message = self._read()
                if "return" in message:
                    return message["return"]
                if "error" in message:
                    raise QmpError(f"{command}: {message['error'].get('desc')}")
                self.events.append(message)
        except OSError as error:
            raise QmpError(f"{command}: {error}") from error

    def hmp(self, line: str) -> str:
        """Execute a line of the human monitor, for what QMP has no command for."""
        answer = self("human-monitor-command", **{"command_line": line})
        return str(answer)

    def close(self) -> None:
        """Close the connection; harmless when it is closed."""
        self._lines.close()
        self._socket.close()
