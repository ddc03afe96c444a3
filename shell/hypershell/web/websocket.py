# SPDX-License-Identifier: Apache-2.0
"""The server's side of WebSocket (RFC 6455), without extensions."""

from __future__ import annotations

import asyncio
import binascii
import contextlib
import hashlib
import time

from hypershell import paths
from hypershell.web.http import Gone, HttpError, Request, Wire, head_of

MESSAGE_LIMIT = 65536  # bytes of a message to us, all its fragments together
PING_EVERY = 20.0  # seconds of silence after which the peer is asked whether it lives
_CLOSE_TIMEOUT = 3.0
DEAD_AFTER = 65.0  # seconds of silence after which it does not

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
NORMAL, AWAY, PROTOCOL, NOT_UTF8, TOO_BIG, INTERNAL = 1000, 1001, 1002, 1007, 1009, 1011


class ProtocolError(Exception):
    """The peer broke the rules; ``code`` is the status of the close frame (§7.4.1)."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


def accept_key(key: str) -> str:
    """Sec-WebSocket-Accept for a Sec-WebSocket-Key (§4.2.2)."""
    digest = hashlib.sha1(key.encode("latin-1") + _GUID, usedforsecurity=False).digest()
    return binascii.b2a_base64(digest, newline=False).decode("ascii")


async def accept(wire: Wire, request: Request) -> Socket:
    """Answer the opening handshake (§4.2). Raises HttpError, Gone."""
    fields = request.fields
    words = [word.strip().lower() for word in fields.get("connection", "").split(",")]
    if request.method != "GET" or fields.get("upgrade", "").lower() != "websocket":
        raise HttpError(426, "this is a WebSocket", Upgrade="websocket", Connection="Upgrade")
    if fields.get("sec-websocket-version") != "13":
        raise HttpError(426, "version 13 of WebSocket is spoken", Sec_WebSocket_Version="13")
    key = fields.get("sec-websocket-key", "")
    try:
        whole = len(binascii.a2b_base64(key.encode("latin-1"), strict_mode=True)) == 16
    except ValueError:
        whole = False
    if not whole or "upgrade" not in words:
        raise HttpError(400, "not an opening handshake of WebSocket")
    answer = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Accept": accept_key(key),
    }
    await wire.send(head_of(101, answer))
    return Socket(wire)


def _unmask(data: bytes, mask: bytes) -> bytes:
    """XOR with the repeated mask (§5.3), as one large number: quicker than byte by byte."""
    size = len(data)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


class Socket:
    """An open WebSocket. One task receives; any number send."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._heard = time.monotonic()
        self._closed = self._ended = False  # we have sent, we have had a close frame

    async def receive(self) -> str | bytes:
        """The next message; pings are answered. Raises Gone at its end, ProtocolError."""
        kind, parts = 0, b""
        while True:
            final, opcode, data = await self._frame(MESSAGE_LIMIT - len(parts))
            if opcode == CLOSE:
                await self._answer_close(data)
                raise Gone
            if opcode in (PING, PONG):
                if opcode == PING and not self._closed:
                    await self._send(PONG, data)
                continue
            if (opcode == 0) != (kind != 0):
                raise ProtocolError(PROTOCOL, "fragments out of order")
            kind, parts = kind or opcode, parts + data
            if final:
                return _text(parts) if kind == TEXT else parts

    async def _frame(self, room: int) -> tuple[bool, int, bytes]:
        """(final, opcode, data) of a frame (§5.2)."""
        first, second = await self._wire.exactly(2)
        self._heard = time.monotonic()
        final, opcode, size = bool(first & 0x80), first & 0x0F, second & 0x7F
        if first & 0x70 or opcode not in (0, TEXT, BINARY, CLOSE, PING, PONG):
            raise ProtocolError(PROTOCOL, "a frame of a kind that was not agreed on")
        if not second & 0x80:
            raise ProtocolError(PROTOCOL, "a frame without mask")
        if opcode >= CLOSE and (size > 125 or not final):
            raise ProtocolError(PROTOCOL, "a control frame too long or in pieces")
        if size == 126:
            size = int.from_bytes(await self._wire.exactly(2), "big")
        elif size == 127:
            size = int.from_bytes(await self._wire.exactly(8), "big")
        if opcode < CLOSE and size > room:
            raise ProtocolError(TOO_BIG, f"a message has {MESSAGE_LIMIT} bytes at most")
        mask = await self._wire.exactly(4)
        return final, opcode, _unmask(await self._wire.exactly(size), mask)

    async def _answer_close(self, data: bytes) -> None:
        if len(data) == 1:
            raise ProtocolError(PROTOCOL, "a close frame with half a status")
        code = int.from_bytes(data[:2], "big") if data else NORMAL
        if not (code in (1000, 1001, 1002, 1003, *range(1007, 1012)) or 3000 <= code < 5000):
            raise ProtocolError(PROTOCOL, "a close frame with a status that none may send")
        _text(data[2:])
        self._ended = True
        await self.close(code)

    async def send(self, message: str | bytes) -> None:
        """Send a message and wait until most of it is taken. Raises Gone."""
        if isinstance(message, str):
            await self._send(TEXT, message.encode("utf-8", "replace"))
        else:
            await self._send(BINARY, message)

    async def _send(self, opcode: int, data: bytes) -> None:
        if self._closed:
            raise Gone
        size = len(data)
        if size < 126:
            head = bytes([0x80 | opcode, size])
        elif size < 65536:
            head = bytes([0x80 | opcode, 126]) + size.to_bytes(2, "big")
        else:
            head = bytes([0x80 | opcode, 127]) + size.to_bytes(8, "big")
        await self._wire.send(head + data)

    async def close(self, code: int = NORMAL, why: str = "") -> None:
        """Send the close frame, once."""
        if not self._closed:
            text = why.encode("utf-8", "replace")[:120].decode("utf-8", "ignore").encode()
            with contextlib.suppress(Gone):
                await self._send(CLOSE, code.to_bytes(2, "big") + text)
            self._closed = True

    async def finish(self, code: int = NORMAL, why: str = "") -> None:
        """Close, and hang up only when the peer has closed, too (§7.1.1), or takes too long.

        Hung up on at once, it could lose what it has not read yet.
        """
        await self.close(code, why)
        with contextlib.suppress(Gone, ProtocolError, TimeoutError):
            async with asyncio.timeout(_CLOSE_TIMEOUT * paths.timeout_scale()):
                await self._discard()

    async def _discard(self) -> None:
        while not self._ended:
            await self.receive()

    async def keep_alive(self) -> None:
        """Ping a peer that is silent; returns when it stays so, or is gone."""
        scale = paths.timeout_scale()
        try:
            while (silent := time.monotonic() - self._heard) < DEAD_AFTER * scale:
                if silent >= PING_EVERY * scale:
                    await self._send(PING, b"")
                await asyncio.sleep(PING_EVERY * scale)
        except Gone:
            pass


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ProtocolError(NOT_UTF8, "a text message that is not UTF-8") from error
