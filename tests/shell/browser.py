# SPDX-License-Identifier: Apache-2.0
"""A headless Chromium, driven over the DevTools protocol (version 1.3)."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

from .conftest import scale

WAIT = 60 * scale()
NAMES = ("chromium", "chromium-browser", "google-chrome")


def program() -> str | None:
    """The browser's program; None where there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One tab. ``errors`` has what its console complained of, broken policies included."""

    _session: str | None = None

    def __init__(self, width: int = 1280, height: int = 800) -> None:
        found = program()
        assert found is not None
        self._folder = tempfile.mkdtemp(prefix="hgweb")
        flags = [
            *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--no-first-run", "--disable-extensions", "--disable-background-networking"),
            *("--disable-component-update", "--ignore-certificate-errors", "--mute-audio"),
            f"--user-data-dir={self._folder}",
            f"--window-size={width},{height}",
            "--remote-debugging-port=0",
        ]
        with (Path(self._folder) / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [found, *flags, "about:blank"], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        self._number = 0
        self.errors: list[str] = []
        self._stack = contextlib.ExitStack()
        self._socket = self._stack.enter_context(
            connect(self._address(), max_size=1 << 26, open_timeout=WAIT)
        )
        target = next(
            one for one in self.ask("Target.getTargets")["targetInfos"] if one["type"] == "page"
        )
        told = self.ask("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = told["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.ask("Emulation.setDeviceMetricsOverride", **size)

    def _address(self) -> str:
        port = Path(self._folder) / "DevToolsActivePort"
        deadline = time.monotonic() + WAIT
        while time.monotonic() < deadline:
            if port.exists() and len(lines := port.read_text().splitlines()) == 2:
                return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
            assert self._process.poll() is None, (Path(self._folder) / "log").read_text()
            time.sleep(0.05)
        raise TimeoutError("the browser does not start")

    def close(self) -> None:
        self._stack.close()
        self._process.terminate()
        self._process.wait(WAIT)
        shutil.rmtree(self._folder, ignore_errors=True)

    def ask(self, method: str, **parameters: object) -> Any:
        """A command of the protocol; its result."""
        self._number += 1
        request = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            request["sessionId"] = self._session
        self._socket.send(json.dumps(request))
        while True:
            message = json.loads(self._socket.recv(timeout=WAIT))
            if message.get("id") == self._number:
                assert "error" not in message, (method, message["error"])
                return message["result"]
            self._notice(message)

    def _notice(self, message: dict[str, Any]) -> None:
        told = message.get("params", {})
        if message.get("method") == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.errors.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")
        if message.get("method") == "Runtime.exceptionThrown":
            details = told["exceptionDetails"]
            self.errors.append(str(details.get("exception", {}).get("description", details)))

    def open(self, url: str) -> None:
        self.ask("Page.navigate", url=url)

    def run(self, script: str) -> Any:
        """The value of an expression in the page, awaited."""
        told = self.ask(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def until(self, script: str, seconds: float = WAIT) -> None:
        """Wait until an expression is true."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                value = self.run(f"!!({script})")
            except AssertionError:  # a page that is being left
                value = False
            if value:
                return
            if time.monotonic() > deadline:
                text = self.run("document.body ? document.body.innerText : ''")
                raise TimeoutError(f"{script}; the page: {text!r}; errors: {self.errors}")
            time.sleep(0.1)

    def text(self, text: str) -> None:
        """Wait until the page shows a text."""
        self.until(f"document.body && document.body.innerText.includes({json.dumps(text)})")

    def type(self, text: str) -> None:
        self.ask("Input.insertText", text=text)

    def key(self, key: str, code: int = 0, modifiers: int = 0) -> None:
        """Press and release a key: a letter, or ``Enter``, ``Escape``, ``ArrowDown``…"""
        code = code or {"Enter": 13, "Escape": 27, "ArrowDown": 40, "ArrowUp": 38}.get(key, 0)
        code = code or ord(key.upper()[0])
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 and not modifiers else "")
        told = {"key": key, "windowsVirtualKeyCode": code, "modifiers": modifiers}
        self.ask("Input.dispatchKeyEvent", type="keyDown", text=text, **told)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **told)

    def click(self, selector: str, text: str = "") -> None:
        """Click the first element of a selector that can be seen and has a text."""
        found = (
            f"[...document.querySelectorAll({json.dumps(selector)})].find("
            f"e => e.offsetParent && e.textContent.includes({json.dumps(text)}))"
        )
        self.until(f"!!{found}")
        self.run(f"{found}.click()")

    def picture(self, path: Path) -> None:
        data = self.ask("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))
