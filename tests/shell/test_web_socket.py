# SPDX-License-Identifier: Apache-2.0
"""WebSockets: consoles, live figures, and frames that mean no good."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from hypershell.web import consoles
from hypershell.web import websocket as own
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from .conftest import HERE, Host, a_host
from .web_client import WAIT, Page


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A page with a VM, web, for all tests that leave it running."""
    with a_host() as host:
        host.constants["hypershell.web.live.EVERY"] = 0.4
        made = Page(host)
        made.verb("vm_create", kernel=1, image=1, name="web")
        yield made


def until(connection: ClientConnection, text: bytes) -> bytes:
    """Everything that comes, up to and with a text."""
    got = b""
    while text not in got:
        message = connection.recv(timeout=WAIT)
        assert isinstance(message, bytes), message
        got += message
    return got


def closed(connection: ClientConnection) -> int:
    """Wait for the end; the status of the close frame."""
    with pytest.raises(ConnectionClosed) as caught:
        while True:
            connection.recv(timeout=WAIT)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code


def told(page: Page, vm: int = 1) -> list[dict[str, object]]:
    path = page.host.run_dir / f"vm/{vm}/told"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_console_carries_both_ways(page: Page) -> None:
    with page.websocket("console/web") as console:
        assert until(console, b"fake login: ").startswith(b"fake guest boots\r\n")
        console.send(b"hello")
        until(console, b"<hello>")
        console.send(b"\x03\xff")
        until(console, b"<03ff>")
        console.send(json.dumps({"size": [132, 43]}))
        deadline = time.monotonic() + WAIT
        while not told(page) and time.monotonic() < deadline:
            time.sleep(0.02)
        (size,) = told(page)
        assert size["execute"] == "x-hypergen-console-size"
        assert size["arguments"] == {"cols": 132, "rows": 43}


def test_who_looks_does_not_type_and_who_steals_does(page: Page) -> None:
    with page.websocket("console/1") as first, page.websocket("console/1?mode=look") as looker:
        until(first, b"fake login: ")
        until(looker, b"fake login: ")
        looker.send(b"unseen")
        looker.send("nonsense")
        first.send(b"seen")
        assert b"unseen" not in until(looker, b"<seen>")
        with page.websocket("console/1?mode=steal") as thief:
            until(thief, b"<seen>")
            time.sleep(0.2)  # until the VM has heard who types
            thief.send(b"mine")
            until(thief, b"<mine>")
            until(first, b"<mine>")


def test_a_console_says_how_it_ended(page: Page) -> None:
    page.verb("vm_create", kernel=1, image=2, name="db")
    with page.websocket("console/db") as console:
        until(console, b"fake login: ")
        console.send(b"poweroff")
        until(console, b"powering off\r\n")
        while isinstance(message := console.recv(timeout=WAIT), bytes):
            pass
        assert json.loads(message)["event"] == "ended"
        assert closed(console) == 1000
    with pytest.raises(InvalidStatus) as caught:
        page.websocket("console/db")
    assert caught.value.response.status_code == 503
    page.verb("vm_start", vm=["db"])
    with page.websocket("console/db") as console:
        console.send(b"panic")
        while isinstance(message := console.recv(timeout=WAIT), bytes):
            pass
        assert json.loads(message) == {"event": "panicked"}
    page.verb("vm_destroy", vm=["db"])


@pytest.mark.parametrize("lives", [False, True])
def test_skipped_is_said_of_a_vm_that_lives(tmp_path: Path, lives: bool) -> None:
    """A process that ends may take another connection before its listener is closed."""
    sent: list[bytes | str] = []

    class Browser:
        async def send(self, message: bytes | str) -> None:
            sent.append(message)

        async def receive(self) -> str:
            await asyncio.Event().wait()
            return ""

    async def play() -> None:
        loop, (first, second) = asyncio.get_running_loop(), (b"one", b"again")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / "console.sock"))
            listener.listen()
            listener.setblocking(False)
            console = consoles.Console(str(tmp_path), "")
            serving = asyncio.create_task(console.serve(cast(own.Socket, Browser())))
            for said in (first, second if lives else b""):
                guest, _ = await asyncio.wait_for(loop.sock_accept(listener), WAIT)
                with guest:
                    await loop.sock_sendall(guest, said)
        await asyncio.wait_for(serving, WAIT)
        console.close()

    asyncio.run(play())
    skipped = [json.dumps({"event": "skipped"}), b"again"] if lives else []
    assert sent == [b"one", *skipped, json.dumps({"event": "ended", "reason": ""})]


