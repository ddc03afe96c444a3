#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""``many_vms.py RUN COUNT``: folders and control sockets of COUNT VMs, all of one process."""

import json
import selectors
import socket
import sys
from pathlib import Path

GREETING = b'{"QMP": {"version": {"qemu": {"major": 0}}, "capabilities": []}}\r\n'
ANSWERS = {
    "query-status": {"status": "running", "running": True},
    "x-hypergen-info": {"uptime_ms": 5000},
}


def make(folder: Path, number: int) -> socket.socket:
    folder.mkdir(parents=True)
    kernel, image = ({"id": 1, "name": name, "path": f"/{name}"} for name in ("vmlinux", "a.img"))
    record = {"id": number, "name": f"vm{number}", "kernel": kernel, "image": image, "cpus": 1}
    record |= {"memory": 128 << 20, "cmdline": "", "read_only": True, "created": 1}
    (folder / "vm.json").write_text(json.dumps(record))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "control.sock"))
    listener.listen(16)
    return listener


def answer(client: socket.socket, buffer: bytearray) -> bool:
    """Serve what has come; False when the client has gone."""
    try:
        data = client.recv(65536)
        buffer += data
        *lines, rest = bytes(buffer).split(b"\n")
        buffer[:] = rest
        for request in map(json.loads, lines):
            reply = {"return": ANSWERS.get(request["execute"], {}), "id": request.get("id")}
            client.sendall(json.dumps(reply).encode() + b"\r\n")
    except OSError:
        return False
    return bool(data)


def main() -> None:
    selector = selectors.DefaultSelector()
    for number in range(1, int(sys.argv[2]) + 1):
        listener = make(Path(sys.argv[1], "vm", str(number)), number)
        selector.register(listener, selectors.EVENT_READ)
    print("ready", flush=True)
    while True:
        for key, _ in selector.select():
            one = key.fileobj
            assert isinstance(one, socket.socket)
            if key.data is None:
                client, _address = one.accept()
                client.sendall(GREETING)
                selector.register(client, selectors.EVENT_READ, bytearray())
            elif not answer(one, key.data):
                selector.unregister(one)
                one.close()


main()
