# SPDX-License-Identifier: Apache-2.0
"""Live figures: one process looks at the VMs for everybody who watches, and for nobody it ends."""

from __future__ import annotations

import asyncio
import collections
import json
import os
import sys
import time

from hypershell import figures, status
from hypershell.web import websocket
from hypershell.web.http import Gone
from hypershell.web.jobs import Job

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

EVERY = 2.0  # seconds between two looks
_REST = 9  # seconds of rest for a second of looking
_KEEP = 150  # pictures kept for who comes later: five minutes
_KEEP_BYTES = 4 << 20
_LINGER = 60.0  # seconds without anybody until the process ends
_BEHIND = 4  # pictures that a slow browser may be behind; older ones are passed over


def look() -> NoReturn:
    """Print a picture a line, for ever: the host, and all VMs as vm_list and vm_top have them.

    A VM that hangs delays the next picture by a second at most; its row says so.
    """
    cpus, watch = figures.HostCpu(), figures.Watch()
    pause = EVERY / 4  # rates need two looks: the second is soon
    while True:
        began = time.process_time()
        sys.stdout.write(json.dumps(_picture(cpus, watch), separators=(",", ":")) + "\n")
        sys.stdout.flush()
        # With hundreds of VMs a look costs: at most a tenth of a CPU is spent on it.
        time.sleep(max(pause, _REST * (time.process_time() - began)))
        pause = EVERY


def _picture(cpus: figures.HostCpu, watch: figures.Watch) -> dict[str, object]:
    total, available = status.memory()
    rates = [one for one in watch.look() if os.path.isdir(one.new.vm.folder)]
    rates.sort(key=lambda one: one.new.vm.id)
    return {
        "time": round(time.time(), 3),
        "cpu_percent": [round(part, 1) for name, part in cpus.busy() if name != "cpu"],
        "memory_total": total,
        "memory_available": available,
        "problems": [
            {"topic": topic, "state": state, "message": message}
            for topic, state, message in status.topics()
            if state in ("failed", "waiting")
        ],
        "vms": [one.new.vm.record() | one.record() for one in rates],
    }


class Live:
    """The pictures, and who gets them."""

    def __init__(self) -> None:
        self._watchers: set[asyncio.Queue[str]] = set()
        self._past: collections.deque[str] = collections.deque(maxlen=_KEEP)
        self._task: asyncio.Task[None] | None = None

    async def serve(self, socket: websocket.Socket) -> None:
        """Send what is past, then what comes, until the peer is gone. Raises Gone."""
        queue: asyncio.Queue[str] = asyncio.Queue(_BEHIND)
        if self._task is None or self._task.done():
            self._past.clear()
            self._task = asyncio.create_task(self._run())
        past = list(self._past)
        self._watchers.add(queue)
        try:
            await socket.send("[" + ",".join(past) + "]")
            while True:
                await socket.send(await queue.get())
        finally:
            self._watchers.discard(queue)

    async def _run(self) -> None:
        job = Job(look)
        try:
            buffer, alone = b"", 0.0
            while alone < _LINGER / EVERY and (data := await job.read()):
                buffer += data
                *lines, buffer = buffer.split(b"\n")
                for line in lines:
                    self._tell(line.decode())
                    alone = 0 if self._watchers else alone + 1
        finally:
            await job.close()

    def _tell(self, picture: str) -> None:
        self._past.append(picture)
        while sum(map(len, self._past)) > _KEEP_BYTES:
            self._past.popleft()
        for queue in self._watchers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(picture)

    async def close(self) -> None:
        """End the process."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


async def until_gone(socket: websocket.Socket) -> None:
    """Take what the browser sends, which is nothing that matters. Raises Gone."""
    while True:
        await socket.receive()


__all__ = ["Gone", "Live", "until_gone"]
