# SPDX-License-Identifier: Apache-2.0
"""Who may come in: the token, sessions of browsers, and the checks of Host and Origin.

The token has 256 bits, so guessing needs no brake. It is kept on the host's root beside the
certificate's key, readable by root alone, so that a bookmark and a password store go on working
after a reboot; ``host_web on --new-token`` makes another one. A browser gets a session in its
place, which ends with the server, by logout or after half a day without use.
"""

from __future__ import annotations

import hmac
import os
import time

from hypershell.web.http import HttpError, Request

COOKIE = "__Host-hypergen"  # RFC 6265bis §4.1.3.2: Secure, this host only, for every path
_SESSIONS = 64
_SESSION_IDLE = 12 * 3600.0  # seconds


def new_token() -> str:
    """256 random bits, in hexadecimal."""
    return os.urandom(32).hex()


def same(one: str, other: str) -> bool:
    """Compare without telling by the time how much is right."""
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))


class Gate:
    """Decides who is let in. ``names`` are the host's names in lower case, without port."""

    def __init__(self, token: str, names: frozenset[str]) -> None:
        self._token, self._names = token, names
        self._sessions: dict[str, float] = {}  # id → last use, the oldest first

    def check_host(self, request: Request) -> None:
        """Against DNS rebinding: only this host's names and plain addresses. Raises HttpError."""
        told = request.fields.get("host", "")
        name = _without_port(told)
        if name not in self._names and not _is_address(name):
            why = f"this host is not called {name or 'nothing'}; host_web on --name adds a name"
            raise HttpError(421, why)

    def login(self, token: str) -> str:
        """A session for who knows the token; empty for others."""
        if not same(token.strip(), self._token):
            return ""
        while len(self._sessions) >= _SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        session = new_token()
        self._sessions[session] = time.monotonic()
        return session

    def logout(self, request: Request) -> None:
        """End the request's session."""
        self._sessions.pop(request.cookie(COOKIE), None)

    def admit(self, request: Request) -> bool:
        """Does the request bear the token, or a session and come from our own page?

        Raises HttpError for a session's request that another site has sent.
        """
        kind, _, told = request.fields.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return same(told.strip(), self._token)
        session = request.cookie(COOKIE)
        used = self._sessions.pop(session, None) if session else None
        if used is None or time.monotonic() - used > _SESSION_IDLE:
            return False
        self._sessions[session] = time.monotonic()
        check_origin(request)
        return True


def check_origin(request: Request) -> None:
    """Against CSRF, beside SameSite: what changes something comes from our page. Raises HttpError.

    Browsers send Origin with every POST and WebSocket (Fetch §3.2), so one without is none of
    theirs, and has no business with a session.
    """
    if request.method in ("GET", "HEAD") and "upgrade" not in request.fields:
        return
    scheme, _, place = request.fields.get("origin", "").partition("://")
    if scheme not in ("https", "http") or place != request.fields.get("host"):
        raise HttpError(403, "this comes from another site's page")


def _without_port(host: str) -> str:
    """The name or ``[v6]`` before a port, in lower case; empty when it is neither."""
    name, bracket, port = host.lower().rpartition("]")
    if bracket:
        name += "]"
    else:
        name, colon, port = port.partition(":")
        port = colon + port
    if port and not (port[0] == ":" and port[1:].isdigit()):
        return ""
    return name.removesuffix(".")


def _is_address(name: str) -> bool:
    """Is it an IP address? Nobody's DNS can make one lead elsewhere."""
    import socket

    try:
        if name.startswith("["):
            socket.inet_pton(socket.AF_INET6, name[1:-1])
        else:
            socket.inet_pton(socket.AF_INET, name)
    except (OSError, ValueError):
        return False
    return True
