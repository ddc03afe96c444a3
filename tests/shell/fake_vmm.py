#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: PTH102, PTH103, PTH106, PTH108, PTH110, PTH112, PTH123, PTH208, PTH211, SIM105
"""A stand-in for hg-vmm: its command line, files, locks, QMP and console, and no VM at all.

The guest is an echo: what is typed comes back between ``<`` and ``>``, control bytes in hex. Words
typed to it steer it: ``poweroff``, ``panic``, ``crash``, ``flood``, ``mess`` (upsets the terminal).
FAKE_FAIL=CODE:TEXT makes the start fail; FAKE_HANG=1 makes the control socket mute;
FAKE_STUBBORN=1 ignores quit, FAKE_DEAF=1 the power button; FAKE_SLOW=SECONDS delays the start.
Without --run-dir it is a unikernel on its terminal: tells its arguments, copies its input and ends
with FAKE_EXIT (7).

It is started hundreds of times: what takes long to import (argparse, socket with enum, pathlib,
contextlib) is done without.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import struct
import sys
import time
from _socket import AF_UNIX
from _socket import socket as Socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

RECORDED = ("balloon", "block_resize", "block_set_io_throttle", "x-hypergen-console-size")


def fail(code: int, text: str) -> None:
    sys.stderr.write(f"hg-vmm: {text}\n")
    sys.exit(code)


def read(path: str) -> str:
    with open(path) as file:
        return file.read()


def write(path: str, text: str, mode: str = "w") -> None:
    with open(path, mode) as file:
        file.write(text)


def send(client: Socket, data: bytes) -> None:
    """To a client that may be gone."""
    try:
        client.sendall(data)
    except OSError:
        pass


def remove_folder(folder: str) -> None:
    for name in os.listdir(folder):
        os.unlink(f"{folder}/{name}")
    os.rmdir(folder)


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
    def __init__(self, args: Arguments) -> None:
        self.args = args
        self.status = "running"
        self.started = time.monotonic()
        self.backlog = b"fake guest boots\r\n" + args.cmdline.encode() + b"\r\nfake login: "
        self.line = b""
        self.poll = select.poll()
        self.handlers: dict[int, Callable[[], None]] = {}
        self.consoles: list[Socket] = []
        self.viewers: list[Socket] = []
        self.controls: list[Socket] = []
        self.control = self.listen("control.sock", self.accept_control)
        self.console = self.listen("console.sock", self.accept_console)
        self.log = os.open(f"{args.run_dir}/console.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(self.log, self.backlog)

    def watch(self, one: Socket, handler: Callable[[], None]) -> None:
        self.handlers[one.fileno()] = handler
        self.poll.register(one.fileno(), select.POLLIN)

    def hang_up(self, client: Socket) -> None:
        self.poll.unregister(client.fileno())
        del self.handlers[client.fileno()]
        client.close()

    def listen(self, name: str, handler: Callable[[], None]) -> Socket:
        listener = Socket(AF_UNIX)
        listener.bind(f"{self.args.run_dir}/{name}")
        listener.listen(16)
        self.watch(listener, handler)
        return listener

    def accept_control(self) -> None:
        client = accept(self.control)
        self.controls.append(client)
        if os.environ.get("FAKE_HANG"):
            return
        greeting = b'{"QMP": {"version": {"qemu": {"major": 0}}, "capabilities": []}}\r\n'
        send(client, greeting)  # it may be gone again: a look whether somebody listens
        buffer = bytearray()
        self.watch(client, lambda: self.control_data(client, buffer))

    def control_data(self, client: Socket, buffer: bytearray) -> None:
        try:
            data = client.recv(65536)
            if data:
                buffer += data
                *lines, rest = bytes(buffer).split(b"\n")
                buffer[:] = rest
                for line in lines:
                    self.execute(client, json.loads(line))
                return
        except OSError:
            pass
        self.controls.remove(client)
        self.hang_up(client)

    def execute(self, client: Socket, request: dict[str, object]) -> None:
        command = request["execute"]
        result: object = {}
        if command == "query-status":
            result = {"status": self.status, "running": self.status == "running"}
        elif command == "x-hypergen-info":
            uptime = int((time.monotonic() - self.started) * 1000)
            result = {"uptime_ms": uptime, "pid": os.getpid()}
        elif command == "x-hypergen-stats":
            counts = {"kicks": 1, "interrupts": 2, "requests": 3, "read-bytes": 0, "errors": 0}
            disk = {"index": 1, "type": "blk", "written-bytes": 4096, **counts}
            result = {"exits": {"io": 12, "mmio": 34}, "devices": [disk], "resets": 0}
        elif command == "query-blockstats":
            result = [{"device": "disk0", "stats": {"rd_bytes": 512, "wr_bytes": 0}}]
        elif command == "x-hypergen-console-steal":
            self.consoles.insert(0, self.consoles.pop())
        elif command == "x-hypergen-console-view":
            self.viewers.append(self.consoles[-1])
        elif command == "query-cpus-fast":
            result = [{"cpu-index": 0, "thread-id": os.getpid()}]
        elif command == "stop":
            self.status = "paused"
            self.event("STOP")
        elif command == "cont":
            self.status = "running"
            self.event("RESUME")
        elif command in RECORDED:
            write(f"{self.args.run_dir}/told", json.dumps(request) + "\n", "a")
        reply = {"return": result, "id": request.get("id")}
        client.sendall(json.dumps(reply).encode() + b"\r\n")
        if command == "quit" and not os.environ.get("FAKE_STUBBORN"):
            self.end("quit")
        if command == "system_powerdown" and not os.environ.get("FAKE_DEAF"):
            self.event("POWERDOWN")
            self.end("guest-shutdown")

    def event(self, name: str) -> None:
        message = {"event": name, "data": {}, "timestamp": {"seconds": int(time.time())}}
        for client in self.controls:
            send(client, json.dumps(message).encode() + b"\r\n")

    def accept_console(self) -> None:
        client = accept(self.console)
        self.consoles.append(client)
        send(client, self.backlog[-65536:])
        self.watch(client, lambda: self.console_data(client))

    def console_data(self, client: Socket) -> None:
        try:
            data = client.recv(65536)
        except OSError:
            data = b""
        if not data:
            self.consoles.remove(client)
            self.hang_up(client)
            return
        if client is next((one for one in self.consoles if one not in self.viewers), None):
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
            os.kill(os.getpid(), 9)
        elif word == "flood":
            self.write(b"0123456789abcdef" * 4096 + b"END-OF-FLOOD")
        elif word == "mess":
            self.write(b"\x1b[?25l\x1b[7m\x1b[5;10r\x1b[?1h\x1b[?2004h messy ")

    def write(self, data: bytes) -> None:
        self.backlog = (self.backlog + data)[-65536:]
        os.write(self.log, data)
        for client in self.consoles:
            send(client, data)

    def end(self, reason: str) -> None:
        write(f"{self.args.run_dir}/exit.json", json.dumps({"reason": reason}))
        if self.args.isle_lock >= 0:
            remove_folder(f"{ISLES}/{self.args.isle.partition(',')[0]}")
        os._exit(0)

    def run(self) -> None:
        while True:
            for fd, _ in self.poll.poll():
                self.handlers[fd]()


def accept(listener: Socket) -> Socket:
    fd, _ = listener._accept()  # type: ignore[attr-defined]
    return Socket(fileno=fd)


class Arguments:
    """The command line: options with a value and flags, then a unikernel and its arguments."""

    flags = ("daemonize", "version", "balloon", "sweep_isles")
    lists = ("disk", "net", "share")

    def __init__(self, words: list[str]) -> None:
        self.kernel = self.initrd = self.cmdline = self.cpus = self.memory = self.run_dir = ""
        self.name = self.save = self.restore = self.isle = self.cpu_affinity = ""
        self.disk: list[str] = []
        self.net: list[str] = []
        self.share: list[str] = []
        self.daemonize = self.version = self.balloon = self.sweep_isles = False
        self.isle_lock = -1
        words = list(words)
        while words and words[0].startswith("--"):
            option, equals, value = words.pop(0)[2:].partition("=")
            name = option.replace("-", "_")
            if not hasattr(self, name):
                fail(2, f"unknown option --{option}")
            if name in self.flags:
                setattr(self, name, True)
                continue
            if not equals:
                value = words.pop(0)
            old = getattr(self, name)
            setattr(self, name, [*old, value] if name in self.lists else value)
        self.words = words


ISLES = os.environ.get("HYPERGEN_RUN", "") + "/isle"


def lock_isle(folder: str) -> int:
    """The lock on an isle's CPUs, or -1 where its VM lives."""
    fd = os.open(f"{folder}/cpus", os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return -1
    return fd


def sweep() -> None:
    for name in os.listdir(ISLES) if os.path.isdir(ISLES) else []:
        if name.isdigit() and (fd := lock_isle(f"{ISLES}/{name}")) >= 0:
            os.close(fd)
            remove_folder(f"{ISLES}/{name}")


def take_isle(args: Arguments) -> int:
    sweep()
    number = args.isle.partition(",")[0]
    folder = f"{ISLES}/{number}"
    if os.path.exists(folder):
        path = read(f"{folder}/path").strip()
        fail(2, f"isle {number} is there already: {path}; choose another number")
    os.makedirs(folder)
    write(f"{folder}/cpus", args.cpu_affinity + "\n")
    write(f"{folder}/path", (args.kernel or args.words[0]) + "\n")
    os.symlink(f"{args.run_dir}/console.log", f"{folder}/log")
    return lock_isle(folder)


def be_a_program(args: Arguments) -> None:
    print("arguments:", *args.words[1:], args.cpus, args.memory, flush=True)
    sys.stdout.write(sys.stdin.read())
    sys.stdout.flush()
    sys.exit(int(os.environ.get("FAKE_EXIT", "7")))


def main() -> None:
    args = Arguments(sys.argv[1:])
    if args.version:
        print("hg-vmm 9.9")
        sys.exit(0)
    if args.save:
        os.mkdir(args.save)
        write(f"{args.save}/state", read(f"{args.run_dir}/argv"))
        sys.exit(0)
    if args.sweep_isles:
        sweep()
        sys.exit(0)
    if not args.run_dir:
        be_a_program(args)
    write(f"{args.run_dir}/argv", json.dumps(sys.argv))
    time.sleep(float(os.environ.get("FAKE_SLOW", "0")))
    if failure := os.environ.get("FAKE_FAIL"):
        code, text = failure.split(":", 1)
        fail(int(code), text)
    args.isle_lock = take_isle(args) if args.isle else -1
    with open(args.kernel or args.words[0], "rb") as kernel:
        head = kernel.read(4)
    if head == b"BAD!":
        fail(2, f"{args.kernel}: not a kernel (neither ELF nor bzImage)")
    if args.disk:
        path, *keys = args.disk[0].replace(",,", "\0").split(",")
        overlay = next((key[8:] for key in keys if key.startswith("overlay=")), "")
        if overlay:
            write(overlay, "", "a")
        lock_image(path.replace("\0", ","), "readonly" in keys or bool(overlay))
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
    machine.run()


if __name__ == "__main__":
    main()
