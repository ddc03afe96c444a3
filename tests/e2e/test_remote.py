# SPDX-License-Identifier: Apache-2.0
"""The host over the network, by ssh and by the web page, as a person at a workstation has it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shlex
import shutil
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest
from websockets.sync.client import connect

from hypergen.config import BuildConfig
from tests.e2e import host as hosts
from tests.e2e.bounds import bound, wait
from tests.e2e.far import FOLDERS, Page, Workstation
from tests.e2e.files import FILES
from tests.e2e.host import Host
from tests.e2e.machine import free_port
from tests.shell import browser

TOP = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def both(
    built: BuildConfig, test_disk: Path, logs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Host, Workstation, int]]:
    """A host whose command line has a key and asks for the page: workstation, page's port."""
    if shutil.which("ssh") is None:
        pytest.skip("there is no ssh; install openssh-client")
    user, port = Workstation(tmp_path_factory.mktemp("keys"), free_port()), free_port()
    line = f'root=LABEL=hypergen rw {FOLDERS} hypergen.ssh="{user.public("mine")}"'
    line += " hypergen.web=8443,box.example.org"
    forwards = {user.port: 22, port: 8443}
    with hosts.direct(built, test_disk, logs, "far", line, forwards=forwards) as host:
        yield host, user, port


@contextlib.contextmanager
def prompt(argv: list[str], env: dict[str, str] | None = None) -> Iterator[pexpect.spawn[str]]:
    """A shell's prompt on a terminal; it is left by `exit`, with status 0."""
    child = pexpect.spawn(argv[0], argv[1:], env=env, encoding="utf-8", dimensions=(24, 100))
    try:
        child.expect("hyper-gen:# ", bound(60))
        yield child
        child.send("exit\r")
        child.expect(pexpect.EOF, bound(30))
    finally:
        child.close()
    assert child.exitstatus == 0


@pytest.fixture
def far(both: tuple[Host, Workstation, int]) -> tuple[Host, Workstation]:
    """The host, and a workstation that has its key."""
    return both[:2]


@pytest.fixture(scope="module")
def page(both: tuple[Host, Workstation, int]) -> Page:
    """The host's page."""
    return Page(both[0], both[2])


def servers(host: Host) -> set[int]:
    """The processes of all hg-tls."""
    return {int(pid) for pid in host.rescue.run("pidof hg-tls || true").split()}


def topic(host: Host) -> str:
    return host.rescue.run("grep ^ssh /run/hypergen/host.status").strip()


