# SPDX-License-Identifier: Apache-2.0
"""A client of the page: HTTP by http.client and by raw bytes, WebSocket by another's library."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, unix_connect

from .conftest import Host, scale

WAIT = 30 * scale()


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=WAIT)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(WAIT)
        self.sock.connect(self._path)


class Answer:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.headers = response.status, response.headers
        self.body = response.read()

    def json(self) -> Any:
        assert self.headers["Content-Type"] == "application/json", self.body
        return json.loads(self.body)


class Page:
    """The page of a host, served on its Unix socket."""

    def __init__(self, host: Host, *words: str) -> None:
        self.host = host
        told = json.loads(host.ok(" ".join(["host_web on --json --socket-only", *words])))
        self.token, self.path = str(told["token"]), Path(told["socket"])

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | str | None = None,
        token: str | None = "",
        **fields: str,
    ) -> Answer:
        """One request; ``token`` "" is the right one, None is none."""
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        if token is not None:
            headers["Authorization"] = f"Bearer {token or self.token}"
        connection = _Unix(self.path)
        try:
            connection.request(method, path, body, headers)
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def verb(self, name: str, status: int = 200, /, **arguments: object) -> Any:
        body = json.dumps(arguments)
        done = self.ask("POST", f"/api/v1/{name}", body, Content_Type="application/json")
        assert done.status == status, (name, done.status, done.body)
        return done.json()

    def raw(self, data: bytes, *, shut: bool = False) -> bytes:
        """Send bytes as they are; everything that comes back until the server hangs up."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(WAIT)
            connection.connect(str(self.path))
            try:
                connection.sendall(data)
                if shut:
                    connection.shutdown(socket.SHUT_WR)
            except BrokenPipeError:
                pass  # it has answered and hung up already
            got = b""
            try:
                while piece := connection.recv(65536):
                    got += piece
            except ConnectionResetError:
                pass
            return got

    def status(self, data: bytes, *, shut: bool = False) -> int:
        """The status of the answer to raw bytes; 0 when there is none."""
        got = self.raw(data, shut=shut)
        return int(got.split(b" ", 2)[1]) if got.startswith(b"HTTP/1.1 ") else 0

    def websocket(self, path: str, **headers: str) -> ClientConnection:
        fields = {"Authorization": f"Bearer {self.token}", **headers}
        return unix_connect(
            str(self.path),
            uri=f"ws://localhost/api/v1/{path}",
            additional_headers=fields,
            open_timeout=WAIT,
            close_timeout=WAIT,
            compression=None,
        )

    def login(self) -> str:
        """The Cookie of a new session."""
        done = self.ask("POST", "/login", f"token={self.token}", None, **FORM, **OWN)
        assert done.status == 303 and done.headers["Location"] == "/"
        return str(done.headers["Set-Cookie"]).partition(";")[0]


FORM = {"Content_Type": "application/x-www-form-urlencoded"}
OWN = {"Origin": "https://localhost"}
