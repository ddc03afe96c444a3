# SPDX-License-Identifier: Apache-2.0
"""Scripts, the program's own options, and another host by ssh."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path

import pytest
from hypershell import paths, remote
from hypershell.errors import UsageError

from tests.shell.conftest import Host, scale


def program(
    host: Host, *words: str, said: str = "", **env: str
) -> subprocess.CompletedProcess[str]:
    """The program itself, with arguments of its own."""
    return subprocess.run(
        [*host.argv, *words],
        env=host.env | env,
        input=said,
        capture_output=True,
        text=True,
        timeout=60 * scale(),
        check=False,
    )


def script(host: Host, text: str) -> str:
    path = host.base / "job.hg"
    path.write_text(text)
    return str(path)


def test_a_script_runs_its_lines(host: Host) -> None:
    path = script(
        host, "#!/usr/bin/hypershell\n\n  # a comment\nimage_list -q # another\nversion\n"
    )
    done = program(host, path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[:2] == ["1", "2"]
    assert host.ok(f"script {path}") == done.stdout


def test_a_script_stops_at_its_first_failure(host: Host) -> None:
    path = script(host, "image_list -q\nvm_console 9\nimage_list -q\n")
    done = program(host, path)
    assert (done.returncode, done.stdout) == (2, "1\n2\n")
    assert (
        done.stderr
        == f"{path}:2: vm_console: unknown VM '9': there are no VMs; vm_create makes one\n"
    )
    kept = program(host, "-k", path)
    assert (kept.returncode, kept.stdout, kept.stderr) == (2, "1\n2\n1\n2\n", done.stderr)


def test_keep_going_ends_with_the_first_failures_status(host: Host) -> None:
    path = script(host, "cat /no/such/file\nvm_console 9\n")
    done = program(host, "--keep-going", path)
    assert done.returncode == 1
    assert f"{path}:1: status 1: cat /no/such/file" in done.stderr
    assert f"{path}:2: vm_console:" in done.stderr


def test_scripts_in_scripts_say_both_places(host: Host) -> None:
    inner = host.base / "inner.hg"
    inner.write_text("version\nnosuch\n")
    path = script(host, f"version\n\nscript {inner}\n")
    done = program(host, path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"{path}:3: {inner}:2: unknown command 'nosuch'")
    assert done.stderr.count("\n") == 1


def test_a_scripts_name_cannot_upset_the_terminal(host: Host) -> None:
    path = host.base / "a\x1b[7mb.hg"
    path.write_text("nosuch\ncat /no/such/\x1b[7m\n")
    done = program(host, "-k", str(path))
    assert done.stderr.count(".hg:") == 2
    ours = [line for line in done.stderr.splitlines() if ".hg:" in line]
    assert "\x1b" not in "".join(ours)


def test_exit_ends_a_script_well(host: Host) -> None:
    path = script(host, "exit\nnosuch\n")
    assert program(host, path).returncode == 0


def test_a_script_of_stdin(host: Host) -> None:
    done = program(host, "-", said="image_list -q\nnosuch\nversion\n")
    assert (done.returncode, done.stdout) == (2, "1\n2\n")
    assert done.stderr.startswith("stdin:2: unknown command")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["nosuch.hg"], "no script nosuch.hg; 'hypershell --help' explains"),
        (["vm_list"], "for the command type: hypershell -c vm_list"),
        (["-c", "version", "/etc/hosts"], "a command and a script (/etc/hosts) at once"),
        (["-k"], "--keep-going is for a script"),
        (["/"], "/: Is a directory"),
        (["--guest-kernel", "/no/such"], "--guest-kernel /no/such: no such folder"),
        (["--host", "-oProxyCommand=x", "-c", "version"], "expected one argument"),
        (["--host=-oProxyCommand=x", "-c", "version"], "type a host, USER@HOST or ssh://"),
        (["--host", "a b", "-c", "version"], "type a host, USER@HOST or ssh://"),
        (["--host", "a", "nosuch.hg"], "no script nosuch.hg"),
    ],
)
def test_wrong_words_for_the_program(host: Host, words: list[str], part: str) -> None:
    done = program(host, *words)
    assert done.returncode == 2
    assert part in done.stderr and done.stderr.count("\n") == 1


def test_a_file_that_is_no_script(host: Host) -> None:
    path = host.base / "binary"
    path.write_bytes(b"\x7fELF\xff\xfe")
    assert "not a text of commands" in program(host, str(path)).stderr


def test_options_say_where_things_are(host: Host) -> None:
    for variable in [name for name in host.env if name.startswith("HYPERGEN_")]:
        if variable != "HYPERGEN_TIMEOUT_SCALE":
            del host.env[variable]
    where = [
        *("--guest-kernel", str(host.kernels), "--guest-image", str(host.images)),
        *("--run-dir", str(host.run_dir), "--vmm", str(host.base / "hg-vmm")),
        *("--state-dir", str(host.base / "state")),
    ]
    made = program(host, *where, "-c", "vm_create 1 1 --net none -q")
    assert (made.returncode, made.stdout) == (0, "1\n"), made.stderr
    assert host.vmm_pid(1)
    assert program(host, *where, "-c", "vm_define later 1 2").returncode == 0
    assert list((host.base / "state").rglob("later*"))
    assert program(host, *where, "-c", "vm_destroy 1").returncode == 0


def test_passt_where_there_is_no_bridge(host: Host) -> None:
    assert "no program passt" in host.fails("vm_create 1 1 --net passt", 1, {"PATH": "/nowhere"})
    tools = host.base / "tools"
    tools.mkdir()
    (tools / "passt").write_text("#!/bin/sh\n")
    (tools / "passt").chmod(0o755)
    host.ok("vm_create 1 1 --net passt", {"PATH": f"{tools}:{host.env['PATH']}"})
    argv = json.loads((host.run_dir / "vm/1/argv").read_text())
    assert argv[argv.index("--net") + 1] == "passt"


def test_folders_of_a_user_and_of_root(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HYPERGEN_RUN", "HYPERGEN_STATE", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HYPERGEN_IMAGES", "/srv/images")
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert (paths.run_dir(), paths.state_dir()) == ("/run/hypergen", "/srv/hypergen")
    monkeypatch.setattr(os, "geteuid", lambda: 424242)
    assert paths.run_dir() == "/home/me/.cache/hypergen"
    assert paths.state_dir() == "/home/me/.local/state/hypergen"
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/424242")
    monkeypatch.setenv("XDG_STATE_HOME", "relative")  # to be ignored, says the specification
    assert paths.run_dir() == "/run/user/424242/hypergen"
    assert paths.state_dir() == "/home/me/.local/state/hypergen"


FAKE_SSH = """#!/bin/sh
printf '%s\\n' "$@" >"$SSH_SEEN"
[ -z "$SSH_INPUT" ] || cat >"$SSH_INPUT"
echo over there
exit ${SSH_EXIT-0}
"""


@pytest.fixture
def ssh(host: Host) -> Path:
    """A fake ssh on PATH; the file that its words end in."""
    tools, seen = host.base / "tools", host.base / "seen"
    tools.mkdir()
    (tools / "ssh").write_text(FAKE_SSH)
    (tools / "ssh").chmod(0o755)
    host.env |= {"PATH": f"{tools}:{host.env['PATH']}", "SSH_SEEN": str(seen)}
    return seen


def test_a_command_on_another_host(host: Host, ssh: Path) -> None:
    done = program(host, "--host", "there", "-c", "vm_create 'my kernel' 1; x", SSH_EXIT="2")
    assert (done.returncode, done.stdout, done.stderr) == (2, "over there\n", "")
    words = ssh.read_text().splitlines()
    assert words[-3:] == ["--", "there", "vm_create 'my kernel' 1; x"]
    assert "BatchMode=yes" in words and "-T" in words
    assert words[words.index("-l") + 1] == "root"
    program(host, "--host", "me@there", "-c", "version")
    assert "-l" not in ssh.read_text().splitlines()


def test_an_empty_command_starts_no_shell_there(host: Host, ssh: Path) -> None:
    assert program(host, "--host", "there", "-c", " ").returncode == 0
    assert not ssh.exists()


def test_a_script_on_another_host(host: Host, ssh: Path) -> None:
    path, got = script(host, "version\n"), host.base / "got"
    done = program(host, "-k", "--host", "there", path, SSH_INPUT=str(got))
    assert done.returncode == 0
    assert ssh.read_text().splitlines()[-1] == f"script - --called {path} -k"
    assert got.read_text() == "version\n"


def test_lines_on_another_host(host: Host, ssh: Path) -> None:
    got = host.base / "got"
    program(host, "--host", "there", said="version\n", SSH_INPUT=str(got))
    assert ssh.read_text().splitlines()[-2:] == ["--", "there"]
    assert got.read_text() == "version\n"


def test_a_session_that_cannot_be_had(host: Host, ssh: Path) -> None:
    done = program(host, "--host", "there", "-c", "version", SSH_EXIT="255")
    assert done.returncode == 1
    assert done.stderr == "hypershell: no session with there, or it was cut; ssh has said why\n"
    (host.base / "tools/ssh").unlink()
    done = program(host, "--host", "there", "-c", "version", PATH=str(host.base / "tools"))
    assert (done.returncode, done.stderr) == (
        1,
        "hypershell: --host needs ssh: install openssh-client\n",
    )


def test_the_prompt_of_another_host_has_a_terminal() -> None:
    argv = remote.argv("there", None, True)
    assert "-t" in argv and "BatchMode=yes" not in argv and argv[-2:] == ["--", "there"]
    for wrong in ("", "-v", "a\nb"):
        with pytest.raises(UsageError):
            remote.argv(wrong, None, True)


def test_a_debugger_on_the_standard_streams(host: Host) -> None:
    """Against a stub of our own: the control connection becomes the debugger's."""
    folder = host.run_dir / "vm/1"
    host.ok("vm_create 1 1 --net none")
    os.kill(host.vmm_pid(1), 9)
    (folder / "control.sock").unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "control.sock"))
        listener.listen(8)
        child = subprocess.Popen(
            [*host.argv, "-c", "vm_debug 1 --stdio"],
            env=host.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert child.stdin is not None and child.stdout is not None
        try:
            talk(listener)
            child.stdin.write(b"$?#3f")
            child.stdin.flush()
            assert child.stdout.read(6) == b"+$S05#"
            child.stdin.close()
            assert child.wait(30 * scale()) == 0
        finally:
            child.kill()
            child.stdout.close()


def talk(listener: socket.socket) -> None:
    """Be a VM whose debugger stub answers one packet."""
    import threading

    def serve(client: socket.socket) -> None:
        with client:
            client.sendall(b'{"QMP": {"version": {}, "capabilities": []}}\r\n')
            buffer = b""
            while data := client.recv(4096):
                buffer += data
                *lines, buffer = buffer.split(b"\n")
                for line in lines:
                    request = json.loads(line)
                    result: object = {}
                    if request["execute"] == "query-status":
                        result = {"status": "running", "running": True}
                    reply = {"return": result, "id": request.get("id")}
                    client.sendall(json.dumps(reply).encode() + b"\r\n")
                if buffer.startswith(b"$"):
                    client.sendall(b"+$S05#b8")
                    buffer = b""

    def accept() -> None:
        try:
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
        except OSError:
            return

    threading.Thread(target=accept, daemon=True).start()
