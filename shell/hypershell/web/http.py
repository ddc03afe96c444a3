# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 (RFC 9112) as far as a page and an API need it, and nothing unbounded.

Requests have their body by Content-Length; what else the RFC leaves to the server's choice is
refused with the status that it has for that. Sizes are bytes, times seconds.
"""

from __future__ import annotations

import asyncio
import contextlib

from hypershell import paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

HEAD_LIMIT = 16384  # request line and fields together
TARGET_LIMIT = 2048
FIELDS_LIMIT = 64
BODY_LIMIT = 65536
HEAD_TIMEOUT = 10.0  # from the first byte of a head to its end
BODY_TIMEOUT = 20.0
IDLE_TIMEOUT = 60.0  # between two requests of one connection that has shown the token
SEND_TIMEOUT = 30.0  # for a peer that takes nothing
LINGER_TIMEOUT = 2.0  # for the rest of a request that was answered before its end
LINGER_LIMIT = 1 << 20

REASONS = {
    101: "Switching Protocols",
    200: "OK",
    303: "See Other",
    304: "Not Modified",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    411: "Length Required",
    413: "Content Too Large",
    414: "URI Too Long",
    415: "Unsupported Media Type",
    417: "Expectation Failed",
    421: "Misdirected Request",
    426: "Upgrade Required",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}

_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")
_METHOD = frozenset(c.upper() for c in _TOKEN)


class HttpError(Exception):
    """A request that is answered with ``status`` and one line that says why."""

    def __init__(self, status: int, why: str, **fields: str) -> None:
        super().__init__(why)
        self.status, self.why = status, why
        self.fields = {name.replace("_", "-"): value for name, value in fields.items()}


class Gone(Exception):
    """The peer has hung up, or takes nothing any more."""


class Wire:
    """One connection: what has come and is not used yet, and writing with a time limit."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.buffer = bytearray()
        self.known = False  # has its last request shown the token?

    async def fill(self) -> None:
        """Wait for more bytes in ``buffer``. Raises Gone."""
        try:
            data = await self._reader.read(65536)
        except OSError:
            data = b""
        if not data:
            raise Gone
        self.buffer += data

    def take(self, size: int) -> bytes:
        """The first ``size`` bytes of ``buffer``."""
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        return data

    async def exactly(self, size: int) -> bytes:
        """That many bytes; the caller bounds time. Raises Gone."""
        while len(self.buffer) < size:
            await self.fill()
        return self.take(size)

    async def hung_up(self) -> None:
        """Return when the peer has gone; what it sends meanwhile is kept, within bounds."""
        try:
            while len(self.buffer) < HEAD_LIMIT:
                await self.fill()
        except Gone:
            return
        await asyncio.Event().wait()  # it talks on: cancelled by who waits for something else

    async def send(self, data: bytes) -> None:
        """Write, and wait until the peer has taken most of it. Raises Gone."""
        self._writer.write(data)
        try:
            # Not wait_for(): CPython 3.11's can lose a cancellation (issue 86296).
            async with asyncio.timeout(SEND_TIMEOUT * paths.timeout_scale()):
                await self._writer.drain()
        except (TimeoutError, OSError) as error:
            raise Gone from error

    async def linger(self) -> None:
        """Take the rest of what the peer sends: else it is reset before it has read (§9.6)."""
        with contextlib.suppress(TimeoutError, OSError):
            self._writer.write_eof()
            async with asyncio.timeout(LINGER_TIMEOUT * paths.timeout_scale()):
                left = LINGER_LIMIT
                while left > 0 and (data := await self._reader.read(65536)):
                    left -= len(data)

    def close(self) -> None:
        """Hang up; what is written still goes out, if the peer takes it."""
        self._writer.close()

    def abort(self) -> None:
        """Hang up at once."""
        self._writer.transport.abort()


