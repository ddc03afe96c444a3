# SPDX-License-Identifier: Apache-2.0
"""The client's side of the QMP wire protocol (QEMU docs/interop/qmp-spec), never blocking for long.

One JSON object a line: a greeting, qmp_capabilities, then {"execute":…,"id":…} answered by
{"return":…} or {"error":…}; {"event":…} may come at any time.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import time

_LINE_LIMIT = 1 << 20  # bytes without a newline after which the peer is not talking QMP


class Connection:
    """A QMP client on ``control.sock`` in ``folder``; every method returns at once.

    Raises OSError from the constructor when nobody listens.
    """

    def __init__(self, folder: str) -> None:
        self.ended = False
        self._buffer = b""
        self._socket = connect(folder, "control.sock")
        self.pid = peer_pid(self._socket)

    def fileno(self) -> int:
        """For poll()."""
        return self._socket.fileno()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def detach(self) -> socket.socket:
        """The bare socket, for another protocol; the connection must not be used any more."""
        return self._socket

    def send(self, command: str, arguments: dict[str, object] | None = None) -> None:
        """Ask for ``command``; its name is the request's id. Losses show up as ``ended``."""
        request: dict[str, object] = {"execute": command, "id": command}
        if arguments:
            request["arguments"] = arguments
        line = json.dumps(request).encode() + b"\n"
        try:
            if self._socket.send(line) != len(line):
                self.ended = True
        except OSError:
            self.ended = True

    def receive(self) -> list[dict[str, object]]:
        """The whole messages that have arrived; sets ``ended`` when the peer is gone or babbles."""
        try:
            data = self._socket.recv(65536)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            self.ended = True
            return []
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        if len(self._buffer) > _LINE_LIMIT:
            self.ended = True
        messages = []
        for line in lines:
            try:
                message = json.loads(line) if line.strip() else None
            except (ValueError, RecursionError):
                self.ended = True
                break
            if isinstance(message, dict):
                messages.append(message)
        return messages


def connect(folder: str, name: str) -> socket.socket:
    """A non-blocking stream socket to ``folder/name``; sun_path's 108 bytes are no limit.

    Raises OSError; BlockingIOError when the listener's queue is full.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.setblocking(False)
    directory = -1
    try:
        path = f"{folder}/{name}"
        if len(os.fsencode(path)) > 100:
            directory = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            path = f"/proc/self/fd/{directory}/{name}"
        connection.connect(path)
    except BaseException:
        connection.close()
        raise
    finally:
        if directory >= 0:
            os.close(directory)
    return connection


def peer_pid(connection: socket.socket) -> int:
    """PID of the process that listens at the other end (SO_PEERCRED); 0 when unknown."""
    size = struct.calcsize("3i")
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    return int(struct.unpack("3i", data)[0])


class Answer:
    """What one VM said: ``returns`` by command; ``state`` is ``ok``, ``refused`` or ``timeout``."""

    def __init__(self) -> None:
        self.state = "timeout"
        self.returns: dict[str, object] = {}
        self.errors: dict[str, str] = {}
        self.pid = 0


def ask(
    folders: list[str],
    commands: list[str],
    timeout: float,
    arguments: dict[str, object] | None = None,
) -> dict[str, Answer]:
    """Put ``commands`` to the VMs in ``folders``, all at once, for ``timeout`` seconds altogether.

    A VM that hangs costs the others nothing: it stays at ``timeout``. ``arguments`` are for the
    last command.
    """
    answers = {folder: Answer() for folder in folders}
    open_: dict[int, tuple[Answer, Connection, set[str]]] = {}
    poll = select.poll()
    for folder, answer in answers.items():
        try:
            connection = Connection(folder)
        except BlockingIOError:
            continue
        except OSError:
            answer.state = "refused"
            continue
        answer.pid = connection.pid
        open_[connection.fileno()] = (answer, connection, set(commands))
        poll.register(connection.fileno(), select.POLLIN)
    deadline = time.monotonic() + timeout
    try:
        while open_ and (left := deadline - time.monotonic()) > 0:
            for fd, _ in poll.poll(left * 1000):
                answer, connection, waited = open_[fd]
                for message in connection.receive():
                    _take(message, answer, connection, waited, commands, arguments)
                if waited and not connection.ended:
                    continue
                answer.state = "refused" if waited else "ok"
                poll.unregister(fd)
                open_.pop(fd)
                connection.close()
    finally:
        for _, connection, _ in open_.values():
            connection.close()
    return answers


def _take(
    message: dict[str, object],
    answer: Answer,
    connection: Connection,
    waited: set[str],
    commands: list[str],
    arguments: dict[str, object] | None,
) -> None:
    if "QMP" in message:
        for command in ["qmp_capabilities", *commands]:
            connection.send(command, arguments if command == commands[-1] else None)
        return
    name = message.get("id")
    if isinstance(name, str) and name in waited:
        waited.discard(name)
        if "return" in message:
            answer.returns[name] = message["return"]
        error = message.get("error")
        if isinstance(error, dict):
            answer.errors[name] = str(error.get("desc") or error.get("class") or "refused")
