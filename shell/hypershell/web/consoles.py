# SPDX-License-Identifier: Apache-2.0
"""A VM's console over a WebSocket: bytes as binary messages, everything else as JSON in text.

From the browser: ``{"size": [columns, rows]}``. To it: ``{"event": "panicked"}``, ``{"event":
"skipped"}`` (it was too slow, and something is missing) and, last, ``{"event": "ended", "reason":
…}``. Who types is as in vm_console: who attached first, or who steals; ``look`` never does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os

from hypershell import catalog, qmp
from hypershell.web import websocket

_RECONNECTS = 5
_CHUNK = 32768
_SIZES = (1, 1000)  # of a terminal's columns and rows
_MODES = {"": "", "steal": "x-hypergen-console-steal", "look": "x-hypergen-console-view"}
MODES = tuple(_MODES)


class Console:
    """One attachment. Raises OSError when the VM's console cannot be connected."""

    def __init__(self, folder: str, mode: str) -> None:
        self._folder, self._mode = folder, mode
        self._plain = qmp.connect(folder, "console.sock")
        self._control: qmp.Connection | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._panicked, self._attached = asyncio.Event(), asyncio.Event()
        with contextlib.suppress(OSError):  # without it panics go unnoticed; ends do not
            self._control = qmp.Connection(folder)

    def close(self) -> None:
        """Leave the VM's sockets."""
        if self._control is not None:
            asyncio.get_running_loop().remove_reader(self._control.fileno())
            self._control.close()
            self._control = None
        if self._writer is not None:
            self._writer.close()
        else:
            self._plain.close()

    async def serve(self, socket: websocket.Socket) -> None:
        """Carry bytes both ways until one side ends it. Raises Gone, ProtocolError."""
        if self._control is not None:
            asyncio.get_running_loop().add_reader(self._control.fileno(), self._told)
            self._control.send("qmp_capabilities")
            self._control.send("query-status")
        tasks = [
            asyncio.create_task(work)
            for work in (self._from_guest(socket), self._from_browser(socket), self._panic(socket))
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _attach(self) -> asyncio.StreamReader:
        reader, self._writer = await asyncio.open_unix_connection(sock=self._plain)
        if self._control is not None and self._mode:
            self._control.send(_MODES[self._mode])
        self._attached.set()
        return reader

    async def _from_guest(self, socket: websocket.Socket) -> None:
        reader = await self._attach()
        tries = 0
        while True:
            try:
                data = await reader.read(_CHUNK)
            except OSError:
                data = b""
            if data:
                if tries:  # it lives, and what it has kept comes again
                    await socket.send(_event("skipped"))
                tries = 0
                await socket.send(data)
                continue
            # The VM ended, or dropped us as a slow reader: then attach again. Which of the two is
            # known when something comes: a process that ends may take a connection to its last.
            tries += 1
            try:
                if tries > _RECONNECTS:
                    raise ConnectionResetError
                self._plain = qmp.connect(self._folder, "console.sock")
            except OSError:
                await socket.send(_event("ended", reason=self._reason()))
                return
            if self._writer is not None:
                self._writer.close()
            reader = await self._attach()

    def _reason(self) -> str:
        """Why the VM has ended, as far as it is known this moment."""
        if not os.path.isdir(self._folder):
            return "destroyed"
        return str(catalog.read_json(self._folder + "/exit.json").get("reason") or "")

    async def _from_browser(self, socket: websocket.Socket) -> None:
        await self._attached.wait()
        while True:
            message = await socket.receive()
            if self._mode == "look":
                continue
            if isinstance(message, str):
                self._resize(message)
            elif self._writer is not None:
                self._writer.write(message)
                with contextlib.suppress(OSError):  # the other direction tells how it ended
                    await self._writer.drain()

    def _resize(self, message: str) -> None:
        try:
            columns, rows = json.loads(message)["size"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise websocket.ProtocolError(1008, "not {size: [columns, rows]}") from error
        if not all(type(one) is int and _SIZES[0] <= one <= _SIZES[1] for one in (columns, rows)):
            raise websocket.ProtocolError(1008, "not a size of a terminal")
        if self._control is not None:
            self._control.send("x-hypergen-console-size", {"cols": columns, "rows": rows})

    def _told(self) -> None:
        """The VM's process has said something."""
        assert self._control is not None
        for message in self._control.receive():
            status = message.get("return")
            if message.get("event") == "GUEST_PANICKED" or (
                isinstance(status, dict) and status.get("status") == "guest-panicked"
            ):
                self._panicked.set()
        if self._control.ended:
            asyncio.get_running_loop().remove_reader(self._control.fileno())
            self._control.close()
            self._control = None

    async def _panic(self, socket: websocket.Socket) -> None:
        await self._panicked.wait()
        await socket.send(_event("panicked"))
        await asyncio.Event().wait()  # the console stays, for what scrolled by


def _event(name: str, **more: str) -> str:
    return json.dumps({"event": name, **more})