def test_a_flood_comes_whole(page: Page) -> None:
    with page.websocket("console/web") as console:
        until(console, b"fake login: ")
        console.send(b"\rflood")
        assert b"0123456789abcdef" * 4096 in until(console, b"END-OF-FLOOD")
        console.send(b"\r")


@pytest.mark.parametrize(
    ("path", "status"),
    [("console/nope", 404), ("console/", 404), ("console/1?mode=x", 400), ("console/%ff", 400)],
)
def test_no_console_for(page: Page, path: str, status: int) -> None:
    with pytest.raises(InvalidStatus) as caught:
        page.websocket(path)
    assert caught.value.response.status_code == status


def test_live_figures_come_and_come(page: Page) -> None:
    with page.websocket("live") as one, page.websocket("live") as other:
        first = json.loads(one.recv(timeout=WAIT))
        assert first == []
        times = []
        for _ in range(3):
            picture = json.loads(one.recv(timeout=WAIT))
            times.append(picture["time"])
            assert picture["vms"][0]["name"] == "web"
            assert {"cpu_percent", "resident", "disk_read_per_second"} <= set(picture["vms"][0])
            assert len(picture["cpu_percent"]) >= 1 and picture["memory_total"] > 0
        assert times == sorted(set(times))
        json.loads(other.recv(timeout=WAIT))
        assert json.loads(other.recv(timeout=WAIT))["time"] in times
    with page.websocket("live") as late:
        assert len(json.loads(late.recv(timeout=WAIT))) >= 3  # what is past


def _handshake(page: Page, path: str = "console/web", **fields: str) -> tuple[socket.socket, bytes]:
    """A WebSocket by hand, and the server's answer."""
    told = {
        "Host": "localhost",
        "Authorization": f"Bearer {page.token}",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        **{name.replace("_", "-"): value for name, value in fields.items()},
    }
    lines = [f"GET /api/v1/{path} HTTP/1.1", *(f"{k}: {v}" for k, v in told.items() if v)]
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(WAIT)
    connection.connect(str(page.path))
    connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    got = b""
    while b"\r\n\r\n" not in got:
        got += connection.recv(4096)
    return connection, got


def test_the_handshake_is_the_rfcs(page: Page) -> None:
    assert own.accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # §1.3
    connection, answer = _handshake(page)
    connection.close()
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in answer
    for fields, status in (
        ({"Sec_WebSocket_Version": "8"}, 426),
        ({"Sec_WebSocket_Key": "short"}, 400),
        ({"Sec_WebSocket_Key": ""}, 400),
        ({"Connection": "close"}, 400),
        ({"Upgrade": "h2c"}, 426),
        ({"Upgrade": ""}, 426),
        ({"Authorization": ""}, 401),
    ):
        connection, answer = _handshake(page, **fields)
        connection.close()
        assert answer.startswith(b"HTTP/1.1 %d " % status), fields


def frame(first: int, data: bytes = b"", *, masked: bool = True, size: int | None = None) -> bytes:
    length = len(data) if size is None else size
    mark = 0x80 if masked else 0
    if length < 126:
        head = bytes([first, mark | length])
    elif length < 65536:
        head = bytes([first, mark | 126]) + struct.pack(">H", length)
    else:
        head = bytes([first, mark | 127]) + struct.pack(">Q", length)
    mask = b"\x01\x02\x03\x04"
    body = bytes(b ^ mask[i % 4] for i, b in enumerate(data)) if masked else data
    return head + (mask if masked else b"") + body


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(0x82, b"x", masked=False), 1002),
        (frame(0xC2, b"x"), 1002),  # a reserved bit
        (frame(0x83, b"x"), 1002),  # a reserved opcode
        (frame(0x80, b"x"), 1002),  # goes on with nothing
        (frame(0x02, b"x") + frame(0x82, b"y"), 1002),  # another one begun
        (frame(0x09, b"x"), 1002),  # a ping in pieces
        (frame(0x89, b"x" * 126), 1002),
        (frame(0x88, b"x"), 1002),
        (frame(0x88, b"\x03\xed"), 1002),  # 1005 is never sent
        (frame(0x88, b"\x03\xe8\xff"), 1007),
        (frame(0x81, b"\xc3("), 1007),
        (frame(0x82, size=65537), 1009),
        (frame(0x82, size=1 << 63), 1009),
        (frame(0x02, b"x" * 40000) + frame(0x80, b"x" * 40000), 1009),
        (frame(0x81, b"{}"), 1008),
        (frame(0x81, b"[" * 5000), 1008),
        (frame(0x81, b'{"size": [80]}'), 1008),
        (frame(0x81, b'{"size": [0, 24]}'), 1008),
        (frame(0x81, b'{"size": [true, 24]}'), 1008),
        (frame(0x81, b'{"size": ["80", 24]}'), 1008),
        (frame(0x88, b"\x03\xe8"), 1000),
        (frame(0x88), 1000),
    ],
)
def test_frames_that_end_it(page: Page, data: bytes, code: int) -> None:
    connection, answer = _handshake(page)
    assert answer.startswith(b"HTTP/1.1 101 ")
    got = answer.partition(b"\r\n\r\n")[2]
    with connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)  # or it would wait for our close frame
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(65536):
                got += piece
    place = got.rfind(bytes([0x88]))
    assert place >= 0 and int.from_bytes(got[place + 2 : place + 4], "big") == code, got[-80:]


