# SPDX-License-Identifier: Apache-2.0
"""What keeps the page on: a process that starts the server and hg-tls, and starts them again.

It holds a lock for as long as it lives: the page is on while RUN/web/lock is locked. The token, the
certificate and its key are in ``web`` of the state folder; what is of this run only is in RUN/web.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import select
import signal
import subprocess
import time

from hypershell import catalog, host, paths
from hypershell.errors import ShellError
from hypershell.web import auth

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

START_TIMEOUT = 60.0  # seconds for the first start, which makes a key
STOP_TIMEOUT = 15.0
_PAUSE = 0.2  # seconds until what has ended is started again,
_PAUSE_EARLY = 2.0  # where it did not live five
_FINGERPRINT = re.compile(r"\b(?:[0-9A-F]{2}:){31}[0-9A-F]{2}\b")
_LISTENS = re.compile(r":(\d{1,5}),")
_NAMES_LIMIT = 16  # names in the certificate


class Options:
    """How the page is to be served; ``port`` 0 is any that is free, below it none (no TLS)."""

    def __init__(self, address: str, port: int, names: list[str], new_token: bool) -> None:
        self.address, self.port, self.names = address, port, names
        self.new_token = new_token


def folder() -> str:
    """What is of this run only."""
    return paths.run_dir() + "/web"


def kept() -> str:
    """What outlives a reboot."""
    return paths.state_dir() + "/web"


def socket_path() -> str:
    """Where the server listens."""
    return paths.run_dir() + "/web.sock"


def is_on() -> bool:
    """Does a keeper live?"""
    return catalog.locked(folder() + "/lock")


def state() -> dict[str, object]:
    """What the keeper has written: ``pid``, ``address``, ``port``, ``names``, ``fingerprint``."""
    return catalog.read_json(folder() + "/state.json") if is_on() else {}


def token() -> str:
    """The token; empty when there is none yet."""
    try:
        with open(kept() + "/token", encoding="ascii") as file:
            return file.read(256).strip()
    except (OSError, ValueError):
        return ""


def _private(path: str, text: str) -> None:
    """Write a file that only its owner reads, whole or not at all."""
    fd = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(fd, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.rename(path + ".new", path)


def switch_on(options: Options) -> None:
    """Start the keeper and wait until it serves. Raises ShellError."""
    for place in (folder(), kept()):
        os.makedirs(place, mode=0o700, exist_ok=True)
        os.chmod(place, 0o700)
    if options.new_token or len(token()) < 32:
        _private(kept() + "/token", auth.new_token() + "\n")
    ready, tell = os.pipe2(os.O_CLOEXEC)
    middle = os.fork()
    if middle == 0:
        _daemon(tell, options)
    os.close(tell)
    os.waitpid(middle, 0)
    try:
        said = _wait(ready, START_TIMEOUT * paths.timeout_scale())
    finally:
        os.close(ready)
    if said != "ok":
        raise ShellError(said or "the server has ended; see host_log")


def _wait(fd: int, seconds: float) -> str:
    """What the keeper says before it hangs up or time is over."""
    deadline, text = time.monotonic() + seconds, b""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while (left := deadline - time.monotonic()) > 0:
        if poll.poll(left * 1000):
            data = os.read(fd, 4096)
            text += data
            if not data:
                break
    return text.decode("utf-8", "replace").strip()


def switch_off() -> bool:
    """End the keeper and what it keeps; False when it was off. Raises ShellError."""
    told = state().get("pid")
    if not isinstance(told, int):
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(told, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT * paths.timeout_scale()
    while is_on():
        if time.monotonic() > deadline:
            raise ShellError(f"process {told} does not end; kill {told} does it by force")
        time.sleep(0.02)
    return True


def _daemon(tell: int, options: Options) -> NoReturn:
    """The forked half: a process of its own, with nobody's terminal."""
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        os.chdir("/")
        os.dup2(tell, 3)
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1):
            os.dup2(null, fd)
        os.dup2(_log(), 2)
        os.closerange(4, 1 << 16)
        os.set_inheritable(3, False)
        signal.signal(signal.SIGTERM, _end)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        _Keeper(options).run(3)
    except (ShellError, OSError) as error:
        with contextlib.suppress(OSError):
            os.write(3, str(error).encode("utf-8", "replace"))
    except SystemExit:
        pass
    finally:
        os._exit(0)


def _end(*_: object) -> None:
    raise SystemExit


def _log() -> int:
    """On a host the kernel's log, which is bounded; elsewhere a file."""
    if paths.on_host():
        with contextlib.suppress(OSError):
            return os.open("/dev/kmsg", os.O_WRONLY | os.O_CLOEXEC)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
    return os.open(folder() + "/log", flags, 0o600)


