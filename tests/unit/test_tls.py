# SPDX-License-Identifier: Apache-2.0
"""hg-tls: certificates, the two ways of a byte, and clients that mean no good.

Compiled with sanitizers, which need more system calls than its sandbox has; the sandbox is tried
with the program as it is in the image.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import selectors
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hypergen.image import initramfs, manifest

ROOM = Path(__file__).resolve().parents[2] / "initramfs"
SCALE = float(os.environ.get("HYPERGEN_TIMEOUT_SCALE", "1"))
WAIT = 10 * SCALE
WARNINGS = ["-Wshadow", "-Wstrict-prototypes", "-Wmissing-prototypes", "-Wvla", "-Wformat=2"]
SANITIZERS = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
MOST = 64
"""Connections at once: MAX_CONNECTIONS."""

pytestmark = pytest.mark.skipif(
    shutil.which("cc") is None or not Path("/usr/include/mbedtls/ssl.h").exists(),
    reason="needs a C compiler and mbedTLS",
)


def _program() -> manifest.Program:
    every = manifest.load(ROOM / "manifest.toml").compiled
    return next(program for program in every if program.to.endswith("/hg-tls"))


def _compile(to: Path, *flags: str) -> Path:
    program = _program()
    words = ["cc", *flags, *WARNINGS, "-o", str(to), *program.sources, *program.link_flags()]
    done = subprocess.run(words, cwd=ROOM, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return to


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp("tls") / "hg-tls"
    return _compile(to, *initramfs.PROGRAM_FLAGS)


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp("tls-asan") / "hg-tls"
    return _compile(to, "-std=gnu11", "-Wall", "-Wextra", "-Werror", *SANITIZERS)


class Server:
    """A server at a Unix socket; each connection is handed to `serve` in a thread of its own."""

    def __init__(self, path: Path, serve: Callable[[socket.socket], None]) -> None:
        self.path, self.serve, self.accepted = path, serve, 0
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(100)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.accepted += 1
                threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            self.serve(connection)

    def close(self) -> None:
        self.listener.close()
        self.path.unlink()


def echo(connection: socket.socket) -> None:
    """All that comes, and then the end."""
    while data := connection.recv(65536):
        connection.sendall(data)


@dataclass
class Running:
    """hg-tls at work, and where."""

    process: subprocess.Popen[str]
    port: int
    fingerprint: str
    folder: Path

    def connect(self, timeout: float = WAIT) -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=str(self.folder / "cert.pem"))
        plain = socket.create_connection(("127.0.0.1", self.port), timeout)
        return context.wrap_socket(plain, server_hostname="box")

    def plain(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), WAIT)

    def answers(self) -> bool:
        with self.connect() as client:
            client.sendall(b"still there?")
            return client.recv(100) == b"still there?"


def arguments(folder: Path, *more: str) -> list[str]:
    files = ["--certificate", str(folder / "cert.pem"), "--key", str(folder / "key.pem")]
    return ["--listen", "127.0.0.1:0", "--connect", str(folder / "web.sock"), *files, *more]


@contextlib.contextmanager
def running(program: Path, folder: Path, *more: str) -> Iterator[Running]:
    words = [str(program), *arguments(folder, "--make", "box,127.0.0.1,::1", *more)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stderr is not None
    try:
        line = process.stdout.readline()
        said = re.fullmatch(
            r"listening on 127\.0\.0\.1:(\d+), certificate SHA-256 ([0-9A-F:]+)\n", line
        )
        assert said, f"{line!r} {process.stderr.read()}"
        yield Running(process, int(said[1]), said[2], folder)
        assert process.poll() is None, process.stderr.read()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


@pytest.fixture
def tls(checked: Path, tmp_path: Path) -> Iterator[Running]:
    server = Server(tmp_path / "web.sock", echo)
    with running(checked, tmp_path, "--no-sandbox") as one:
        yield one
    server.close()


def run(program: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(program), *words], capture_output=True, text=True, check=False, timeout=WAIT
    )


# --- certificates ---


def test_a_client_trusts_the_certificate_and_its_fingerprint(tls: Running) -> None:
    for name in ("box", "127.0.0.1", "::1"):
        context = ssl.create_default_context(cafile=str(tls.folder / "cert.pem"))
        with context.wrap_socket(tls.plain(), server_hostname=name) as client:
            der = client.getpeercert(binary_form=True)
            found = client.getpeercert()
            assert client.version() == "TLSv1.2"
    assert der is not None
    assert hashlib.sha256(der).hexdigest().upper() == tls.fingerprint.replace(":", "")
    assert found is not None
    names = [pair[1] for pair in found["subjectAltName"]]
    assert names == ["box", "127.0.0.1", "0:0:0:0:0:0:0:1"]
    years = [int(re.findall(r"\d{4}", str(found[key]))[-1]) for key in ("notBefore", "notAfter")]
    assert years[1] - years[0] == 10
    wrong = ssl.create_default_context(cafile=str(tls.folder / "cert.pem"))
    with pytest.raises(ssl.SSLCertVerificationError), tls.plain() as plain:
        wrong.wrap_socket(plain, server_hostname="other")


def test_files_are_made_once_and_kept(checked: Path, tmp_path: Path) -> None:
    seen = []
    for _ in range(2):
        with running(checked, tmp_path, "--no-sandbox") as one:
            seen.append((one.fingerprint, *(p.read_bytes() for p in sorted(tmp_path.iterdir()))))
    assert seen[0] == seen[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cert.pem", "key.pem"]
    assert (tmp_path / "key.pem").stat().st_mode & 0o777 == 0o600
    # A cut between the two: the key stays, the certificate is made for it.
    (tmp_path / "cert.pem").unlink()
    (tmp_path / "cert.pem.new").write_text("half of on")
    key = (tmp_path / "key.pem").read_bytes()
    with running(checked, tmp_path, "--no-sandbox") as one:
        assert one.fingerprint != seen[0][0]
    assert (tmp_path / "key.pem").read_bytes() == key
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cert.pem", "key.pem"]


def test_damaged_files_are_refused(checked: Path, tmp_path: Path) -> None:
    with running(checked, tmp_path, "--no-sandbox"):
        pass
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    good_key, good_certificate = key.read_text(), certificate.read_text()

    def refused() -> str:
        done = run(checked, *arguments(tmp_path, "--make", "box", "--no-sandbox"))
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.count("\n") == 1
        return done.stderr

    for damaged in (good_key[:100], good_key.replace("MHc", "MHd"), "", "\0" * 3000):
        key.write_text(damaged)
        assert "key.pem: not an ECDSA key in PEM form" in refused()
    key.write_text("x" * 70000)
    assert "key.pem: too large" in refused()
    key.unlink()
    assert "cert.pem is there, but not its key" in refused()
    key.write_text(good_key)
    certificate.write_text(good_certificate[:200])
    assert "cert.pem: not a certificate in PEM form" in refused()
    certificate.unlink()
    key.rename(tmp_path / "old")
    with running(checked, tmp_path, "--no-sandbox"):
        pass
    (tmp_path / "old").rename(key)
    assert "key.pem is not the key of" in refused()
    certificate.unlink()
    done = run(checked, *arguments(tmp_path, "--no-sandbox"))
    assert (done.returncode, "cert.pem: No such file" in done.stderr) == (1, True)
    done = run(checked, *arguments(tmp_path / "none", "--make", "box", "--no-sandbox"))
    assert (done.returncode, "key.pem: No such file" in done.stderr) == (1, True)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl")
def test_a_certificate_of_someone_else(checked: Path, tmp_path: Path) -> None:
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")]
    new = ["openssl", "req", "-x509", "-nodes", "-subj", "/CN=box", *files]
    new += ["-addext", "subjectAltName=DNS:box"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    subprocess.run([*new, *curve], check=True, capture_output=True)
    server = Server(tmp_path / "web.sock", echo)
    with running(checked, tmp_path, "--no-sandbox") as one:
        assert one.answers()
    server.close()
    subprocess.run([*new, "-newkey", "rsa:2048"], check=True, capture_output=True)
    done = run(checked, *arguments(tmp_path, "--no-sandbox"))
    assert (done.returncode, "for an ECDSA key" in done.stderr) == (1, True)


# --- options ---


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--listen", "70000"], "wrong value of --listen: 70000"),
        (["--listen", "box:443"], "wrong value of --listen: box"),
        (["--listen", "[::1:443"], "wrong value of --listen: [::1"),
        (["--listen", "127.0.0.1:"], "wrong value of --listen: 127.0.0.1"),
        (["--make", "a/b"], "wrong value of --make"),
        (["--make", "box,"], "wrong value of --make"),
        (["--make", "x" * 65], "wrong value of --make"),
        (["--make", ",".join(["a"] * 17)], "wrong value of --make"),
        (["--handshake", "0"], "wrong value of --handshake: 0"),
        (["--idle", "1h"], "wrong value of --idle: 1h"),
        (["--frob"], "wrong option, or one without its value: --frob"),
        (["--key"], "wrong option, or one without its value: --key"),
        (["more"], "not an option: more"),
    ],
)
def test_wrong_options(checked: Path, tmp_path: Path, words: list[str], said: str) -> None:
    done = run(checked, *arguments(tmp_path), *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_carried_out(checked: Path, tmp_path: Path) -> None:
    done = run(checked, "--listen", "1")
    assert (done.returncode, "needed: --listen, --connect" in done.stderr) == (2, True)
    done = run(checked, *arguments(tmp_path), "--connect", "/" + "x" * 108)
    assert (done.returncode, "longer than 107 bytes" in done.stderr) == (1, True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run(checked, *arguments(tmp_path, "--make", "box"), "--listen", address)
    assert (done.returncode, "Address already in use" in done.stderr) == (1, True)
    done = run(checked, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) < 25
    assert all(len(line) <= 100 for line in done.stdout.splitlines())


# --- bytes ---


def test_bytes_go_both_ways_whole_and_in_order(tls: Running) -> None:
    """More than all buffers on the way hold, while the client does not read."""
    data = os.urandom(3 << 20)
    got = bytearray()
    with tls.connect() as client:
        sender = threading.Thread(target=client.sendall, args=(data,), daemon=True)
        sender.start()
        time.sleep(0.1)
        while len(got) < len(data) and (piece := client.recv(65536)):
            got += piece
        sender.join(WAIT)
    assert got == data


def test_a_slow_client_holds_up_the_server_and_nobody_else(checked: Path, tmp_path: Path) -> None:
    written = [0]

    def pour(connection: socket.socket) -> None:
        if connection.recv(10) == b"pour":
            while True:
                written[0] += connection.send(b"x" * 65536)
        connection.sendall(b"quick")

    server = Server(tmp_path / "web.sock", pour)
    with running(checked, tmp_path, "--no-sandbox") as one, one.connect() as slow:
        slow.sendall(b"pour")
        before = -1
        deadline = time.monotonic() + WAIT
        while before <= 0 or written[0] != before:
            assert time.monotonic() < deadline
            before = written[0]
            time.sleep(0.3)
        assert 0 < written[0] == before < 16 << 20
        with one.connect() as other:
            other.sendall(b"hello")
            assert other.recv(10) == b"quick"
        rest = sum(len(slow.recv(65536)) for _ in range(100))
        assert rest > 100_000
    server.close()


def test_each_side_may_end_first(checked: Path, tmp_path: Path) -> None:
    ended: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        if (first := connection.recv(10)) == b"bye":
            connection.sendall(b"x" * 100_000)
            return
        rest = b""
        while piece := connection.recv(100):
            rest += piece
        ended.append(first + rest)
        connection.sendall(b"all of it")  # after the client's end

    server = Server(tmp_path / "web.sock", serve)
    with running(checked, tmp_path, "--no-sandbox") as one:
        with one.connect() as client:
            client.sendall(b"bye")
            got = b""
            while piece := client.recv(65536):  # ends by close_notify, or this raises
                got += piece
            assert got == b"x" * 100_000
        context = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
        talk = context.wrap_bio(into, out, server_hostname="box")
        with one.plain() as plain:
            _handshake(talk, into, out, plain)
            talk.write(b"first, ")
            talk.write(b"last")
            with contextlib.suppress(ssl.SSLWantReadError):
                talk.unwrap()  # our close_notify; the answer is still to come
            plain.sendall(out.read())
            got = b""
            while piece := plain.recv(65536):
                got += piece
        assert ended == [b"first, last"]
        assert len(got) > len(b"all of it")  # a record, and a close_notify
        # A connection that is cut is an end for the server, too.
        with one.connect() as client:
            client.sendall(b"cut")
            os.close(client.detach())
        deadline = time.monotonic() + WAIT
        while len(ended) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert ended[1:] == [b"cut"]
    server.close()


def _handshake(
    talk: ssl.SSLObject, into: ssl.MemoryBIO, out: ssl.MemoryBIO, plain: socket.socket
) -> None:
    while True:
        try:
            talk.do_handshake()
        except ssl.SSLWantReadError:
            plain.sendall(out.read())
            into.write(plain.recv(65536))
        else:
            plain.sendall(out.read())
            return


def test_no_server(checked: Path, tmp_path: Path) -> None:
    with running(checked, tmp_path, "--no-sandbox") as one:
        for _ in range(3):
            with one.connect() as client:
                assert client.recv(10) == b""  # an orderly end
        server = Server(tmp_path / "web.sock", echo)  # it comes later
        assert one.answers()
        server.close()
        one.process.kill()
        assert one.process.stderr is not None
        said = one.process.stderr.read()
        assert said.count("\n") == 1, said
        assert "the server does not answer at its socket: No such file" in said
        one.process.poll = lambda: None  # type: ignore[method-assign]


# --- clients that mean no good ---


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: box\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\0" * 70000,
        b"\x16\x03\x01\xff\xff" + b"\xff" * 70000,
        b"\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x03" + b"\0" * 40,
        b"\x16\x03\x03\x00\x04\x01\xff\xff\xff",
        b"",
    ],
    ids=["http", "ssh", "zeros", "record", "hello", "length", "nothing"],
)
def test_wrong_bytes_are_an_end(tls: Running, data: bytes) -> None:
    with tls.plain() as client, contextlib.suppress(OSError):  # it may be gone at any moment
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        while client.recv(65536):
            pass
    assert tls.answers()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1")
def test_old_versions_and_foreign_suites_are_refused(tls: Running) -> None:
    for version, ciphers in (
        (ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0"),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES128-SHA"),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-SHA"),
    ):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_ciphers(ciphers)
        context.minimum_version = context.maximum_version = version
        with pytest.raises((ssl.SSLError, ConnectionError)), tls.plain() as plain:
            context.wrap_socket(plain)
    context = ssl.create_default_context(cafile=str(tls.folder / "cert.pem"))
    for suite in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305"):
        context.set_ciphers(f"ECDHE-ECDSA-{suite}")
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with context.wrap_socket(tls.plain(), server_hostname="box") as client:
            client.sendall(b"hello")
            assert client.recv(10) == b"hello"


def test_who_is_slow_or_silent_is_sent_away(checked: Path, tmp_path: Path) -> None:
    server = Server(tmp_path / "web.sock", echo)
    limits = ("--handshake", "1", "--idle", "1", "--no-sandbox")
    with running(checked, tmp_path, *limits) as one:
        silent = one.plain()
        idle = one.connect()
        idle.sendall(b"hello")
        assert idle.recv(10) == b"hello"
        began = time.monotonic()
        with one.plain() as drop, contextlib.suppress(ConnectionError):
            for byte in b"\x16\x03\x01\x02\x00" + b"\x01" * 1000:
                drop.sendall(bytes([byte]))  # each in time, all of it never
                time.sleep(0.1)
                assert time.monotonic() - began < WAIT
        with contextlib.suppress(ConnectionError):
            assert silent.recv(10) == b""
        with contextlib.suppress(ConnectionError, ssl.SSLEOFError):
            assert idle.recv(10) == b""
        assert time.monotonic() - began < WAIT
        silent.close()
        idle.close()
        assert one.answers()
    server.close()


def test_more_connections_than_there_are_places(tls: Running) -> None:
    """Those over the bound wait, and are served when others have left."""
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        first = [stack.enter_context(tls.connect()) for _ in range(MOST)]
        plain = stack.enter_context(tls.plain())
        context = ssl.create_default_context(cafile=str(tls.folder / "cert.pem"))
        into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
        talk = context.wrap_bio(into, out, server_hostname="box")
        with contextlib.suppress(ssl.SSLWantReadError):
            talk.do_handshake()
        plain.sendall(out.read())
        selector.register(plain, selectors.EVENT_READ)
        assert selector.select(0.5) == []
        for client in first:
            client.sendall(b"one of many")
        assert {client.recv(20) for client in first} == {b"one of many"}
        first[17].close()
        assert selector.select(WAIT)
        for client in first:
            client.close()
        for _ in range(MOST + 10):
            stack.enter_context(tls.plain()).close()
        assert tls.answers()


# --- the walls around it ---


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_in_its_sandbox(shipped: Path, tmp_path: Path) -> None:
    """Nothing is left of its user's powers, and all that it is for still works."""
    server = Server(tmp_path / "web.sock", echo)
    with running(shipped, tmp_path) as one:
        with contextlib.ExitStack() as stack:
            for _ in range(MOST):
                client = stack.enter_context(one.connect())
                client.sendall(b"hello")
                assert client.recv(10) == b"hello"
        with one.plain() as plain:
            plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert one.answers()
        pid = one.process.pid
        (connector,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for each in (_status(pid), _status(int(connector))):
            assert (each["Seccomp"], each["NoNewPrivs"]) == ("2", "1")
        if os.geteuid() == 0:
            status = _status(pid)
            assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
            assert set(status["Uid"].split()) == set(status["Gid"].split()) == {str(0x6FFFFFFE)}
            assert status["Groups"] == ""
            assert os.listdir(f"/proc/{pid}/root") == []  # noqa: PTH208
            assert str(Path(f"/proc/{pid}/root").readlink()).endswith(" (deleted)")
        sockets = [str(path.readlink()) for path in Path(f"/proc/{connector}/fd").iterdir()]
        assert len([name for name in sockets if name.startswith("socket:")]) == 1
    server.close()
    deadline = time.monotonic() + WAIT
    while Path(f"/proc/{connector}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not Path(f"/proc/{connector}").exists()


def test_without_its_connector_it_ends(checked: Path, tmp_path: Path) -> None:
    """Whoever started it sees that, and can start it again."""
    with running(checked, tmp_path, "--no-sandbox") as one:
        pid = one.process.pid
        (connector,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        os.kill(int(connector), signal.SIGKILL)
        with contextlib.suppress(ConnectionError, ssl.SSLError), one.connect() as client:
            client.recv(10)
        assert one.process.wait(WAIT) == 1
        assert one.process.stderr is not None
        assert "has ended" in one.process.stderr.read()
        one.process.poll = lambda: None  # type: ignore[method-assign]


def test_the_manifest_names_every_source() -> None:
    with (ROOM / "manifest.toml").open("rb") as stream:
        compiled = tomllib.load(stream)["compile"]
    (sources,) = [one["sources"] for one in compiled if one["to"] == "usr/bin/hg-tls"]
    there = {f"tls/{path.name}" for path in (ROOM / "tls").iterdir()}
    assert set(sources) == {name for name in there if not name.endswith(".h")}