def test_frames_that_are_well(page: Page) -> None:
    connection, _ = _handshake(page)
    with connection:
        # In three pieces with a ping between them, as §5.4 allows.
        connection.sendall(frame(0x02, b"a") + frame(0x89, b"ping") + frame(0x00, b"b"))
        connection.sendall(frame(0x8A, b"unasked") + frame(0x80, b"c") + frame(0x82))
        got = b""
        while b"<abc>" not in got or b"\x8a\x04ping" not in got:
            got += connection.recv(65536)


def test_a_browser_gone_leaves_no_viewer(page: Page) -> None:
    pid = page.host.vmm_pid(1)

    def open_() -> int:
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))

    deadline = time.monotonic() + WAIT
    before = open_()
    for _ in range(5):
        connection, _ = _handshake(page)
        connection.close()
    while open_() > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert open_() <= before


def fake_tls(host: Host) -> None:
    """Give a host the stand-in for hg-tls."""
    wrapper = host.base / "hg-tls"
    wrapper.write_text(f'#!/bin/sh\nexec {sys.executable} -I {HERE}/fake_tls.py "$@"\n')
    wrapper.chmod(0o755)
    host.env["HYPERGEN_TLS"] = str(wrapper)


def test_the_tls_server_is_told_all_and_kept_up(host: Host) -> None:
    import os
    import signal
    import urllib.request

    fake_tls(host)
    host.constants["hypershell.web.keeper._PAUSE_EARLY"] = 0.2
    line = "host_web on --port 0 --address 127.0.0.1 --name box.example.org --json"
    told = json.loads(host.ok(line))
    assert told["fingerprint"] == ":".join(["AB"] * 32)
    url = told["urls"][0].replace("https", "http")
    assert told["urls"][1].startswith("https://" + os.uname().nodename.lower())
    assert told["urls"][2].startswith("https://box.example.org:")
    shown = host.ok("host_web")
    assert told["fingerprint"] in shown and told["token"] in shown and told["urls"][0] in shown
    asked_path = next(host.base.rglob("asked"))
    asked = json.loads(asked_path.read_text())
    kept = Path(asked["key"]).parent
    assert kept.name == "web" and Path(asked["certificate"]) == kept / "certificate.pem"
    assert asked["listen"] == "127.0.0.1:0" and asked["connect"] == told["socket"]
    assert asked["make"][:2] == [os.uname().nodename.lower(), "box.example.org"]
    with urllib.request.urlopen(url + "login", timeout=WAIT) as answer:
        assert b"Token" in answer.read()
    pid = host.process_in(Path(told["socket"]))
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        now = json.loads(host.ok("host_web --json"))
        with contextlib.suppress(OSError):
            urllib.request.urlopen(now["urls"][0].replace("https", "http") + "login", timeout=WAIT)
            break
        time.sleep(0.05)
    else:
        pytest.fail("hg-tls is not started again")
    assert host.ok("host_web off") == "The page is off.\n"
    assert not host.process_in(Path(told["socket"]))


def test_why_the_tls_server_does_not_start(host: Host) -> None:
    fake_tls(host)
    why = host.fails("host_web on", 1, {"FAKE_TLS_FAIL": "--listen 8443: Address in use"})
    assert why == "host_web: hg-tls: --listen 8443: Address in use"
    assert host.ok("host_web").startswith("The page is off")
