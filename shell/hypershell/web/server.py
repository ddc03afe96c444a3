# SPDX-License-Identifier: Apache-2.0
"""The server: connections on a Unix socket, and what each path answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import traceback

from hypershell import paths, vm
from hypershell.errors import ShellError
from hypershell.schema import SCHEMAS
from hypershell.web import api, auth, consoles, http, websocket
from hypershell.web.files import FIELDS, Files
from hypershell.web.http import Gone, HttpError, Request, Response, Wire
from hypershell.web.jobs import INTERNAL, Pool, Result
from hypershell.web.live import Live, until_gone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CONNECTIONS = 128  # at a time; more are told so and hung up on
_API = "/api/v1/"
_JSON = "application/json"


def _json(status: int, value: object, fields: dict[str, str] | None = None) -> Response:
    return Response(status, json.dumps(value).encode() + b"\n", _JSON, fields)


def _error(error: HttpError) -> Response:
    return _json(error.status, {"error": error.why}, error.fields)


class Server:
    """All connections of one page."""

    def __init__(self, gate: auth.Gate) -> None:
        self._gate = gate
        self._files, self._pool, self._live = Files(), Pool(), Live()
        self._document = b""
        self._tasks: set[asyncio.Task[None]] = set()

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end."""
        wire = Wire(reader, writer)
        task = asyncio.current_task()
        assert task is not None
        try:
            if len(self._tasks) >= CONNECTIONS:
                busy = HttpError(503, "too many connections; try again", Retry_After="5")
                await http.respond(wire, None, _error(busy))
                return
            self._tasks.add(task)
            while await self._turn(wire):
                pass
            wire.close()
        except Gone:
            wire.abort()
        except asyncio.CancelledError:
            wire.abort()
        finally:
            self._tasks.discard(task)
            wire.close()

    async def _turn(self, wire: Wire) -> bool:
        """One request and its answer; True when another one may follow."""
        request = None
        try:
            request = await http.read_request(wire)
            if request is None:
                return False
            response = await self._answer(wire, request)
        except HttpError as error:
            response = _error(error)
        except (Gone, asyncio.CancelledError):
            raise
        except Exception:
            traceback.print_exc(file=sys.stderr)
            response = _json(500, {"error": "internal error; see the log of host_web"})
            request = None
        if response is None:  # the connection was another protocol's
            return False
        response.fields = FIELDS | response.fields
        await http.respond(wire, request, response)
        if request is None:
            await wire.linger()
        return request is not None and request.keep

    async def close(self) -> None:
        """Hang up on everybody, and end what they have started."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._live.close()

    async def _answer(self, wire: Wire, request: Request) -> Response | None:
        """Everything but the login needs the token. Raises HttpError, Gone."""
        wire.known = False
        self._gate.check_host(request)
        if request.path == "/login":
            return await self._login(request)
        if not self._gate.admit(request):
            return self._stranger(request)
        wire.known = True
        if request.path == "/logout":
            _only(request, "POST")
            self._gate.logout(request)
            return Response(303, fields={"Location": "/login", "Set-Cookie": _cookie("", 0)})
        if request.path.startswith(_API):
            return await self._api(wire, request, request.path.removeprefix(_API))
        _only(request, "GET", "HEAD")
        response = self._files.get(request)
        if response is None:
            raise HttpError(404, "there is no such page")
        return response

    @staticmethod
    def _stranger(request: Request) -> Response:
        wants_page = request.path == "/" and request.method in ("GET", "HEAD")
        if wants_page and "authorization" not in request.fields:
            return Response(303, fields={"Location": "/login"})
        why = "the token is missing or wrong; host_web status in the host's shell shows it"
        return _json(401, {"error": why}, {"WWW-Authenticate": 'Bearer realm="hyper-gen"'})

    async def _login(self, request: Request) -> Response:
        _only(request, "GET", "HEAD", "POST")
        if request.method != "POST":
            return self._files.page("login.html", said="")
        auth.check_origin(request)
        if request.media_type() != "application/x-www-form-urlencoded":
            raise HttpError(415, "the login is a form")
        session = self._gate.login(http.form(request.body.decode("latin-1")).get("token", ""))
        if not session:
            return self._files.page("login.html", 401, said="That is not the token.")
        fields = {"Location": "/", "Set-Cookie": _cookie(session, None)}
        return Response(303, fields=fields)

    async def _api(self, wire: Wire, request: Request, name: str) -> Response | None:
        if name == "openapi.json":
            _only(request, "GET", "HEAD")
            return Response(200, self._openapi(), _JSON)
        if name == "live":
            await self._websocket(wire, request, self._live.serve)
            return None
        if name.startswith("console/"):
            return await self._console(wire, request, http.unquote(name.removeprefix("console/")))
        spec = api.find(name)
        _only(request, "POST")
        told = api.read_json(request)
        work = api.work(spec, api.namespace(name, spec, told))
        if api.streams(name):
            await self._stream(wire, request, work)
            return None
        return _told(name, await self._while_wanted(wire, self._pool.run(work)))

    def _openapi(self) -> bytes:
        if not self._document:
            from hypershell.web.openapi import document

            self._document = json.dumps(document()).encode()
        return self._document

    @staticmethod
    async def _while_wanted(wire: Wire, work: Awaitable[Result]) -> Result:
        """Do it as long as the peer waits for it. Raises Gone."""
        doing, leaving = asyncio.ensure_future(work), asyncio.ensure_future(wire.hung_up())
        try:
            await asyncio.wait([doing, leaving], return_when=asyncio.FIRST_COMPLETED)
            if doing.done():
                return doing.result()
            raise Gone
        finally:
            for task in (doing, leaving):
                task.cancel()
            await asyncio.gather(doing, leaving, return_exceptions=True)

    async def _stream(self, wire: Wire, request: Request, work: Callable[[], int]) -> None:
        """A verb's lines as they come (chunked, RFC 9112 §7.1). Raises HttpError, Gone."""
        if not request.keep:
            raise HttpError(505, "what goes on and on needs HTTP/1.1 without Connection: close")
        async with self._pool.job(work) as job:
            reading = asyncio.ensure_future(job.read())
            leaving = asyncio.ensure_future(wire.hung_up())
            try:
                # What fails does so before its first line; what is quiet for a moment has begun.
                await asyncio.wait([reading, leaving], timeout=1, return_when="FIRST_COMPLETED")
                if reading.done() and not reading.result() and job.status:
                    raise _failure(Result(job.status, b"", job.errors))
                fields = {"Content-Type": "application/x-ndjson", "Transfer-Encoding": "chunked"}
                await wire.send(http.head_of(200, fields | FIELDS))
                while not leaving.done():
                    await asyncio.wait([reading, leaving], return_when="FIRST_COMPLETED")
                    if not reading.done():
                        continue
                    if not (data := reading.result()):
                        break
                    await wire.send(b"%x\r\n%b\r\n" % (len(data), data))
                    reading = asyncio.ensure_future(job.read())
                await wire.send(b"0\r\n\r\n")
            finally:
                for task in (reading, leaving):
                    task.cancel()
                await asyncio.gather(reading, leaving, return_exceptions=True)

    async def _console(self, wire: Wire, request: Request, word: str) -> Response | None:
        mode = http.form(request.query).get("mode", "")
        if mode not in consoles.MODES:
            raise HttpError(400, "mode: steal or look, or none")
        if request.fields.get("upgrade", "").lower() != "websocket":
            _only(request, "GET")
            raise HttpError(426, "a console is a WebSocket", Upgrade="websocket")
        try:
            one = vm.pick(word)
        except ShellError as error:
            raise HttpError(404, str(error)) from error
        try:
            console = consoles.Console(one.folder, mode)
        except OSError as error:
            why = error.strerror or str(error)
            raise HttpError(503, f"{one.title}: no console: {why}") from error
        try:
            await self._websocket(wire, request, console.serve)
        finally:
            console.close()
        return None

    @staticmethod
    async def _websocket(
        wire: Wire, request: Request, serve: Callable[[websocket.Socket], Awaitable[None]]
    ) -> None:
        """Open a WebSocket and serve it until it ends in any way. Raises HttpError, Gone."""
        socket = await websocket.accept(wire, request)
        works: list[Awaitable[None]] = [serve(socket), socket.keep_alive()]
        if request.path == _API + "live":
            works.append(until_gone(socket))
        tasks = [asyncio.ensure_future(work) for work in works]
        code, why = websocket.NORMAL, ""
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except websocket.ProtocolError as error:
            code, why = error.code, str(error)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await socket.finish(code, why)