def test_one_command_and_its_status(far: tuple[Host, Workstation]) -> None:
    host, user = far
    done = user.run("vm_list --json")
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["[]"], "")
    shown = subprocess.run(
        ["ssh-keygen", "-l", "-f", user.folder / "known_hosts"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    told = topic(host)
    assert told.startswith("ssh\tok\tport 22, SHA256:") and told.endswith(", 1 key")
    assert told.split(", ")[1] in shown
    wrong = user.run("vm_console 99")
    assert wrong.returncode == 2 and "unknown VM '99'" in wrong.stderr
    assert user.run("vm_list --nosuch").returncode == 2
    lines = user.run("-T", "", said="image_list -q\nversion\n")
    assert lines.returncode == 0 and lines.stdout.splitlines()[5].startswith("hypershell ")


def test_an_image_is_sent_along(far: tuple[Host, Workstation]) -> None:
    _, user = far
    data = "hyper-gen " * 51200
    assert user.run("image_import - --name sent.img", said=data).returncode == 0
    checked = json.loads(user.run("image_verify sent.img --json").stdout)
    assert checked["size"] == len(data) and checked["holds"] == "raw"
    assert checked["sha256"] == hashlib.sha256(data.encode()).hexdigest()
    assert user.run("image_rm sent.img").returncode == 0


def test_the_prompt_makes_a_vm_and_uses_its_console(far: tuple[Host, Workstation]) -> None:
    host, user = far
    with prompt(user.argv("-t", "")[:-1]) as child:
        child.send(f"vm_create {FILES.vmlinux} {FILES.busybox} --name far --net none\r")
        child.expect(r"VM \d+ \(far\) runs", bound(60))
        child.send("vm_console far\r")
        child.expect("CTRL\\+d detaches", bound(60))
        child.send("\x04")
        child.expect("Detached", bound(30))
    assert [vm["name"] for vm in host.vms()] == ["far"]
    with subprocess.Popen(  # as gdb does with: target remote | ssh …
        user.argv("vm_debug far --stdio"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as debugger:
        assert debugger.stdin is not None and debugger.stdout is not None
        debugger.stdin.write(b"$?#3f")
        debugger.stdin.flush()
        assert debugger.stdout.read(5) in (b"+$T05", b"+$S05")  # stands still: SIGTRAP
        debugger.stdin.close()
    assert host.vms()[0]["state"] == "running"
    assert user.run("vm_destroy far").returncode == 0


def test_other_keys_passwords_and_users_are_refused(far: tuple[Host, Workstation]) -> None:
    _, user = far
    assert user.run("version", key="other").returncode == 255
    assert user.run("version", user="nobody").returncode == 255
    offered = user.run("-o", "PreferredAuthentications=none", "version").stderr
    assert re.search(r"Permission denied \(publickey\)", offered), offered
    argv = user.argv("-o", "PreferredAuthentications=password", "version", key="other")
    child = pexpect.spawn(argv[0], argv[1:], encoding="utf-8")
    assert child.expect(["assword", "Permission denied"], bound(30)) == 1
    child.close()


def test_the_shell_of_a_workstation(far: tuple[Host, Workstation]) -> None:
    """``hypershell --host`` with the real ssh, whose own settings are the user's."""
    _, user = far
    tools = user.folder / "tools"
    tools.mkdir()
    words = shlex.join(user.argv("")[:-2])  # ssh and its options
    (tools / "ssh").write_text(f'#!/bin/sh\nPATH=/usr/bin:/bin\nexec {words} "$@"\n')
    (tools / "ssh").chmod(0o755)
    script = user.folder / "job.hg"
    script.write_text("version\nimage_list -q # a comment\nvm_console 99\nversion\n")

    env = {"PATH": f"{tools}:/usr/bin:/bin", "PYTHONPATH": str(TOP / "shell")}
    remote = [sys.executable, "-m", "hypershell", "--host", "127.0.0.1"]

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*remote, *words],
            env=env,
            capture_output=True,
            text=True,
            timeout=bound(60),
            check=False,
        )

    listed = run("-c", "kernel_list --json")
    assert listed.returncode == 0, listed.stderr
    assert FILES.vmlinux in [kernel["name"] for kernel in json.loads(listed.stdout)]
    assert run("-c", "kernel_list --nosuch").returncode == 2
    stopped = run(str(script))
    assert stopped.returncode == 2 and stopped.stdout.count("hypershell ") == 1
    assert stopped.stderr.startswith(f"{script}:3: vm_console: unknown VM '99'")
    with prompt(remote, {**env, "TERM": "xterm"}) as child:
        child.send("version\r")
        child.expect("hg-vmm  ", bound(60))


def test_nothing_but_the_shell(far: tuple[Host, Workstation]) -> None:
    _, user = far
    for words in (["/bin/sh"], ["sh -c id"], ["-s", "sftp"], ["scp -t /root/x"]):
        done = user.run(*words)
        assert done.returncode == 2 and "unknown command" in done.stderr, words
    refused = user.run("-o", "ExitOnForwardFailure=yes", "-R", "7777:127.0.0.1:22", "version")
    assert refused.returncode == 255 and "forwarding" in refused.stderr
    port = free_port()
    argv = user.argv("-o", "LogLevel=INFO", "-N", "-L", f"{port}:127.0.0.1:22", "")
    forward = subprocess.Popen(argv[:-1], stderr=subprocess.PIPE, text=True)
    try:

        def banner() -> str | None:
            with contextlib.suppress(ConnectionRefusedError):
                return subprocess.run(
                    ["ssh-keyscan", "-T", "5", "-p", str(port), "127.0.0.1"],
                    capture_output=True,
                    text=True,
                    check=False,
                ).stderr
            return None

        assert "ssh-ed25519" not in wait("an answer", banner, 30)
    finally:
        forward.kill()
        said = forward.communicate()[1]
    assert "prohibited" in said or "open failed" in said, said


def test_tls_ends_in_the_host(far: tuple[Host, Workstation]) -> None:
    """hg-tls in its sandbox, before a server that answers with what it was sent."""
    host, user = far
    others = servers(host)
    serve = "import socket; s = socket.socket(socket.AF_UNIX); s.bind('/run/s'); s.listen()\n"
    serve += "while 1: c = s.accept()[0]; c.sendall(c.recv(99).upper()); c.close()"
    host.rescue.run(f"python3.11 -I -S -c {shlex.quote(serve)} >/dev/null 2>&1 & echo $! >/run/pid")
    host.rescue.run("until [ -S /run/s ]; do sleep 0.1; done", 30)
    files = "--connect /run/s --certificate /run/cert.pem --key /run/key.pem --make box"
    listen = f"hg-tls --listen {hosts.RELAY_PORT} {files}"
    host.rescue.run(f"{listen} >/run/said 2>&1 & echo $! >/run/tls")
    said = wait("hg-tls", lambda: host.rescue.run("cat /run/said"), 30)
    assert said.startswith(f"listening on [::]:{hosts.RELAY_PORT}, certificate SHA-256 "), said
    (user.folder / "cert.pem").write_text(host.rescue.run("cat /run/cert.pem"))
    context = ssl.create_default_context(cafile=str(user.folder / "cert.pem"))
    for _ in range(3):
        plain = socket.create_connection(("127.0.0.1", host.port), bound(30))
        with context.wrap_socket(plain, server_hostname="box") as client:
            client.sendall(b"hello")
            assert (client.recv(99), client.recv(99)) == (b"HELLO", b"")
    newest = max(servers(host) - others)
    status = host.rescue.run(f"cat /proc/{newest}/status")
    assert re.search(r"Seccomp:\s+2", status)
    host.rescue.run("kill $(cat /run/tls /run/pid)")
    wait("end of hg-tls", lambda: servers(host) == others, 30)


def test_keys_come_and_go(far: tuple[Host, Workstation]) -> None:
    host, user = far
    before = topic(host)
    assert user.run("version", key="kept").returncode == 255
    added = user.run("host_ssh add -", said=user.public("kept") + "\n")
    assert (added.returncode, added.stderr) == (0, "") and "ssh is on: port 22" in added.stdout
    assert user.run("version", key="kept").returncode == 0
    assert topic(host) == before.replace("1 key", "2 keys")
    refused = user.run("host_ssh rm mine", key="kept")
    assert refused.returncode == 2 and "of the kernel command line" in refused.stderr
    removed = user.run("host_ssh rm kept", key="kept")  # its own line is not cut
    assert (removed.returncode, removed.stderr) == (0, ""), removed.stderr
    assert user.run("version", key="kept").returncode == 255
    assert user.run("version").returncode == 0
    assert topic(host) == before


def test_who_has_the_token_does_what_the_shell_does(page: Page) -> None:
    status = page.host.rescue.run("grep ^web /run/hypergen/host.status").strip()
    told = page.told
    assert status.startswith("web\tok\tport 8443, SHA-256 " + str(told["fingerprint"]))
    assert told["token"] not in status
    served = ssl.get_server_certificate(("127.0.0.1", page.port), timeout=bound(30))
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(served)).hexdigest()
    assert told["fingerprint"].replace(":", "").lower() == digest
    kept = "/host/var/lib/hypergen/hypergen/web"
    modes = page.host.rescue.run(f"cd {kept} && stat -c '%a %n' . key.pem token").split()
    assert modes == ["700", ".", "600", "key.pem", "600", "token"]
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{page.url}/app.js", timeout=bound(30), context=page.context)

    made = page.verb("vm_create", kernel=FILES.vmlinux, image=FILES.busybox, name="web", net="none")
    assert made["name"] == "web"
    assert [one["state"] for one in page.verb("vm_list")] == ["running"]
    assert page.verb("vm_info", vm="nope")[0] == 400
    fields = {"Authorization": f"Bearer {told['token']}"}
    url = f"wss://127.0.0.1:{page.port}/api/v1/console/web"
    with connect(url, ssl=page.context, additional_headers=fields, compression=None) as console:
        seen = b""
        while b"login:" not in seen:
            message = console.recv(timeout=bound(120))
            seen += message if isinstance(message, bytes) else b""
        console.send(b"root\r")
        while b"root@busybox" not in seen:
            message = console.recv(timeout=bound(60))
            seen += message if isinstance(message, bytes) else b""
        console.send('{"size": [101, 33]}')
        console.send(b"stty size\r")
        while b"33 101" not in seen:
            message = console.recv(timeout=bound(60))
            seen += message if isinstance(message, bytes) else b""


@pytest.mark.skipif(browser.program() is None, reason="there is no chromium")
def test_a_browser_shows_the_console(page: Page) -> None:
    tab = browser.Browser()
    try:
        tab.open(page.url + "/")
        tab.text("Token")
        tab.run("document.querySelector('input').focus()")
        tab.type(str(page.told["token"]))
        tab.key("Enter")
        tab.until("document.getElementById('rows').innerText.includes('running')")
        tab.key("c")
        screen = (
            "(document.querySelector('.xterm-rows')?.innerText ?? '').replaceAll('\\u00a0', ' ')"
        )
        tab.until(f"{screen}.includes('root@busybox')")
        tab.type("echo $((6 * 7))")
        tab.key("Enter")
        tab.until(f"{screen}.includes('\\n42')")
        assert tab.errors == []
    finally:
        tab.close()


def test_it_goes_off_and_on_with_the_same_certificate(page: Page) -> None:
    page.host.command("host_web off")
    with pytest.raises(OSError):
        urllib.request.urlopen(f"{page.url}/login", timeout=bound(10), context=page.context)
    assert [one["state"] for one in page.host.vms()] == ["running"]  # VMs do not notice
    again = page.host.command("host_web on --json")
    assert json.loads(again)["fingerprint"] == page.told["fingerprint"]
    assert json.loads(again)["token"] == page.told["token"]
    page.host.rescue.run("kill -9 $(pidof hg-tls)")

    def back() -> bool:
        try:
            return bool(page.verb("version")["linux"])
        except OSError:
            return False

    wait("hg-tls again", back, 60)
    page.host.command("vm_destroy all")
