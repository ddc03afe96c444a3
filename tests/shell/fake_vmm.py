#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A stand-in for hg-vmm: its command line, files, locks, QMP and console, and no VM at all.

The guest is an echo: what is typed comes back between ``<`` and ``>``, control bytes in hex. Words
typed to it steer it: ``poweroff``, ``panic``, ``crash``, ``flood``, ``mess`` (upsets the terminal).
FAKE_FAIL=CODE:TEXT makes the start fail; FAKE_HANG=1 makes the control socket mute;
FAKE_STUBBORN=1 ignores quit, FAKE_DEAF=1 the power button; FAKE_SLOW=SECONDS delays the start.
Without --run-dir it is a
unikernel on its terminal: tells its arguments, copies its input and ends with FAKE_EXIT (7).
"""

import argparse
import contextlib
import fcntl
import json
import os
import selectors
import shutil
import signal
import socket
import struct
import sys
import time
from pathlib import Path

RECORDED = ("balloon", "block_resize", "block_set_io_throttle", "x-hypergen-console-size")


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
        self.viewers: list[socket.socket] = []
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
            with Path(self.args.run_dir, "told").open("a") as told:
                told.write(json.dumps(request) + "\n")
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
            with contextlib.suppress(OSError):
                client.sendall(json.dumps(message).encode() + b"\r\n")

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
        if self.args.isle_lock >= 0:
            shutil.rmtree(ISLES / self.args.isle.partition(",")[0])
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
    parser.add_argument("--share", action="append", default=[])
    parser.add_argument("--daemonize", action="store_true")
    parser.add_argument("--version", action="store_true")
    parser.add_argument("--balloon", action="store_true")
    parser.add_argument("--save", default="")
    parser.add_argument("--restore", default="")
    parser.add_argument("--isle", default="")
    parser.add_argument("--cpu-affinity", default="")
    parser.add_argument("--sweep-isles", action="store_true")
    parser.add_argument("words", nargs=argparse.REMAINDER)
    return parser.parse_args()


ISLES = Path(os.environ.get("HYPERGEN_RUN", "")) / "isle"


def lock_isle(folder: Path) -> int:
    """The lock on an isle's CPUs, or -1 where its VM lives."""
    fd = os.open(folder / "cpus", os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return -1
    return fd


def sweep() -> None:
    for folder in ISLES.glob("[0-9]*"):
        if (fd := lock_isle(folder)) >= 0:
            os.close(fd)
            shutil.rmtree(folder)


def take_isle(args: argparse.Namespace) -> int:
    sweep()
    folder = ISLES / args.isle.partition(",")[0]
    if folder.exists():
        path = (folder / "path").read_text().strip()
        fail(2, f"isle {folder.name} is there already: {path}; choose another number")
    folder.mkdir(parents=True)
    (folder / "cpus").write_text(args.cpu_affinity + "\n")
    (folder / "path").write_text((args.kernel or args.words[0]) + "\n")
    (folder / "log").symlink_to(f"{args.run_dir}/console.log")
    return lock_isle(folder)


def be_a_program(args: argparse.Namespace) -> None:
    print("arguments:", *args.words[1:], args.cpus, args.memory, flush=True)
    sys.stdout.write(sys.stdin.read())
    sys.stdout.flush()
    sys.exit(int(os.environ.get("FAKE_EXIT", "7")))


def main() -> None:
    args = arguments()
    if args.version:
        print("hg-vmm 9.9")
        sys.exit(0)
    if args.save:
        Path(args.save).mkdir()
        Path(args.save, "state").write_text(Path(args.run_dir, "argv").read_text())
        sys.exit(0)
    if args.sweep_isles:
        sweep()
        sys.exit(0)
    if not args.run_dir:
        be_a_program(args)
    Path(args.run_dir, "argv").write_text(json.dumps(sys.argv))
    time.sleep(float(os.environ.get("FAKE_SLOW", "0")))
    if failure := os.environ.get("FAKE_FAIL"):
        code, text = failure.split(":", 1)
        fail(int(code), text)
    args.isle_lock = take_isle(args) if args.isle else -1
    head = Path(args.kernel or args.words[0]).read_bytes()[:4]
    if head == b"BAD!":
        fail(2, f"{args.kernel}: not a kernel (neither ELF nor bzImage)")
    if args.disk:
        path, *keys = args.disk[0].replace(",,", "\0").split(",")
        overlay = next((key[8:] for key in keys if key.startswith("overlay=")), "")
        if overlay:
            Path(overlay).touch()
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


main()