def _only(request: Request, *methods: str) -> None:
    if request.method not in methods:
        raise HttpError(405, f"{' or '.join(methods)} is for this", Allow=", ".join(methods))


def _cookie(session: str, age: int | None) -> str:
    end = "" if age is None else f"; Max-Age={age}"
    return f"{auth.COOKIE}={session}; Path=/; Secure; HttpOnly; SameSite=Strict{end}"


def _failure(result: Result) -> HttpError:
    """What a failed verb is answered with."""
    if result.status == INTERNAL or result.status < 0:
        sys.stderr.write(result.errors + "\n")
        return HttpError(500, "internal error; see the log of host_web")
    status = 400 if result.status == 2 else 500
    return HttpError(status, result.errors or result.output.strip() or "it has failed")


def _told(name: str, result: Result) -> Response:
    """A finished verb's answer."""
    if result.status:
        error = _failure(result)
        more = {"output": result.output} if result.output and result.errors else {}
        return _json(error.status, {"error": error.why, **more})
    if name in SCHEMAS:
        return Response(200, result.output.encode(), _JSON)
    return _json(200, {"output": result.output})


def listen(path: str) -> int:
    """Bind the Unix socket, for root only from its first moment; the fd. Raises OSError."""
    import socket

    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    mask = os.umask(0o177)
    try:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(path)
    finally:
        os.umask(mask)
    listener.listen(64)
    return listener.detach()


async def serve(listener: int, gate: auth.Gate, parent: int) -> None:
    """Serve until SIGTERM, or until the pipe ``parent`` says that who started us is gone."""
    import socket

    server, loop, stop = Server(gate), asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_reader(parent, stop.set)
    bound = socket.socket(fileno=listener)
    limit = http.HEAD_LIMIT
    async with await asyncio.start_unix_server(server.connection, sock=bound, limit=limit) as on:
        await stop.wait()
        loop.remove_reader(parent)
        on.close()
        async with asyncio.timeout(10 * paths.timeout_scale()):
            await server.close()