class Request:
    """A request; field names are lower case, of equal ones the values are joined by commas."""

    def __init__(self, method: str, target: str, fields: dict[str, str]) -> None:
        self.method, self.fields = method, fields
        self.path, _, self.query = target.partition("?")
        self.body = b""
        self.keep = True  # may the connection be used again?

    def cookie(self, name: str) -> str:
        """The value of a cookie (RFC 6265 §4.2.1); empty when there is none."""
        for pair in self.fields.get("cookie", "").split(";"):
            key, _, value = pair.strip().partition("=")
            if key == name:
                return value
        return ""

    def media_type(self) -> str:
        """What the body is, without parameters."""
        return self.fields.get("content-type", "").partition(";")[0].strip().lower()


class Response:
    """What is answered; ``fields`` are more header fields."""

    def __init__(
        self,
        status: int,
        body: bytes = b"",
        kind: str = "text/plain; charset=utf-8",
        fields: Mapping[str, str] | None = None,
    ) -> None:
        self.status, self.body, self.kind, self.fields = status, body, kind, dict(fields or {})


async def read_request(wire: Wire) -> Request | None:
    """The next request with its body; None when the peer is done. Raises HttpError, Gone."""
    scale = paths.timeout_scale()
    if not wire.buffer:
        try:
            # A stranger keeps nobody's place for long.
            async with asyncio.timeout((IDLE_TIMEOUT if wire.known else HEAD_TIMEOUT) * scale):
                await wire.fill()
        except (TimeoutError, Gone):
            return None
    try:
        async with asyncio.timeout(HEAD_TIMEOUT * scale):
            head = await _head(wire)
        request = parse_head(head)
        size = body_size(request)
        if request.fields.get("expect", "").lower() == "100-continue" and size:
            await wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        elif "expect" in request.fields and size:
            raise HttpError(417, "of expectations only 100-continue is met")
        async with asyncio.timeout(BODY_TIMEOUT * scale):
            request.body = await wire.exactly(size)
    except TimeoutError as error:
        raise HttpError(408, "the request did not come to its end in time") from error
    return request


async def _head(wire: Wire) -> bytes:
    """From the request line to the empty line, without it."""
    while True:
        if wire.buffer.startswith(b"\r\n"):  # §2.2: left over from a body before
            del wire.buffer[:2]
        end = wire.buffer.find(b"\r\n\r\n", 0, HEAD_LIMIT + 4)
        if end >= 0:
            head = wire.take(end + 4)
            return head[:-4]
        line = wire.buffer.find(b"\r\n", 0, TARGET_LIMIT + 64)
        if line < 0 and len(wire.buffer) > TARGET_LIMIT + 64:
            raise HttpError(414, f"a request line has {TARGET_LIMIT} bytes at most")
        if len(wire.buffer) > HEAD_LIMIT:
            raise HttpError(431, f"the header has more than {HEAD_LIMIT} bytes")
        await wire.fill()


def parse_head(head: bytes) -> Request:
    """The request of its lines. Raises HttpError."""
    try:
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, version = first.split(" ")
    except ValueError as error:
        raise HttpError(400, "the request line is not METHOD TARGET HTTP/1.1") from error
    if not method or not _METHOD.issuperset(method):
        raise HttpError(400, "the method has letters that none may have")
    if not version.startswith("HTTP/") or len(version) != 8:
        raise HttpError(400, "the request line does not end in HTTP/1.1")
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        raise HttpError(505, "HTTP/1.1 is spoken here")
    if len(target) > TARGET_LIMIT:
        raise HttpError(414, f"a target has {TARGET_LIMIT} bytes at most")
    fields = _fields(lines)
    if target.lower().startswith(("http://", "https://")):  # absolute-form, §3.2.2
        authority, slash, rest = target.partition("://")[2].partition("/")
        target, fields["host"] = slash + rest or "/", authority
    if not target.startswith("/") or any(not "!" <= c <= "~" for c in target):
        raise HttpError(400, "the target is not a path")
    if version == "HTTP/1.1" and "host" not in fields:
        raise HttpError(400, "a request without Host")
    request = Request(method, target, fields)
    wishes = [word.strip().lower() for word in fields.get("connection", "").split(",")]
    request.keep = "close" not in wishes and version == "HTTP/1.1"
    return request