class _Keeper:
    """The two processes, and what they share."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._lock = os.open(folder() + "/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ShellError("it is on already") from error
        name = os.uname().nodename.lower()
        self._own = [one for one in (name, *options.names) if one and "(" not in one]
        self._server = self._tls = 0
        self._alive: tuple[int, int] = os.pipe2(os.O_CLOEXEC)

    def run(self, tell: int) -> None:
        """Start all, say ``ok`` on ``tell``, keep it up. Raises ShellError, OSError."""
        from hypershell.web import server

        listener = server.listen(socket_path())
        try:
            self._start_server(listener)
            told = self._start_tls()
            self._write(told)
            os.write(tell, b"ok")
            os.close(tell)
            while True:
                self._again(listener)
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            for pid in (self._tls, self._server):
                if pid:
                    with contextlib.suppress(OSError):
                        os.kill(pid, signal.SIGTERM)
            self._reap()
            for path in (socket_path(), folder() + "/state.json"):
                with contextlib.suppress(OSError):
                    os.unlink(path)

    def _write(self, told: dict[str, object]) -> None:
        record = {"pid": os.getpid(), "address": self._options.address, "names": self._own, **told}
        _private(folder() + "/state.json", json.dumps(record))

    def _reap(self) -> None:
        """Wait for both; by force when they take their time."""
        deadline = time.monotonic() + STOP_TIMEOUT / 2 * paths.timeout_scale()
        for pid in (self._tls, self._server):
            while pid:
                with contextlib.suppress(OSError):
                    if os.waitpid(pid, os.WNOHANG)[0] == 0:
                        if time.monotonic() > deadline:
                            os.kill(pid, signal.SIGKILL)
                        time.sleep(0.02)
                        continue
                break

    def _again(self, listener: int) -> None:
        """Wait until one of the two ends, and start it again."""
        started = time.monotonic()
        pid, status = os.wait()
        if pid not in (self._server, self._tls):
            return
        name = "server" if pid == self._server else "hg-tls"
        os.write(2, f"host_web: {name} has ended ({os.waitstatus_to_exitcode(status)})\n".encode())
        time.sleep(_PAUSE if time.monotonic() - started > 5 else _PAUSE_EARLY)
        if pid == self._server:
            self._server = 0
            self._start_server(listener)
            return
        self._tls = 0
        while not self._tls:
            try:
                self._write(self._start_tls())
            except ShellError as error:
                os.write(2, f"host_web: {error}\n".encode("utf-8", "replace"))
                self._tls = 0
                time.sleep(5)

    def _start_server(self, listener: int) -> None:
        # Blocked, as a signal that comes while the child is made would be lost there: Python
        # forgets after fork() what it has not handled.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        pid = os.fork()
        if pid:
            self._server = pid
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            return
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            import asyncio

            from hypershell.web import server

            os.close(self._lock)
            os.close(self._alive[1])
            with contextlib.suppress(OSError):
                os.close(3)
            local = {"localhost", *self._own, *(f"{name}.local" for name in self._own[:1])}
            gate = auth.Gate(token(), frozenset(local))
            asyncio.run(server.serve(listener, gate, self._alive[0]))
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(1)

    def _start_tls(self) -> dict[str, object]:
        """Start hg-tls; its port and fingerprint. Raises ShellError."""
        if self._options.port < 0:
            return {"port": None, "fingerprint": None}
        address = self._options.address
        listen = f"[{address}]:" if ":" in address else f"{address}:" if address else ""
        own, store = [*self._own, "localhost", *host_addresses()], kept()
        argv = [paths.tls(), "--listen", f"{listen}{self._options.port}"]
        argv += ["--connect", socket_path(), "--certificate", store + "/certificate.pem"]
        argv += ["--key", store + "/key.pem"]
        for name in list(dict.fromkeys(own))[:_NAMES_LIMIT]:
            argv += ["--make", name]
        log = folder() + "/tls.log"
        try:
            with open(log, "wb") as file:
                process = subprocess.Popen(
                    argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=file
                )
        except OSError as error:
            why = f"cannot run {argv[0]}: {error.strerror}; HYPERGEN_TLS names it"
            raise ShellError(why) from error
        self._tls = process.pid
        return _hear(process, log)


def _hear(process: subprocess.Popen[bytes], log: str) -> dict[str, object]:
    """Listen to hg-tls until it serves. Raises ShellError with its reason."""
    assert process.stdout is not None
    deadline = time.monotonic() + START_TIMEOUT * paths.timeout_scale()
    text = ""
    poll = select.poll()
    poll.register(process.stdout, select.POLLIN)
    while (left := deadline - time.monotonic()) > 0:
        if not poll.poll(left * 1000):
            break
        data = os.read(process.stdout.fileno(), 4096)
        if not data:
            with open(log, encoding="utf-8", errors="replace") as file:
                lines = file.read(65536).strip().splitlines() or ["it has ended"]
            raise ShellError(f"hg-tls: {lines[-1].removeprefix('hg-tls: ')}")
        text += data.decode("utf-8", "replace")
        fingerprint, port = _FINGERPRINT.search(text), _LISTENS.search(text)
        if fingerprint and port and text.endswith("\n"):
            return {"port": int(port[1]), "fingerprint": fingerprint[0]}
    raise ShellError("hg-tls says nothing")


def host_addresses() -> list[str]:
    """The host's own addresses, those that others can reach first."""
    try:
        names = sorted(os.listdir("/sys/class/net"), key=lambda name: (name != "br0", name))
    except OSError:
        names = []
    found = [one for name in names if name != "lo" for one in host.addresses(name)]
    return [one for one in found if not one.startswith("fe80:")]
