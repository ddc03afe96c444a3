# SPDX-License-Identifier: Apache-2.0
"""Enough of GDB's remote serial protocol to read a machine's TSC at a chosen instruction.

GDB manual, appendix E. Nothing inside the machine has to help: the CPU stops at the address,
executes one RDTSC that is put there for a moment, and goes on as if nothing had happened.
"""

from __future__ import annotations

import socket
from pathlib import Path

from tests.e2e.bounds import bound

# The first registers of a `g` packet, 8 bytes each: rax, rbx, rcx, rdx, …
_RAX, _RDX = 0, 3
_RDTSC = "0f31"


class Gdb:
    """A connection to QEMU's ``-gdb unix:PATH``; the machine stands still when it is made."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(bound(120))
        self._socket.connect(str(path))
        self._stream = self._socket.makefile("rb")

    def _receive(self) -> str:
        while (byte := self._stream.read(1)) != b"$":
            if not byte:
                raise ConnectionError("the debugger's connection was closed")
        body = b""
        while (byte := self._stream.read(1)) != b"#":
            body += byte
        self._stream.read(2)  # the checksum; the socket has its own
        self._socket.sendall(b"+")
        return body.decode("latin-1")

    def _send(self, body: str) -> None:
        self._socket.sendall(f"${body}#{sum(body.encode()) % 256:02x}".encode())

    def _call(self, body: str) -> str:
        self._send(body)
        answer = self._receive()
        if answer.startswith("E"):
            raise ConnectionError(f"debugger: {body}: {answer}")
        return answer

    def run_to(self, address: int) -> None:
        """Continue until the instruction at the linear `address` is next."""
        self._call(f"Z1,{address:x},1")
        self._call("c")
        self._call(f"z1,{address:x},1")

    def read_tsc(self, address: int) -> int:
        """The time stamp counter now, with the CPU stopped at the linear `address`."""
        saved = self._call("g")
        code = self._call(f"m{address:x},2")
        self._call(f"M{address:x},2:{_RDTSC}")
        self._call("s")
        after = bytes.fromhex(self._call("g"))
        self._call(f"M{address:x},2:{code}")
        self._call(f"G{saved}")
        low, high = (
            int.from_bytes(after[8 * register : 8 * register + 4], "little")
            for register in (_RAX, _RDX)
        )
        return high << 32 | low

    def detach(self) -> None:
        """Let the machine run and hang up."""
        self._call("D")
        self._socket.close()