def _fields(lines: list[str]) -> dict[str, str]:
    fields: dict[str, str] = {}
    if len(lines) > FIELDS_LIMIT:
        raise HttpError(431, f"the header has more than {FIELDS_LIMIT} fields")
    for line in lines:
        name, colon, value = line.partition(":")
        name, value = name.lower(), value.strip(" \t")
        # A blank before the colon and a folded line (§5.1, §5.2) are ways to smuggle.
        if not colon or not name or not _TOKEN.issuperset(name):
            raise HttpError(400, "a line of the header is not NAME: VALUE")
        if any((c < " " and c != "\t") or c == "\x7f" for c in value):
            raise HttpError(400, f"a control character in the field {name}")
        if name in fields and name in ("host", "content-length", "authorization", "content-type"):
            raise HttpError(400, f"the field {name} stands there twice")
        joint = "; " if name == "cookie" else ", "
        fields[name] = fields[name] + joint + value if name in fields else value
    return fields


def body_size(request: Request) -> int:
    """Bytes of the body (§6.3). Raises HttpError."""
    if "transfer-encoding" in request.fields:
        if "content-length" in request.fields:  # §6.1: it looks like smuggling
            raise HttpError(400, "both Transfer-Encoding and Content-Length")
        raise HttpError(411, "a body needs Content-Length")
    told = request.fields.get("content-length", "0")
    if not (told.isascii() and told.isdigit()):
        raise HttpError(400, "Content-Length is not a number")
    if len(told) > 12 or int(told) > BODY_LIMIT:
        raise HttpError(413, f"a body has {BODY_LIMIT} bytes at most")
    return int(told)


def head_of(status: int, fields: Mapping[str, str]) -> bytes:
    """A response's head. No value may bring a line of its own."""
    lines = [f"HTTP/1.1 {status} {REASONS[status]}"]
    for name, value in fields.items():
        clean = "".join(c if " " <= c <= "~" else "?" for c in value)
        lines.append(f"{name}: {clean}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def respond(wire: Wire, request: Request | None, response: Response) -> None:
    """Answer; of HEAD only the head. Raises Gone."""
    keep = request is not None and request.keep
    bodiless = response.status in (101, 304)
    fields = {} if bodiless else {"Content-Type": response.kind}
    if not bodiless:
        fields["Content-Length"] = str(len(response.body))
    if not keep:
        fields["Connection"] = "close"
    head = head_of(response.status, fields | response.fields)
    silent = bodiless or (request is not None and request.method == "HEAD")
    await wire.send(head if silent else head + response.body)


def unquote(text: str) -> str:
    """``text`` with %xx decoded (RFC 3986 §2.1). Raises HttpError."""
    data = bytearray()
    raw = text.encode("latin-1", "replace")
    place = 0
    while place < len(raw):
        if raw[place] == 0x25:
            try:
                data += bytes.fromhex(raw[place + 1 : place + 3].decode("ascii"))
            except ValueError as error:
                raise HttpError(400, "a % without two hexadecimal digits") from error
            if place + 3 > len(raw):
                raise HttpError(400, "a % without two hexadecimal digits")
            place += 3
        else:
            data.append(raw[place])
            place += 1
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise HttpError(400, "what % stands for is not UTF-8") from error


def form(text: str) -> dict[str, str]:
    """A query or a form (WHATWG URL, application/x-www-form-urlencoded). Raises HttpError."""
    pairs = [pair.partition("=") for pair in text.split("&") if pair]
    return {unquote(k.replace("+", " ")): unquote(v.replace("+", " ")) for k, _, v in pairs}
