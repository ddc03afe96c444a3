# SPDX-License-Identifier: Apache-2.0
"""The page's server: who is let in, what HTTP it takes, what becomes of hostile input."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypershell.web import http as own_http

from .conftest import Host, a_host, scale
from .web_client import FORM, OWN, WAIT, Page


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """One page for all tests that change nothing."""
    with a_host() as host:
        host.env["HYPERGEN_TIMEOUT_SCALE"] = str(0.1 * scale())
        yield Page(host)


def test_it_is_off_until_it_is_switched_on(host: Host) -> None:
    assert host.ok("host_web") == "The page is off; host_web on serves it.\n"
    assert host.ok("host_web off") == "The page is off already.\n"
    assert not (host.run_dir / "web.sock").exists()
    first = Page(host)
    assert len(bytes.fromhex(first.token)) == 32
    assert stat.S_IMODE(first.path.stat().st_mode) == 0o600
    kept = next(host.base.rglob("token"))
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    assert "it is on already" in host.fails("host_web on --socket-only", 1)
    assert first.token in host.ok("host_web status")
    assert host.ok("host_web off") == "The page is off.\n"
    assert not first.path.exists()
    assert Page(host).token == first.token  # it is kept
    host.ok("host_web off")
    other = Page(host, "--new-token")
    assert other.token != first.token
    assert other.ask("POST", "/api/v1/version", token=first.token).status == 401


def test_wrong_usage_is_told(host: Host) -> None:
    assert "type a number, 1 to 65535" in host.fails("host_web on --port 65536", 2)
    assert "type an IP address" in host.fails("host_web on --address box", 2)
    assert "type a host's name" in host.fails("host_web on --name 'a b'", 2)
    assert "type on, off or status" in host.fails("host_web maybe", 2)
    assert "cannot run /no/such" in host.fails("host_web on", 1, {"HYPERGEN_TLS": "/no/such"})
    assert host.ok("host_web") == "The page is off; host_web on serves it.\n"


def test_nothing_without_the_token(page: Page) -> None:
    for token in (None, "0" * 64, page.token[:-1], page.token.upper() + "x", "ü"):
        for method, path in (
            ("GET", "/api/v1/openapi.json"),
            ("POST", "/api/v1/vm_list"),
            ("GET", "/api/v1/live"),
            ("GET", "/api/v1/console/1"),
            ("GET", "/app.js"),
            ("GET", "/no/such"),
            ("POST", "/logout"),
            ("DELETE", "/"),
        ):
            if token == "ü":
                raw = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                raw += "Authorization: Bearer ü\r\n\r\n"
                assert page.status(raw.encode("latin-1")) == 401
                continue
            done = page.ask(method, path, token=token)
            assert done.status == 401, (method, path)
            assert "host_web status" in done.json()["error"]
            assert done.headers["WWW-Authenticate"].startswith("Bearer")
    basic = page.ask("POST", "/api/v1/vm_list", token=None, Authorization=f"Basic {page.token}")
    assert basic.status == 401
    start = page.ask("GET", "/", token=None)
    assert (start.status, start.headers["Location"], start.body) == (303, "/login", b"")


def test_a_browser_logs_in_and_out(page: Page) -> None:
    form = page.ask("GET", "/login", token=None)
    assert form.status == 200 and b'name="token"' in form.body
    nonce = re.search(rb'<style nonce="(\w+)">', form.body)
    assert nonce and f"'nonce-{nonce[1].decode()}'" in form.headers["Content-Security-Policy"]
    wrong = page.ask("POST", "/login", "token=wrong", None, **FORM, **OWN)
    assert wrong.status == 401 and b"That is not the token." in wrong.body
    assert "Set-Cookie" not in wrong.headers
    done = page.ask("POST", "/login", f"token={page.token}", None, **FORM, **OWN)
    assert done.status == 303
    words = [word.strip() for word in done.headers["Set-Cookie"].split(";")]
    assert words[0].startswith("__Host-hypergen=") and page.token not in words[0]
    assert set(words[1:]) == {"Path=/", "Secure", "HttpOnly", "SameSite=Strict"}
    cookie = words[0]
    assert page.ask("GET", "/", token=None, Cookie=f"a=b; {cookie}").status == 200
    assert page.ask("POST", "/logout", "", None, Cookie=cookie, **OWN).status == 303
    assert page.ask("GET", "/", token=None, Cookie=cookie).status == 303
    assert page.ask("POST", "/login", "{}", None, Content_Type="text/plain", **OWN).status == 415


def test_another_sites_page_can_do_nothing(page: Page) -> None:
    cookie = page.login()
    listed = {"Cookie": cookie, "Content_Type": "application/json"}
    assert page.ask("POST", "/api/v1/vm_list", "{}", None, **listed, **OWN).status == 200
    for origin in ("https://evil.example", "null", "https://localhost:1", "localhost", "http://"):
        done = page.ask("POST", "/api/v1/vm_list", "{}", None, **listed, Origin=origin)
        assert done.status == 403 and "another site" in done.json()["error"]
    assert page.ask("POST", "/api/v1/vm_list", "{}", None, **listed).status == 403
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Cookie": cookie}
    assert page.ask("GET", "/api/v1/live", token=None, **upgrade).status == 403
    evil = page.ask("POST", "/login", f"token={page.token}", None, **FORM, Origin="https://e.e")
    assert evil.status == 403
    plain = page.ask("POST", "/api/v1/vm_list", "{}", Content_Type="text/plain")
    assert plain.status == 415
    assert "Access-Control-Allow-Origin" not in plain.headers


def test_only_the_hosts_own_names(page: Page) -> None:
    name = os.uname().nodename.lower()
    for host in ("localhost:8443", "127.0.0.1", "10.0.0.1:1", "[::1]:8443", name, f"{name}.local"):
        assert page.ask("POST", "/api/v1/version", Host=host).status == 200, host
    for host in ("evil.example", "localhost.evil.example", "1.2.3.4.evil.example", "[::1", "", "1"):
        done = page.ask("POST", "/api/v1/version", Host=host)
        assert done.status == 421 and "host_web on --name" in done.json()["error"], host


def test_a_name_of_its_own(host: Host) -> None:
    made = Page(host, "--name box.example.org")
    assert made.ask("POST", "/api/v1/version", Host="box.example.org").status == 200
    assert made.ask("POST", "/api/v1/version", Host="example.org").status == 421


def test_every_answer_binds_the_browser(page: Page) -> None:
    for method, path in (("GET", "/"), ("GET", "/login"), ("GET", "/style.css"), ("GET", "/no")):
        fields = page.ask(method, path).headers
        assert fields["X-Content-Type-Options"] == "nosniff"
        assert fields["X-Frame-Options"] == "DENY"
        if path != "/no":
            policy = fields["Content-Security-Policy"]
            assert "default-src 'none'" in policy and "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy


def test_files_are_not_sent_twice(page: Page) -> None:
    first = page.ask("GET", "/style.css")
    assert first.status == 200 and first.headers["Content-Type"].startswith("text/css")
    again = page.ask("GET", "/style.css", If_None_Match=first.headers["ETag"])
    assert (again.status, again.body) == (304, b"")
    head = page.ask("HEAD", "/style.css")
    assert head.headers["Content-Length"] == first.headers["Content-Length"] and head.body == b""
    for path in ("/../auth.py", "/%2e%2e/auth.py", "//etc/passwd", "/index.html", "/static/"):
        assert page.ask("GET", path).status == 404, path


def test_one_connection_many_requests(page: Page) -> None:
    request = b"POST /api/v1/version HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %b\r\n"
    request %= page.token.encode()
    last = request + b"Connection: close\r\n\r\n"
    got = page.raw(request + b"\r\n" + request + b"Content-Length: 2\r\n\r\n{}" + last)
    assert got.count(b"HTTP/1.1 415 ") == 1 and got.count(b"HTTP/1.1 200 OK") == 2


GOOD = "POST /api/v1/version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
MANY = "".join(f"X-{n}: 1\r\n" for n in range(own_http.FIELDS_LIMIT + 1))


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (GOOD, 401),
        ("GET / HTTP/1.1\r\n", 400),
        ("GET /\r\n", 400),
        ("GET  / HTTP/1.1\r\nHost: localhost\r\n", 400),
        ("G\0T / HTTP/1.1\r\nHost: localhost\r\n", 400),
        ("get / HTTP/1.1\r\nHost: localhost\r\n", 400),
        ("GET / HTTP/2.0\r\nHost: localhost\r\n", 505),
        ("GET / HTTP/1.1x\r\nHost: localhost\r\n", 400),
        ("GET / ABCD/1.1\r\nHost: localhost\r\n", 400),
        ("GET * HTTP/1.1\r\nHost: localhost\r\n", 400),
        ("GET a HTTP/1.1\r\nHost: localhost\r\n", 400),
        ("GET /\xff HTTP/1.1\r\nHost: localhost\r\n", 400),
        ("GET /login HTTP/1.0\r\nHost: localhost\r\n", 200),
        ("GET http://localhost/login HTTP/1.1\r\nHost: x\r\nConnection: close\r\n", 200),
        ("GET http://evil/login HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n", 421),
        (GOOD + "Host: localhost\r\n", 400),
        (GOOD + "X : 1\r\n", 400),
        (GOOD + " folded\r\n", 400),
        (GOOD + "X\r\n", 400),
        (GOOD + ": 1\r\n", 400),
        (GOOD + "X: a\0b\r\n", 400),
        (GOOD + "X: a\rb\r\n", 400),
        (GOOD + "Content-Length: 1\r\nContent-Length: 2\r\n", 400),
        (GOOD + "Content-Length: -1\r\n", 400),
        (GOOD + "Content-Length: +1\r\n", 400),
        (GOOD + "Content-Length: 0x1\r\n", 400),
        (GOOD + "Content-Length: 1, 1\r\n", 400),
        (GOOD + "Content-Length: 65537\r\n", 413),
        (GOOD + "Content-Length: 99999999999999999999999\r\n", 413),
        (GOOD + "Transfer-Encoding: chunked\r\n", 411),
        (GOOD + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", 400),
        (GOOD + "Expect: a-miracle\r\nContent-Length: 3\r\n", 417),
        (GOOD + "X: " + "a" * own_http.HEAD_LIMIT + "\r\n", 431),
        (GOOD + MANY, 431),
        ("GET /" + "a" * 9000 + " HTTP/1.1\r\nHost: localhost\r\n", 414),
        ("GET /" + "a" * 2060 + " HTTP/1.1\r\nHost: localhost\r\n", 414),
        ("a" * 100000, 414),
        ("GET /login?%zz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n", 200),
    ],
)
def test_what_is_no_http_is_refused(page: Page, head: str, status: int) -> None:
    got = page.raw(head.encode("latin-1") + b"\r\n")
    assert got.startswith(b"HTTP/1.1 %d " % status), got[:200]
    assert b"Connection: close" in got
    if status not in (200, 401):
        body = json.loads(got.partition(b"\r\n\r\n")[2])
        assert set(body) == {"error"} and body["error"]


def test_noise_is_no_harm(page: Page) -> None:
    import random

    dice = random.Random(5)
    seed = (GOOD + f"Authorization: Bearer {page.token}\r\nContent-Length: 2\r\n\r\n{{}}").encode()
    for _ in range(150):
        data = bytearray(seed)
        for _ in range(dice.randint(1, 8)):
            place = dice.randrange(len(data))
            data[place : place + dice.randint(0, 3)] = dice.randbytes(dice.randint(0, 3))
        assert page.status(bytes(data), shut=True) in (0, 200, *range(400, 500), 501, 505)
    assert page.ask("POST", "/api/v1/version").status == 200


def test_who_dawdles_is_hung_up_on(page: Page) -> None:
    """Times are a tenth in this host."""
    asked = (b"GET /login HTTP/1.1\r\nHo", f"{GOOD}Content-Length: 9\r\n\r\n{{".encode(), b"")
    began = time.monotonic()
    with ThreadPoolExecutor(len(asked)) as pool:
        head, body, nothing = pool.map(page.raw, asked)
    assert head.startswith(b"HTTP/1.1 408 ") and body.startswith(b"HTTP/1.1 408 ")
    assert nothing == b""  # nothing asked, nothing answered
    assert time.monotonic() - began < WAIT


def test_too_many_connections_are_told_so(host: Host) -> None:
    page = Page(host)
    held = []
    try:
        for _ in range(140):
            one = socket.socket(socket.AF_UNIX)
            held.append(one)
            one.connect(str(page.path))
        for one in held[-12:]:
            one.settimeout(WAIT)
            assert one.recv(4096).startswith(b"HTTP/1.1 503 ")
    finally:
        for one in held:
            one.close()
    deadline = time.monotonic() + WAIT
    while page.ask("POST", "/api/v1/version").status != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_server_that_dies_is_started_again(host: Host) -> None:
    host.constants["hypershell.web.keeper._PAUSE_EARLY"] = 0.2
    page = Page(host)
    keeper = json.loads((host.run_dir / "web/state.json").read_text())["pid"]
    (server,) = _children(keeper)
    os.kill(server, signal.SIGKILL)
    deadline = time.monotonic() + WAIT
    while _children(keeper) in ([], [server]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert page.ask("POST", "/api/v1/version").status == 200
    assert "server has ended (-9)" in (host.run_dir / "web/log").read_text()
    (server,) = _children(keeper)
    os.kill(keeper, signal.SIGKILL)  # nobody keeps it: it goes, too
    while Path(f"/proc/{server}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{server}").exists()
    assert host.ok("host_web") == "The page is off; host_web on serves it.\n"
    assert Page(host).ask("POST", "/api/v1/version").status == 200
