# SPDX-License-Identifier: Apache-2.0
"""Work in processes of its own: a verb a process, forked from the server, which has all loaded.

A verb may wait (for a guest's shutdown, for a VMM that hangs) and nothing else waits with it; it
may fail in any way and takes nothing along; who hangs up ends it as CTRL+c does in the shell.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import traceback
from io import FileIO, TextIOWrapper

from hypershell import paths
from hypershell.errors import ShellError
from hypershell.web.http import HttpError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

OUTPUT_LIMIT = 8 << 20  # bytes that a job may print
ERROR_LIMIT = 8192
INTERNAL = 70  # sysexits.h: EX_SOFTWARE
_END_TIMEOUT = 5.0  # seconds from SIGINT to SIGKILL


class Result:
    """What a job left: ``status`` as of ``hypershell -c``, or INTERNAL, or minus a signal."""

    def __init__(self, status: int, output: bytes, errors: bytes) -> None:
        self.status = status
        self.output = output.decode("utf-8", "replace")
        self.errors = "; ".join(errors.decode("utf-8", "replace").split("\n")).strip("; ")


class Job:
    """A running job: its output as it comes, then its end. ``close`` is due in any case."""

    def __init__(self, work: Callable[[], int]) -> None:
        out_read, out_write = os.pipe2(os.O_CLOEXEC)
        err_read, err_write = os.pipe2(os.O_CLOEXEC)
        self.pid = os.fork()
        if self.pid == 0:
            _child(work, out_write, err_write)
        os.close(out_write)
        os.close(err_write)
        self.status: int | None = None
        self.errors = b""
        self._process = os.pidfd_open(self.pid)
        self._out, self._err = out_read, err_read
        self._loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        for fd in (self._out, self._err, self._process):
            os.set_blocking(fd, False)
            self._loop.add_reader(fd, self._wake.set)

    async def read(self) -> bytes:
        """The next piece of output; empty when the process has ended and all is read."""
        while True:
            self._wake.clear()
            # A daemon that the verb has started may keep the pipes: not until end of file.
            ended = self._reap()
            data = self._take(self._out)
            self.errors = (self.errors + self._take(self._err))[:ERROR_LIMIT]
            if data or ended:
                return data
            await self._wake.wait()

    def _take(self, fd: int) -> bytes:
        try:
            data = os.read(fd, 65536)
        except BlockingIOError:
            return b""
        if not data:  # end of file is readable for ever
            self._loop.remove_reader(fd)
        return data

    def _reap(self) -> bool:
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if not pid:
                return False
            self.status = os.waitstatus_to_exitcode(status)
        return True

    async def close(self) -> None:
        """End it, as CTRL+c does and then by force; give everything back."""
        try:
            deadline = self._loop.time() + _END_TIMEOUT * paths.timeout_scale()
            if not self._reap():
                os.kill(self.pid, signal.SIGINT)
            while not self._reap():
                if self._loop.time() > deadline:
                    break
                await asyncio.sleep(0.02)
        finally:
            if not self._reap():
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                self.status = -signal.SIGKILL
            for fd in (self._out, self._err, self._process):
                self._loop.remove_reader(fd)
                os.close(fd)


def _child(work: Callable[[], int], out: int, err: int) -> None:
    """The forked half; never returns."""
    status = INTERNAL
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.setsid()
        null = os.open(os.devnull, os.O_RDONLY)
        for fd, place in ((null, 0), (out, 1), (err, 2)):
            os.dup2(fd, place)
        os.closerange(3, 1 << 16)  # connections of others, the listener
        sys.stdout, sys.stderr = _text(1), _text(2)
        status = work()
        sys.stdout.flush()
        sys.stderr.flush()
    except KeyboardInterrupt:
        status = 1
    except BaseException:
        with contextlib.suppress(BaseException):
            traceback.print_exc(file=sys.stderr)
            sys.stderr.flush()
    finally:
        os._exit(status)


def _text(fd: int) -> TextIOWrapper:
    return TextIOWrapper(FileIO(fd, "w", closefd=False), encoding="utf-8", errors="replace")


class Pool:
    """At most ``running`` jobs at a time, and ``waiting`` who wait for a place."""

    def __init__(self, running: int = 8, waiting: int = 32) -> None:
        self._places = asyncio.Semaphore(running)
        self._room = running + waiting
        self._users = 0

    @contextlib.asynccontextmanager
    async def job(self, work: Callable[[], int]) -> AsyncIterator[Job]:
        """A job, when there is a place for it. Raises HttpError."""
        if self._users >= self._room:
            raise HttpError(503, "too much is asked for at once; try again", Retry_After="2")
        self._users += 1
        try:
            async with self._places:
                try:
                    job = Job(work)
                except OSError as error:
                    raise HttpError(503, f"no process for this: {error.strerror}") from error
                try:
                    yield job
                finally:
                    await job.close()
        finally:
            self._users -= 1

    async def run(self, work: Callable[[], int]) -> Result:
        """Run a job to its end. Raises HttpError."""
        output = bytearray()
        async with self.job(work) as job:
            while chunk := await job.read():
                output += chunk
                if len(output) > OUTPUT_LIMIT:
                    raise HttpError(500, "the answer is too long")
            assert job.status is not None
            return Result(job.status, bytes(output), job.errors)


def guarded(work: Callable[[], int]) -> int:
    """Run ``work`` as the shell would: errors become a line on stderr and a status."""
    try:
        return work()
    except ShellError as error:
        sys.stderr.write(str(error).replace("\n", " ") + "\n")
        return error.code
    except (OSError, MemoryError, RecursionError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
