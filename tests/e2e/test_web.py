# SPDX-License-Identifier: Apache-2.0
"""The page of the real host: through hg-tls, to real VMs, in a real browser."""

from __future__ import annotations

import hashlib
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from hypergen.config import BuildConfig
from tests.e2e import host as hosts
from tests.e2e.bounds import bound, wait
from tests.e2e.files import FILES
from tests.e2e.host import Host
from tests.e2e.machine import free_port
from tests.shell import browser

FOLDERS = "guest_kernel=/var/lib/hypergen/kernels guest_image=/var/lib/hypergen/images"


class Page:
    """The page of a host, as somebody reaches it who believes no certificate."""

    def __init__(self, host: Host, port: int) -> None:
        self.host, self.port = host, port
        self.told = json.loads(host.command("host_web --json"))
        self.url = f"https://127.0.0.1:{port}"
        self.context = ssl.create_default_context()
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE

    def verb(self, name: str, /, **arguments: object) -> Any:
        """A verb's answer; of one that fails, its status and error."""
        request = urllib.request.Request(
            f"{self.url}/api/v1/{name}",
            json.dumps(arguments).encode(),
            {
                "Content-Type": "application/json",
                "Authorization": f"Bearer {self.told['token']}",
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=bound(60), context=self.context) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)["error"]


@pytest.fixture(scope="module")
def page(built: BuildConfig, test_disk: Path, logs: Path) -> Iterator[Page]:
    """A host whose command line asks for the page."""
    port = free_port()
    line = f"root=LABEL=hypergen rw {FOLDERS} hypergen.web=8443,box.example.org"
    with hosts.direct(built, test_disk, logs, "web", line, forwards={port: 8443}) as host:
        yield Page(host, port)


def test_who_has_the_token_does_what_the_shell_does(page: Page) -> None:
    status = page.host.rescue.run("grep ^web /run/hypergen/host.status").strip()
    told = page.told
    assert status.startswith("web\tok\tport 8443, SHA-256 " + str(told["fingerprint"]))
    assert told["token"] not in status
    served = ssl.get_server_certificate(("127.0.0.1", page.port), timeout=bound(30))
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(served)).hexdigest()
    assert told["fingerprint"].replace(":", "").lower() == digest
    kept = "/host/var/lib/hypergen/hypergen/web"
    modes = page.host.rescue.run(f"cd {kept} && stat -c '%a %n' . key.pem token").split()
    assert modes == ["700", ".", "600", "key.pem", "600", "token"]
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{page.url}/app.js", timeout=bound(30), context=page.context)

    made = page.verb("vm_create", kernel=FILES.vmlinux, image=FILES.busybox, name="web", net="none")
    assert made["name"] == "web"
    assert [one["state"] for one in page.verb("vm_list")] == ["running"]
    assert page.verb("vm_info", vm="nope")[0] == 400
    fields = {"Authorization": f"Bearer {told['token']}"}
    url = f"wss://127.0.0.1:{page.port}/api/v1/console/web"
    with connect(url, ssl=page.context, additional_headers=fields, compression=None) as console:
        seen = b""
        while b"login:" not in seen:
            message = console.recv(timeout=bound(120))
            seen += message if isinstance(message, bytes) else b""
        console.send(b"root\r")
        while b"root@busybox" not in seen:
            message = console.recv(timeout=bound(60))
            seen += message if isinstance(message, bytes) else b""
        console.send('{"size": [101, 33]}')
        console.send(b"stty size\r")
        while b"33 101" not in seen:
            message = console.recv(timeout=bound(60))
            seen += message if isinstance(message, bytes) else b""


@pytest.mark.skipif(browser.program() is None, reason="there is no chromium")
def test_a_browser_shows_the_console(page: Page) -> None:
    tab = browser.Browser()
    try:
        tab.open(page.url + "/")
        tab.text("Token")
        tab.run("document.querySelector('input').focus()")
        tab.type(str(page.told["token"]))
        tab.key("Enter")
        tab.until("document.getElementById('rows').innerText.includes('running')")
        tab.key("c")
        screen = (
            "(document.querySelector('.xterm-rows')?.innerText ?? '').replaceAll('\\u00a0', ' ')"
        )
        tab.until(f"{screen}.includes('root@busybox')")
        tab.type("echo $((6 * 7))")
        tab.key("Enter")
        tab.until(f"{screen}.includes('\\n42')")
        assert tab.errors == []
    finally:
        tab.close()


def test_it_goes_off_and_on_with_the_same_certificate(page: Page) -> None:
    page.host.command("host_web off")
    with pytest.raises(OSError):
        urllib.request.urlopen(f"{page.url}/login", timeout=bound(10), context=page.context)
    assert [one["state"] for one in page.host.vms()] == ["running"]  # VMs do not notice
    again = page.host.command("host_web on --json")
    assert json.loads(again)["fingerprint"] == page.told["fingerprint"]
    assert json.loads(again)["token"] == page.told["token"]
    page.host.rescue.run("kill -9 $(pidof hg-tls)")

    def back() -> bool:
        try:
            return bool(page.verb("version")["linux"])
        except OSError:
            return False

    wait("hg-tls again", back, 60)
    page.host.command("vm_destroy all")
