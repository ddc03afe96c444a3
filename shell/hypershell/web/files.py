# SPDX-License-Identifier: Apache-2.0
"""The page's own files, held in memory, and the headers that bind a browser to them."""

from __future__ import annotations

import hashlib
import os

from hypershell.web.auth import new_token
from hypershell.web.http import Request, Response

_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_XTERM = {"xterm.mjs": "lib/xterm.mjs", "xterm.css": "css/xterm.css"}
_LIMIT = 2 << 20  # bytes of a file

# No Strict-Transport-Security: with it a browser would not let anybody past a certificate that no
# authority has signed, and ours is one of these.
FIELDS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; "
    "img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def policy(nonce: str) -> str:
    """Content-Security-Policy: nothing but what comes from here.

    The nonce is for the style elements that the login page has and that xterm.js makes.
    """
    return _POLICY.format(nonce=nonce)


class Files:
    """Name → bytes of what is served. xterm.js lies beside the rest, or where HYPERGEN_XTERM says.

    That is the folder of the npm package @xterm/xterm; without it the page has no consoles.
    """

    def __init__(self) -> None:
        self._files: dict[str, bytes] = {}
        own = os.path.join(os.path.dirname(os.path.abspath(__file__)), "static")
        for name in sorted(os.listdir(own)):
            if os.path.splitext(name)[1] in _KINDS:
                self._take(name, os.path.join(own, name))
        if folder := os.environ.get("HYPERGEN_XTERM"):
            for name, place in _XTERM.items():
                self._take(name, os.path.join(folder, place))

    def _take(self, name: str, path: str) -> None:
        try:
            with open(path, "rb") as file:
                self._files[name] = file.read(_LIMIT)
        except OSError:
            pass

    def page(self, name: str, status: int = 200, **words: str) -> Response:
        """An HTML page with ``@WORD@`` replaced; ``words`` are ours, and not escaped."""
        nonce = new_token()
        text = self._files[name].decode("utf-8").replace("@NONCE@", nonce)
        for word, value in words.items():
            text = text.replace(f"@{word.upper()}@", value)
        fields = {"Content-Security-Policy": policy(nonce)}
        return Response(status, text.encode("utf-8"), _KINDS[".html"], fields)

    def get(self, request: Request) -> Response | None:
        """The file that the request's path names; None when there is none."""
        name = request.path.removeprefix("/")
        if name == "":
            return self.page("index.html")
        data = self._files.get(name)
        if data is None or name.endswith(".html"):
            return None
        tag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
        fields = {"ETag": tag, "Cache-Control": "private, no-cache"}
        if tag in request.fields.get("if-none-match", ""):
            return Response(304, fields=fields)
        kind = _KINDS[os.path.splitext(name)[1]]
        return Response(200, data, kind, fields | {"Content-Security-Policy": policy("")})
