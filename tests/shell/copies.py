# SPDX-License-Identifier: Apache-2.0
"""The shell without its start-up: a process that has all of it loaded, and is forked for each run.

A run in a fork is a process of its own, with the environment, folder, files and terminal it was
given, as ``python -m hypershell`` is; only the interpreter's start and imports are spared. Tests of
just these run ``python -m hypershell`` itself.

As a program: take requests from the socket on stdin until it is closed.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
import traceback
from pathlib import Path
from typing import NoReturn

_HERE = Path(__file__).resolve().parent
_REQUEST_LIMIT = 1 << 18  # bytes


class Run:
    """One run of the shell; its members are those of subprocess.Popen."""

    def __init__(self, pid: int, pidfd: int, status: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._pidfd, self._status = pidfd, status

    def poll(self) -> int | None:
        """The exit status, or the signal's number below zero; None while it runs."""
        return self._wait(0)

    def wait(self, timeout: float | None = None) -> int:
        """The exit status. Raises subprocess.TimeoutExpired."""
        status = self._wait(timeout)
        if status is None:
            raise subprocess.TimeoutExpired("hypershell", timeout or 0)
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            signal.pidfd_send_signal(self._pidfd, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _wait(self, seconds: float | None) -> int | None:
        if self.returncode is None:
            waiting = select.poll()
            waiting.register(self._status, select.POLLIN)
            if not waiting.poll(None if seconds is None else seconds * 1000):
                return None
            self.returncode = os.waitstatus_to_exitcode(int(os.read(self._status, 16)))
            self.close()
        return self.returncode

    def close(self) -> None:
        """Forget a run that has ended, or that nobody waits for."""
        for fd in (self._pidfd, self._status):
            if fd >= 0:
                os.close(fd)
        self._pidfd = self._status = -1


class Copies:
    """The process that is forked, started when it is first needed."""

    def __init__(self, env: dict[str, str]) -> None:
        """``env`` is what the interpreter is started with: PYTHON... of a run are not looked at."""
        self._env = env
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()

    def start(
        self,
        words: list[str],
        env: dict[str, str],
        constants: dict[str, float],
        files: tuple[int, int, int],
        terminal: bool,
    ) -> Run:
        """Run ``hypershell`` with arguments, environment and files 0 to 2.

        ``constants`` are a module's, by their whole name, that are something else in this run. With
        ``terminal`` file 0 becomes the controlling terminal of a session of its own.
        """
        status, theirs = os.pipe()
        request = json.dumps(
            {
                "words": words,
                "env": env,
                "constants": constants,
                "cwd": str(Path.cwd()),
                "tty": terminal,
            }
        )
        try:
            with self._lock:
                if self._socket is None:
                    self._socket = self._begin()
                socket.send_fds(self._socket, [request.encode()], [*files, theirs])
                _, fds, _, _ = socket.recv_fds(self._socket, 16, 1)
        finally:
            os.close(theirs)
        return Run(_pid_of(fds[0]), fds[0], status)

    def _begin(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            subprocess.Popen([sys.executable, __file__], stdin=theirs.fileno(), env=self._env)
        return ours


def _pid_of(pidfd: int) -> int:
    """The number of a process of which only a descriptor is held (pidfd_open(2))."""
    for line in Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines():
        if line.startswith("Pid:"):
            return int(line.split()[1])
    raise AssertionError("no pidfd")


def _load() -> None:
    """Import what a run may need."""
    from hypershell.commands import COMMANDS, load

    for name in ("editor", "prompt"):
        importlib.import_module(f"hypershell.{name}")
    for name in COMMANDS:
        load(name)


def _serve(requests: socket.socket) -> list[str]:
    """Fork for each request; returns in the fork, with the words that are to be run."""
    running: dict[int, int] = {}  # a run's number: where its status is written
    wake, ended = os.pipe()
    os.set_blocking(ended, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(ended)
    waiting = select.poll()
    waiting.register(requests, select.POLLIN)
    waiting.register(wake, select.POLLIN)
    while True:
        ready = {fd for fd, _ in waiting.poll()}
        if wake in ready:
            os.read(wake, 512)
            _reap(running)
        if requests.fileno() not in ready:
            continue
        data, fds, _, _ = socket.recv_fds(requests, _REQUEST_LIMIT, 4)
        if not data:
            os._exit(0)  # who runs the tests has ended
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for fd in (requests.fileno(), wake, ended, fds.pop(), *running.values()):
                os.close(fd)
            requests.detach()
            return _become(json.loads(data), fds)
        pidfd = os.pidfd_open(pid)
        running[pid] = fds.pop()
        socket.send_fds(requests, [b"x"], [pidfd])
        for fd in (pidfd, *fds):
            os.close(fd)


def _reap(running: dict[int, int]) -> None:
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        out = running.pop(pid)
        with contextlib.suppress(BrokenPipeError):  # nobody waits for it
            os.write(out, str(status).encode())
        os.close(out)


def _become(request: dict[str, object], files: list[int]) -> list[str]:
    """Be the process that the request speaks of."""
    if request["tty"]:
        os.setsid()
        fcntl.ioctl(files[0], termios.TIOCSCTTY, 0)
    for number, fd in enumerate(files):
        os.dup2(fd, number)
        os.close(fd)
    os.chdir(str(request["cwd"]))
    env, words = request["env"], request["words"]
    assert isinstance(env, dict) and isinstance(words, list)
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    constants = request["constants"]
    assert isinstance(constants, dict)
    for name, value in constants.items():
        module, _, constant = name.rpartition(".")
        assert hasattr(importlib.import_module(module), constant), name
        setattr(sys.modules[module], constant, value)
    # Made anew, as they look whether they are terminals.
    for name, mode, fd in (("stdin", "r", 0), ("stdout", "w", 1), ("stderr", "w", 2)):
        old = getattr(sys, name)
        lines = 1 if fd == 2 else -1  # stderr is line-buffered wherever it goes
        new = open(fd, mode, lines, old.encoding, old.errors, closefd=False)  # noqa: SIM115
        setattr(sys, name, new)
        setattr(sys, f"__{name}__", new)
    return words


def _main() -> None:
    sys.argv = ["hypershell"]
    with open(os.devnull) as null:  # noqa: PTH123
        requests = socket.socket(fileno=os.dup(0))
        os.dup2(null.fileno(), 0)
    sys.path.remove(str(_HERE))
    _load()
    gc.collect()
    gc.freeze()
    words = _serve(requests)
    sys.argv[1:] = words
    _end(words)


def _end(words: list[str]) -> NoReturn:
    """Run the shell and end as the interpreter does, without taking all apart that was loaded."""
    from hypershell.app import main

    try:
        status = main(words)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
        status = 1
    atexit._run_exitfuncs()  # what exit(3) would
    try:
        sys.stdout.flush()
    except OSError as error:
        print("Exception ignored:", repr(error), file=sys.stderr)
        status = 120
    os._exit(status)


if __name__ == "__main__":
    _main()
