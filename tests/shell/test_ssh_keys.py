# SPDX-License-Identifier: Apache-2.0
"""host_ssh: what is a key, who is let in, and that the host's server hears of it."""

from __future__ import annotations

import base64
import io
import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypershell import app, paths, sshkeys, storage
from hypershell.commands import host_ssh
from hypershell.errors import ShellError, UsageError

from tests.shell.test_schema import check


def key(name: str, type_: str = "ssh-ed25519", body: bytes = b"") -> str:
    """A line of a .pub file; another key for another name."""
    parts = (type_.encode(), body or name.encode().ljust(32, b"."))
    blob = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return f"{type_} {base64.b64encode(blob).decode()} {name}"


ME, YOU, ROBOT = key("me@desk"), key("you"), f'command="vm_list a b",no-pty {key("robot")}'

Run = Callable[[str], int]


class Far:
    """A hyper-gen host's state folder, and an rc that says what a good server says."""

    def __init__(self, base: Path) -> None:
        self.state, self.run, self.effective = base / "state", base / "run", base / "effective"
        self.run.mkdir()
        self.calls, self.rc = base / "calls", base / "rc"
        self.file = self.state / "authorized_keys"
        self.says("ok\\tport 22, SHA256:abc")

    def says(self, what: str, code: int = 0) -> None:
        """What comes of ``rc ssh``: state and message, an exit status."""
        self.rc.write_text(
            f"#!/bin/sh\necho \"$*\" >>{self.calls}\nprintf 'ssh\\t{what}\\n' "
            f">{self.run}/host.status\nexit {code}\n"
        )
        self.rc.chmod(0o755)

    def called(self) -> int:
        return self.calls.read_text().count("ssh\n") if self.calls.exists() else 0

    def kept(self) -> list[str]:
        return self.file.read_text().splitlines()


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Far:
    made = Far(tmp_path)
    monkeypatch.setenv("HYPERGEN_STATE", str(made.state))
    monkeypatch.setenv("HYPERGEN_RUN", str(made.run))
    monkeypatch.setenv("HYPERGEN_TIMEOUT_SCALE", "0.1")
    monkeypatch.setattr(paths, "on_host", lambda: True)
    monkeypatch.setattr(host_ssh, "RC", str(made.rc))
    monkeypatch.setattr(sshkeys, "EFFECTIVE", str(made.effective))
    return made


def run(line: str) -> int:
    return app.run_line(line, False)


# --- keys ---


