#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A stand-in for hg-vmm: its command line, files, locks, QMP and console, and no VM at all.

The guest is an echo: what is typed comes back between ``<`` and ``>``, control bytes in hex. Words
typed to it steer it: ``poweroff``, ``panic``, ``crash``, ``flood``, ``mess`` (upsets the terminal).
FAKE_FAIL=CODE:TEXT makes the start fail; FAKE_HANG=1 makes the control socket mute;
FAKE_STUBBORN=1 ignores quit; FAKE_SLOW=SECONDS delays the start.
"""

import argparse
import contextlib
import fcntl
import json
import os
import selectors
import signal
import socket
import struct
import sys
import time
from pathlib import Path


def fail(code: int, text: str) -> None:
    sys.stderr.write(f"hg-vmm: {text}\n")
    sys.exit(code)


def lock_image(path: str, read_only: bool) -> int:
    fd = os.open(path, os.O_RDONLY if read_only else os.O_RDWR)
    kind = fcntl.F_RDLCK if read_only else fcntl.F_WRLCK
    try:
        # F_OFD_SETLK, struct flock of x86-64
        fcntl.fcntl(fd, 37, struct.pack("hhqqi4x", kind, os.SEEK_SET, 0, 0, 0))
    except OSError:
        fail(2, f"{path}: in use by another VM (locked)")
    return fd


class Machine:
    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.status = "running"
        self.started = time.monotonic()
        self.backlog = b"fake guest boots\r\n" + args.cmdline.encode() + b"\r\nfake login: "
        self.line = b""
        self.selector = selectors.DefaultSelector()
        self.consoles: list[socket.socket] = []
        self.controls: list[socket.socket] = []
        self.control = self.listen("control.sock", self.accept_control)
        self.console = self.listen("console.sock", self.accept_console)
        self.log = os.open(f"{args.run_dir}/console.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(self.log, self.backlog)

    def listen(self, name: str, handler: object) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(f"{self.args.run_dir}/{name}")
        listener.listen(16)
        self.selector.register(listener, selectors.EVENT_READ, handler)
        return listener

    def accept_control(self) -> None:
        client, _ = self.control.accept()
        self.controls.append(client)
        if os.environ.get("FAKE_HANG"):
            return
        with contextlib.suppress(OSError):  # gone again: a look whether somebody listens
            client.sendall(b'{"QMP": {"version": {"qemu": {"major": 0}}, "capabilities": []}}\r\n')
        buffer = bytearray()
        self.selector.register(
            client, selectors.EVENT_READ, lambda: self.control_data(client, buffer)
        )

    def control_data(self, client: socket.socket, buffer: bytearray) -> None:
        with contextlib.suppress(OSError):
            data = client.recv(65536)
            if data:
                buffer += data
                *lines, rest = bytes(buffer).split(b"\n")
                buffer[:] = rest
                for line in lines:
                    self.execute(client, json.loads(line))
                return
        self.selector.unregister(client)
        self.controls.remove(client)
        client.close()

    def execute(self, client: socket.socket, request: dict[str, object]) -> None:
        command = request["execute"]
        result: object = {}
        if command == "query-status":
            result = {"status": self.status, "running": self.status == "running"}
        elif command == "x-hypergen-info":
            result = {"uptime_ms": int((time.monotonic() - self.started) * 1000)}
        elif command == "x-hypergen-stats":
            counts = {"kicks": 1, "interrupts": 2, "requests": 3, "read-bytes": 0, "errors": 0}
            disk = {"index": 1, "type": "blk", "written-bytes": 4096, **counts}
            result = {"exits": {"io": 12, "mmio": 34}, "devices": [disk], "resets": 0}
        elif command == "query-blockstats":
            result = [{"device": "disk0", "stats": {"rd_bytes": 512, "wr_bytes": 0}}]
        elif command == "stop":
            self.status = "paused"
        elif command == "cont":
            self.status = "running"
        reply = {"return": result, "id": request.get("id")}
        client.sendall(json.dumps(reply).encode() + b"\r\n")
        if command == "quit" and not os.environ.get("FAKE_STUBBORN"):
            self.end("quit")

    def accept_console(self) -> None:
        client, _ = self.console.accept()
        self.consoles.append(client)
        with contextlib.suppress(OSError):
            client.sendall(self.backlog[-65536:])
        self.selector.register(client, selectors.EVENT_READ, lambda: self.console_data(client))

    def console_data(self, client: socket.socket) -> None:
        try:
            data = client.recv(65536)
        except OSError:
            data = b""
        if not data:
            self.selector.unregister(client)
            self.consoles.remove(client)
            client.close()
            return
        if client is self.consoles[0]:
            self.write(b"<" + b"".join(self.shown(b) for b in data) + b">")
            for byte in data:
                self.line = b"" if byte == 13 else self.line + bytes([byte])
                self.steer()

    @staticmethod
    def shown(byte: int) -> bytes:
        return bytes([byte]) if 32 <= byte < 127 else b"%02x" % byte

    def steer(self) -> None:
        word = self.line.decode("latin-1")
        if word == "poweroff":
            self.write(b"\r\nguest: powering off\r\n")
            self.end("guest-shutdown")
        elif word == "panic":
            self.write(b"\r\nKernel panic - not syncing: asked to\r\n")
            self.status = "guest-panicked"
            for client in self.controls:
                client.sendall(b'{"event": "GUEST_PANICKED", "data": {"action": "pause"}}\r\n')
        elif word == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        elif word == "flood":
            self.write(b"0123456789abcdef" * 4096 + b"END-OF-FLOOD")
        elif word == "mess":
            self.write(b"\x1b[?25l\x1b[7m\x1b[5;10r\x1b[?1h\x1b[?2004h messy ")

    def write(self, data: bytes) -> None:
        self.backlog = (self.backlog + data)[-65536:]
        os.write(self.log, data)
        for client in self.consoles:
            with contextlib.suppress(OSError):
                client.sendall(data)

    def end(self, reason: str) -> None:
        Path(self.args.run_dir, "exit.json").write_text(json.dumps({"reason": reason}))
        os._exit(0)

    def run(self) -> None:
        while True:
            for key, _ in self.selector.select():
                key.data()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    for name in ("--kernel", "--initrd", "--cmdline", "--cpus", "--memory", "--run-dir", "--name"):
        parser.add_argument(name, default="")
    parser.add_argument("--disk", action="append", default=[])
    parser.add_argument("--net", action="append", default=[])
    parser.add_argument("--daemonize", action="store_true")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    Path(args.run_dir, "argv").write_text(json.dumps(sys.argv))
    time.sleep(float(os.environ.get("FAKE_SLOW", "0")))
    if failure := os.environ.get("FAKE_FAIL"):
        code, text = failure.split(":", 1)
        fail(int(code), text)
    head = Path(args.kernel).read_bytes()[:4]
    if head == b"BAD!":
        fail(2, f"{args.kernel}: not a kernel (neither ELF nor bzImage)")
    path = args.disk[0].replace(",,", "\0")
    read_only = path.endswith(",readonly")
    held = lock_image(path.removesuffix(",readonly").replace("\0", ","), read_only)
    machine = Machine(args)
    ready_read, ready_write = os.pipe()
    if os.fork():
        os.close(ready_write)
        sys.exit(0 if os.read(ready_read, 1) else 1)
    os.setsid()
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.write(ready_write, b"x")
    os.set_inheritable(held, False)
    machine.run()


main()
