# SPDX-License-Identifier: Apache-2.0
"""What the shell says when something is wrong: each message stands in a test, most in others."""

from __future__ import annotations

import ast
import gzip
import os
import re
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypershell import app, isles, lifecycle, qcow2, start, vm
from hypershell.commands import definitions, host_log, host_power, vm_console, vm_debug
from hypershell.errors import ShellError, UsageError
from hypershell.web import keeper

from tests.shell.conftest import SHELL, Host

Says = Callable[..., str]


@pytest.fixture
def says(
    host: Host, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Says]:
    """Run a line inside this process that must fail with a status; what stands on stderr."""
    for name, value in host.env.items():
        if name not in ("PATH", "PYTHONPATH"):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("HYPERGEN_TIMEOUT_SCALE", "0.2")

    def call(line: str, code: int = 2) -> str:
        capfd.readouterr()
        assert app.run_line(line, False) == code, (line, capfd.readouterr().err)
        said = capfd.readouterr().err
        assert said.count("\n") == 1, said
        return said

    yield call
    app.run_line("vm_destroy all", False)


def _unsay(name: str) -> Callable[..., None]:
    """A function that fails as the kernel does."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(1, name)

    return fail


def test_kernels_and_images_that_are_none(host: Host, says: Says) -> None:
    (host.kernels / "nothing").write_bytes(b"")
    (host.images / "nothing.img").write_bytes(b"")
    (host.images / "packed.qcow2").write_bytes(b"QFI\xfb" + bytes(508))
    assert "is empty; copy it again" in says("vm_create nothing busybox")
    assert "has zero length; copy it again" in says("vm_create vmlinux nothing")
    assert "is qcow2, not raw; 'qemu-img convert -O raw'" in says("vm_create vmlinux packed")
    (host.base / "zero").write_bytes(b"")
    (host.base / "a.img.gz").write_bytes(gzip.compress(b""))
    assert "zero is empty" in says(f"image_import {host.base}/zero")
    assert "a.img.gz is empty" in says(f"image_import {host.base}/a.img.gz")
    (host.base / "a.img.zst").write_bytes(b"\x28\xb5\x2f\xfd" + bytes(600))
    packed = f"image_import {host.base}/a.img.zst"
    assert "is zstd-compressed; unpack it with zstd -d first" in says(packed)


def test_qcow2_that_cannot_be_read(tmp_path: Path) -> None:
    head = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", 2, 0, 0, 16, 1 << 20, 1, 1, 65536, 0, 0, 0, 0)
    (tmp_path / "locked").write_bytes(head + bytes(1024))
    with (tmp_path / "locked").open("rb") as file, pytest.raises(UsageError, match="is encrypted"):
        qcow2.Qcow2(file.fileno())


def test_figures_that_are_none(says: Says) -> None:
    app.run_line("vm_create 1 1 --name web -q", False)
    said = says("vm_stop web --timeout soon")
    assert "--timeout 'soon': type seconds, or for example 90s, 5m or 1h" in said
    assert "--port many: a TCP port, 1 to 65535" in says("vm_debug web --port many")
    assert "web) is running, not paused, after 0.1" in says(
        "vm_wait web --for paused --timeout 0.1", 1
    )
    said = says("isle_create 1 --cpus 1-600")
    assert "--cpus 1-600: an isle has at most 64 CPUs" in said


def test_definitions_that_are_none(host: Host, says: Says, monkeypatch: pytest.MonkeyPatch) -> None:
    (host.base / "bad.toml").write_text("kernel = ")
    assert "bad.toml: no TOML: " in says(f"vm_define web --file {host.base}/bad.toml")
    app.run_line("vm_define web 1 1", False)
    said = says("vm_define web 1 1")
    assert "web is defined already; vm_edit changes it, --replace replaces it" in said
    assert "an editor needs a terminal; vm_define NAME --replace" in says("vm_edit web")
    monkeypatch.setattr(definitions.os, "isatty", lambda _: True)  # type: ignore[attr-defined]
    monkeypatch.setenv("VISUAL", "/no/such/editor")
    assert "no editor: No such file or directory; EDITOR names one" in says("vm_edit web", 1)
    next(host.base.rglob("web.toml")).write_text("kernel = ")
    said = says("definition_show web")
    assert "definition web: no TOML: " in said and "vm_edit web mends it" in said
    monkeypatch.setenv("HYPERGEN_STATE", str(host.base / "bad.toml"))
    assert "Not a directory; HYPERGEN_STATE names it" in says("vm_define other 1 1", 1)


def test_vms_that_are_not_as_they_should_be(
    host: Host, says: Says, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert app.run_line("vm_create 1 1 --name web -q", False) == 0
    one = vm.pick("web")
    with monkeypatch.context() as patch:
        patch.setattr(vm_console.os, "isatty", lambda _: True)  # type: ignore[attr-defined]
        patch.setattr(vm_console.console, "attach", _unsay("Connection refused"))  # type: ignore[attr-defined]
        assert "web): no console: Connection refused" in says("vm_console web", 1)
    with monkeypatch.context() as patch:
        patch.setattr(vm_debug.select, "poll", _Deaf)  # type: ignore[attr-defined]
        said = says("vm_debug web --stdio", 1)
        assert "web) does not answer; vm_list shows how it is" in said
    os.kill(host.vmm_pid(one.id), 19)  # SIGSTOP
    try:
        with pytest.raises(ShellError, match="does not answer; vm_kill 1 ends it"):
            lifecycle.tell(one, "stop")
    finally:
        os.kill(host.vmm_pid(one.id), 18)
    app.run_line("vm_kill web", False)
    (host.images / "busybox.img").rename(host.images / "moved.img")
    assert "its image " in (said := says("vm_start web")) and "busybox.img is gone" in said
    with monkeypatch.context() as patch:
        patch.setattr("hypershell.catalog.write_json", _unsay("No space left on device"))
        assert "cannot write " in (said := says("vm_create 1 2", 1))
        assert "No space left on device" in said


class _Deaf:
    """A poll object to which nothing is ever said."""

    def register(self, *_: object) -> None:
        pass

    def poll(self, _: object = None) -> list[object]:
        return []


def test_a_vmm_that_says_nothing(host: Host, says: Says) -> None:
    vmm = Path(host.env["HYPERGEN_VMM"])
    vmm.write_text("#!/bin/sh\nexec sleep 1000\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(start, "START_TIMEOUT", 0.5)
        assert "said nothing for too long and was ended" in says("vm_create 1 1", 1)
    vmm.write_text("#!/bin/sh\necho hg-vmm: no cgroup >&2\nexit 1\n")
    with pytest.raises(ShellError, match="CPUs of dead isles are not given back: no cgroup"):
        isles.sweep()


def test_the_host_itself(says: Says, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(host_power, "MARK", str(tmp_path))
        patch.setattr(host_power.os, "kill", _unsay("Operation not permitted"))  # type: ignore[attr-defined]
        assert "cannot signal PID 1: Operation not permitted" in says("host_reboot", 1)
    with monkeypatch.context() as patch:
        patch.setattr(host_log.os, "open", _unsay("Operation not permitted"))  # type: ignore[attr-defined]
        assert "only root may read the kernel's messages here" in says("host_log", 1)


def test_a_web_server_that_will_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HYPERGEN_TIMEOUT_SCALE", "0.1")
    monkeypatch.setattr(keeper, "START_TIMEOUT", 1.0)
    with (
        subprocess.Popen(["sleep", "60"], stdout=subprocess.PIPE) as silent,
        pytest.raises(ShellError, match="hg-tls says nothing"),
    ):
        try:
            keeper._hear(silent, str(tmp_path / "log"))
        finally:
            silent.kill()
    (tmp_path / "log").write_text("hg-tls: key.pem is not the key of certificate.pem\n")
    with (
        subprocess.Popen(["true"], stdout=subprocess.PIPE) as ended,
        pytest.raises(ShellError, match=r"hg-tls: key\.pem is not the key"),
    ):
        keeper._hear(ended, str(tmp_path / "log"))
    monkeypatch.setattr(keeper, "STOP_TIMEOUT", 0.5)
    monkeypatch.setattr(keeper, "state", lambda: {"pid": 4194300})
    monkeypatch.setattr(keeper, "is_on", lambda: True)
    with pytest.raises(ShellError, match=r"does not end; kill 4194300 does it by force"):
        keeper.switch_off()


# --- none is forgotten ---


def _texts(node: ast.expr) -> list[str]:
    """The literal parts of a message."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, ast.JoinedStr):
        return [text for part in node.values for text in _texts(part)]
    if isinstance(node, ast.BinOp):
        return _texts(node.left) + _texts(node.right)
    if isinstance(node, ast.IfExp):
        return _texts(node.body) + _texts(node.orelse)
    return []


def _words(text: str) -> list[str]:
    return re.findall(r"[\w-]+", text)


def _spoken_of(text: str, tests: str) -> bool:
    words = _words(text)
    runs = [words[i : i + size] for size in (2, 3) for i in range(len(words) - size + 1)]
    said = (" ".join(run) for run in runs if len(run) == 3 or sum(map(len, run)) > 5)
    return any(f" {run} " in tests for run in said)


def test_every_message_stands_in_a_test() -> None:
    """Two words of it in a row, so this is no proof; but a new one without a test shows."""
    here = Path(__file__).resolve().parents[1]
    # Without marks and quotes, as a string may go on in the next line.
    tests = " ".join(" ".join(_words(path.read_text("utf-8"))) for path in here.rglob("*.py"))
    missing = []
    for path in sorted((SHELL / "hypershell").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if node.func.id not in ("UsageError", "ShellError") or not node.args:
                continue
            texts = [text for text in _texts(node.args[0]) if len(_words(text)) > 1]
            if texts and not any(_spoken_of(text, tests) for text in texts):
                missing.append(f"{path.name}:{node.lineno}: {' … '.join(texts)}")
    assert not missing, "no test speaks of:\n" + "\n".join(missing)
