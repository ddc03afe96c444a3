# SPDX-License-Identifier: Apache-2.0
"""host_web."""

from __future__ import annotations

from hypershell.errors import ShellError, UsageError
from hypershell.spec import JSON, Arg, Context, Spec
from hypershell.table import dump, pairs, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace

PORT = "8443"


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise UsageError(f"--port {text}: type a number, 1 to 65535, or 0 for any that is free")
    return int(text)


def _names(text: str | None) -> list[str]:
    """Names by which browsers may call this host."""
    names = [name for name in (text or "").lower().split(",") if name]
    for name in names:
        labels = name.split(".")
        if len(name) > 64 or not all(part.replace("-", "a").isalnum() for part in labels):
            raise UsageError(f"--name {name}: type a host's name, for example box.example.org")
    return names


def _address(text: str | None) -> str:
    """An address of this host; empty for all of them."""
    import socket

    if not text:
        return ""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, text)
            return text
        except OSError:
            continue
    raise UsageError(f"--address {text}: type an IP address of this host")


def _record() -> dict[str, object]:
    from hypershell.web import keeper

    told = keeper.state()
    port = told.get("port")
    names, address = told.get("names"), str(told.get("address") or "")
    hosts = [address] if address else [*keeper.host_addresses(), "127.0.0.1"]
    hosts += [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    urls = [f"https://{f'[{one}]' if ':' in one else one}:{port}/" for one in hosts]
    return {
        "state": "on" if told else "off",
        "urls": urls if isinstance(port, int) else [],
        "token": keeper.token() if told else None,
        "fingerprint": told.get("fingerprint"),
        "socket": keeper.socket_path() if told else None,
    }


def _show(record: dict[str, object]) -> None:
    if record["state"] == "off":
        say("The page is off; host_web on serves it.")
        return
    urls = record["urls"]
    rows = [("page", str(url)) for url in urls] if isinstance(urls, list) else []
    rows = rows or [("page", f"no TLS here; a proxy's business, on {record['socket']}")]
    rows.append(("token", str(record["token"])))
    if record["fingerprint"]:
        rows.append(("SHA-256", str(record["fingerprint"])))
    say(
        pairs(
            [
                (name if i == 0 or name != "page" else "", text)
                for i, (name, text) in enumerate(rows)
            ]
        )
    )


def _run(args: Namespace, _: Context) -> int:
    from hypershell.web import keeper

    what = args.what or "status"
    if what == "on":
        port = -1 if args.socket_only else _port(args.port)
        options = keeper.Options(_address(args.address), port, _names(args.name), args.new_token)
        if keeper.is_on():
            raise ShellError("it is on already; host_web shows how, host_web off ends it")
        keeper.switch_on(options)
    elif what == "off" and not keeper.switch_off() and not args.json:
        say("The page is off already.")
        return 0
    record = _record()
    if args.json:
        dump(record)
    elif what == "off":
        say("The page is off.")
    else:
        _show(record)
    return 0


SPECS = {
    "host_web": Spec(
        _run,
        [
            Arg(
                "what",
                "on, off or status (default: status)",
                many="?",
                values=("on", "off", "status"),
                only=True,
            ),
            Arg("--port", "TCP port; 0 is any that is free", metavar="N", default=PORT),
            Arg("--address", "listen on this address only (default: on all)"),
            Arg("--name", "more names of this host, with commas between them", metavar="NAMES"),
            Arg("--new-token", "make another token; the one before opens nothing more", flag=True),
            Arg("--socket-only", "no TLS: for a proxy of your own, on the Unix socket", flag=True),
            JSON,
        ],
        """A page for browsers: the VMs with live graphs, their consoles, and buttons for most of
what the shell does; and the same verbs as an HTTP API. Off until it is switched on. It is served
by TLS alone, with a certificate made at the first start: compare its SHA-256 fingerprint with what
the browser shows. Who has the token may do on this host whatever this shell may; nobody else gets
anything. The token stays the same until --new-token.""",
        [
            ("host_web on", "and open what it shows in a browser"),
            ("host_web on --port 443 --name box.example.org", "by a name of its own"),
            ("host_web", "address, token and fingerprint"),
            ("host_web off", "hangs up on everybody"),
        ],
    )
}