def test_keys_are_read_with_their_options_and_names() -> None:
    for type_ in sshkeys.TYPES:
        found = sshkeys.parse(f"  {key('a b', type_)}\r\n")
        assert (found.type, found.name) == (type_, "a b")
    robot = sshkeys.parse(ROBOT)
    assert (robot.type, robot.name, robot.line) == ("ssh-ed25519", "robot", ROBOT)
    assert sshkeys.parse(ME.rsplit(" ", 1)[0]).name == ""


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="no ssh-keygen")
@pytest.mark.parametrize("words", [("ed25519",), ("rsa", "-b", "2048"), ("ecdsa", "-b", "384")])
def test_fingerprints_are_those_of_openssh(tmp_path: Path, words: tuple[str, ...]) -> None:
    file = tmp_path / "id"
    new = ["ssh-keygen", "-q", "-N", "", "-C", "x", "-f", str(file), "-t", *words]
    subprocess.run(new, check=True)
    public = file.with_suffix(".pub")
    shown = subprocess.check_output(["ssh-keygen", "-l", "-f", str(public)], text=True)
    assert sshkeys.parse(public.read_text()).fingerprint == shown.split()[1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("-----BEGIN OPENSSH PRIVATE KEY-----", "that is a private key"),
        ("---- BEGIN SSH2 PUBLIC KEY ----", "ssh-keygen -i -f FILE"),
        ("hello", "'hello' is no public key; one is as: ssh-ed25519 AAAA"),
        ("ssh-dss AAAAB3NzaC1kc3M= old", "is no public key"),
        ("ssh-ed25519", "is no public key"),
        (f"{ME}\x1b[2J", "is no public key"),
        (ME.replace("AAAA", "AAA!", 1), "is damaged, or only a part"),
        (ME.split()[0] + " " + ME.split()[1][:-8], "is damaged, or only a part"),
        ("ssh-rsa " + ME.split()[1], "is damaged, or only a part"),
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5", "is damaged, or only a part"),
    ],
)
def test_what_is_no_key_is_said(text: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        sshkeys.parse(text)
    assert said in str(error.value)


# --- the verb ---


def test_keys_are_added_listed_and_removed(
    far: Far, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("host_ssh") == 0
    assert "has not said anything" in capfd.readouterr().out
    assert run(f"host_ssh add {ME}") == 0
    said = capfd.readouterr().out
    assert "me@desk SHA256:" in said and "added" in said
    assert "ssh is on: port 22, SHA256:abc" in said and "note: for this boot only" in said
    assert far.kept() == [ME] and far.file.stat().st_mode & 0o777 == 0o600
    file = tmp_path / "several.pub"
    file.write_text(f"# of the house\n\n{YOU}\n{ROBOT}\n{ME}\n")
    assert run(f"host_ssh add {file}") == 0
    assert "me@desk" in (said := capfd.readouterr().out) and "is let in already" in said
    assert far.kept() == [ME, YOU, ROBOT] and far.called() == 2
    monkeypatch.setattr("sys.stdin", io.StringIO(key("piped") + "\n"))
    assert run("host_ssh add -") == 0
    assert run(f"host_ssh add '{YOU}'") == 0  # nothing new: the server goes on as it is
    assert far.called() == 3
    far.effective.write_text("no-pty " + "\nno-pty ".join([ME, key("boot")]) + "\n")
    capfd.readouterr()
    assert run("host_ssh") == 0
    rows = capfd.readouterr().out.splitlines()
    assert rows[0].startswith("ok: port 22") and rows[1].split() == [
        "NAME",
        "TYPE",
        "FINGERPRINT",
        "FROM",
    ]
    names = [row.split()[0] for row in rows[2:]]
    assert names == ["me@desk", "you", "robot", "piped", "boot"]
    assert rows[-1].endswith("kernel command line") and rows[2].endswith("host_ssh")
    assert run("host_ssh list --json") == 0
    value = check("host_ssh", capfd.readouterr().out)
    assert isinstance(value, dict) and len(value["keys"]) == 5
    assert run("host_ssh -q") == 0
    prints = capfd.readouterr().out.split()
    assert prints == [one["fingerprint"] for one in value["keys"]]
    assert run("host_ssh --format json") == 0
    assert json.loads(capfd.readouterr().out) == value
    assert run("host_ssh --format csv") == 0
    assert capfd.readouterr().out.splitlines()[0] == "name,type,fingerprint,from"
    far.file.write_text(far.file.read_text() + "# kept\nstray\n")
    assert run(f"host_ssh rm rob {prints[1][:20]}") == 0
    assert "robot SHA256:" in (said := capfd.readouterr().out) and "who is in stays in" in said
    assert far.kept() == [ME, key("piped"), "# kept", "stray"]


def test_what_is_refused(far: Far, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def fails(line: str, code: int = 2) -> str:
        capfd.readouterr()
        assert run(line) == code, line
        said = capfd.readouterr().err
        assert said.startswith("host_ssh: ") and said.count("\n") == 1
        return said

    (tmp_path / "empty").write_text("# nothing\n")
    (tmp_path / "id").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nx\n")
    assert "add what?" in fails("host_ssh add")
    assert "no such file, and no key either" in fails("host_ssh add nosuch.pub")
    assert "the key itself is missing" in fails("host_ssh add ssh-ed25519")
    assert "there is no key in it" in fails(f"host_ssh add {tmp_path}/empty")
    assert "private key" in fails(f"host_ssh add {tmp_path}/id")
    assert "is damaged" in fails(f"host_ssh add {ME[:40]}= me")
    assert "remove which?" in fails("host_ssh rm")
    assert "unknown key 'me': no key is let in" in fails("host_ssh rm me")
    assert "to do what with it?" in fails("host_ssh list me")
    assert "what 'ad': type list, add or rm" in fails("host_ssh ad")
    assert not far.file.exists() and far.called() == 0
    run(f"host_ssh add {ME}")
    assert "unknown key 'him'; there are me@desk" in fails("host_ssh rm him")
    assert "the last key, and the end of SSH: add --yes" in fails("host_ssh rm me@desk")
    far.effective.write_text(key("boot") + "\n")
    assert "is of the kernel command line: take hypergen.ssh= out" in fails("host_ssh rm boot")
    assert far.kept() == [ME]
    far.effective.unlink()
    far.says("none\\tno key")
    assert run("host_ssh rm me@desk --yes") == 0
    assert "ssh is off: no key" in capfd.readouterr().out and far.kept() == []


def test_a_server_that_does_not_start_is_said(
    far: Far, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    far.says("failed\\tthe server has ended (status 1)")
    assert run(f"host_ssh add {ME}") == 1
    assert "kept, but the server is not up: the server has ended" in capfd.readouterr().err
    far.says("waiting\\tthe keys are read")
    monkeypatch.setattr(host_ssh, "_WAIT", 2.0)
    assert run(f"host_ssh add {YOU}") == 1
    assert "not up: the keys are read" in capfd.readouterr().err
    assert far.kept() == [ME, YOU]
    far.says("ok\\tport 22", code=3)
    assert run(f"host_ssh add {shlex.quote(ROBOT)}") == 1
    assert "ssh ended with 3; the next start reads the keys" in capfd.readouterr().err
    monkeypatch.setattr(host_ssh, "RC", "/no/rc")
    assert run(f"host_ssh add {key('x')}") == 1
    assert "/no/rc: No such file" in capfd.readouterr().err
    monkeypatch.setattr(paths, "on_host", lambda: False)
    assert run(f"host_ssh add {key('y')}") == 1
    assert "this is not a hyper-gen host" in capfd.readouterr().err
    far.effective.write_text(ME + "\n")  # somebody else's
    assert run("host_ssh --json") == 0
    value = check("host_ssh", capfd.readouterr().out)
    assert isinstance(value, dict) and (value["state"], value["keys"]) == ("none", [])


def test_a_power_cut_leaves_the_old_keys_or_the_new(
    far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the writing stops, the file is one of the two."""
    sshkeys.write([ME])

    def cut(*_: object) -> None:
        raise OSError(5, "Input/output error")

    for place, name in ((os, "fsync"), (os, "rename")):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, cut)
            with pytest.raises(ShellError, match="authorized_keys: Input/output error"):
                sshkeys.write([ME, YOU])
        assert far.kept() == [ME]
        assert [path.name for path in far.state.iterdir()] == ["authorized_keys"]
    with monkeypatch.context() as patch:
        patch.setattr(storage, "sync_folder", cut)
        with pytest.raises(ShellError):
            sshkeys.write([ME, YOU])
    assert far.kept() == [ME, YOU]
    far.file.unlink()
    far.file.mkdir()
    with pytest.raises(ShellError, match="Is a directory"):
        sshkeys.read(str(far.file))
