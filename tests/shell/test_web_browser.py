# SPDX-License-Identifier: Apache-2.0
"""The page in a headless Chromium: what is seen, clicked and typed."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from hypergen import config
from hypergen.image import manifest, npm

from . import browser
from .browser import Browser
from .conftest import Host
from .test_web_socket import fake_tls

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser.program() is None, reason="there is no chromium"),
]


@pytest.fixture
def web(host: Host) -> Iterator[tuple[Host, Browser, dict[str, object]]]:
    """A host with two VMs and a definition, its page switched on, and a browser."""
    cfg = config.load()
    pinned = next(
        one
        for one in manifest.load(cfg.top / "initramfs" / "manifest.toml").npm
        if one.name == "@xterm/xterm"
    )
    packed = npm.archive(cfg, pinned.name, pinned.version, pinned.sha256)
    for source, _ in pinned.files:
        place = host.base / "xterm" / source
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(npm.member(packed, source))
    host.env["HYPERGEN_XTERM"] = str(host.base / "xterm")
    fake_tls(host)
    host.add_image("shop.img")
    host.ok("vm_create 1 1 --name web")
    host.ok("vm_define shop 1 shop")
    told = json.loads(host.ok("host_web on --port 0 --address 127.0.0.1 --json"))
    tab = Browser()
    try:
        yield host, tab, told
    finally:
        tab.close()


ROW = "[...document.querySelectorAll('#rows tr')].find(e => e.innerText.includes('{}'))"
SCREEN = "(document.querySelector('.xterm-rows')?.innerText ?? '').replaceAll('\\u00a0', ' ')"


def test_someone_looks_after_vms(web: tuple[Host, Browser, dict[str, object]]) -> None:
    host, tab, told = web
    # Plain HTTP, as the stand-in has no TLS: to browsers localhost is as good.
    url = str(told["urls"][0]).replace("https://127.0.0.1", "http://localhost")  # type: ignore[index]
    tab.open(url)
    tab.text("Token")
    assert tab.run("location.pathname") == "/login"
    tab.run("document.querySelector('input').focus()")
    tab.type("wrong")
    tab.key("Enter")
    tab.text("That is not the token.")
    tab.errors.clear()  # the browser itself complains of a 401
    tab.run("document.querySelector('input').focus()")
    tab.type(str(told["token"]))
    tab.key("Enter")
    tab.until(f"{ROW.format('web')}?.innerText.includes('running')")
    tab.until(f"{ROW.format('shop')}?.innerText.includes('defined')")
    assert tab.run("document.cookie") == ""  # not for scripts

    # Live graphs are painted: some pixel of the gauge has a colour.
    tab.until(
        "(c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(x => x))"
        "(document.getElementById('host-memory-graph'))"
    )

    tab.key("c")
    tab.until(f"{SCREEN}.includes('fake login:')")
    tab.type("hello")
    tab.until(f"{SCREEN}.includes('<hello>')")
    asked = (host.run_dir / "vm/1/told").read_text().splitlines()
    size = json.loads(asked[-1])["arguments"]
    assert size["cols"] > 40 and size["rows"] > 10
    tab.key("p")  # the guest's, not the page's
    tab.until(f"{SCREEN}.includes('<p>')")
    tab.key("]", 221, 2)
    tab.until("document.activeElement.tagName === 'TR'")

    tab.key("p")
    tab.until(f"{ROW.format('web')}.innerText.includes('paused')")
    assert host.states()[1] == "paused"
    tab.key("p")
    tab.until(f"{ROW.format('web')}.innerText.includes('running')")
    tab.key("l")
    tab.until("document.querySelector('pre.log')?.innerText.includes('fake guest boots')")
    tab.key("Enter")
    tab.until("document.querySelectorAll('.graph canvas').length === 4")
    tab.text("bzImage-6.12")

    tab.click(".acts button", "Kill")
    tab.click("#ask button", "No")
    tab.until("!document.getElementById('ask').open")
    assert host.states()[1] == "running"
    tab.key("s")
    tab.until(f"{ROW.format('web')}.innerText.includes('stopped')")
    tab.click(".acts button", "Destroy")
    tab.click("#ask button", "Destroy")
    tab.until(f"!{ROW.format('web')}")
    tab.until("document.getElementById('detail').hidden")

    tab.click("#new")
    tab.until("document.querySelector('#create [name=name]')")
    tab.run("document.querySelector('#create [name=name]').value = '0bad'")
    tab.click("#create button", "Make")
    tab.until("document.querySelector('#create .said').textContent.includes('begin with')")
    tab.run("document.querySelector('#create [name=name]').value = '<b>'")
    tab.run("document.querySelector('#create [name=name]').value = 'made'")
    tab.run("document.querySelector('#create [name=image]').value = '1'")
    tab.click("#create button", "Make")
    tab.until(f"{ROW.format('made')}?.innerText.includes('running')")
    tab.click("#rows button", "Start")
    tab.until(f"{ROW.format('shop')}.innerText.includes('running')")
    assert sorted(str(vm["name"]) for vm in host.json("vm_list")) == ["made", "shop"]

    theme = "getComputedStyle(document.body).backgroundColor"
    before = tab.run(theme)
    tab.click("#theme")
    assert tab.run(theme) != before
    bad = [line for line in tab.errors if "400" not in line]  # of the name 0bad
    assert bad == []

    tab.click("nav button", "Log out")
    tab.text("Token")
    tab.open(url)
    tab.text("Token")
