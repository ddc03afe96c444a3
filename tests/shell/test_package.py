# SPDX-License-Identifier: Apache-2.0
"""The shell installed by itself, used by somebody without rights on an ordinary Linux."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pexpect
import pytest

from hypergen import config
from tests.shell.conftest import HERE, SHELL, Host, scale

pytestmark = pytest.mark.slow

NOBODY = 65534
PIPX = Path(sys.executable).parent / "pipx"
OUTSIDE = ("prompt_toolkit", "wcwidth")


def as_user(argv: Sequence[str | Path]) -> bool:
    """Can somebody without rights run this?"""
    rights = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    try:
        return subprocess.run(argv, check=False, cwd="/", **rights).returncode == 0  # type: ignore[call-overload,no-any-return]
    except OSError:
        return False


class Machine:
    """An ordinary Linux: the shell in an environment of its own, a user, their files."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.wheel = self._build()
        self.shell = self._install()
        host = Host(base / "files")
        host.add_vmlinux("vmlinux-6.12")
        host.add_image("disk.img")
        self.kernels, self.images = host.kernels, host.images
        self.fake = base / "hg-vmm"
        shutil.copy(HERE / "fake_vmm.py", base / "fake_vmm.py")
        self.fake.write_text(f'#!/bin/sh\nexec {self.python} -I -S {base}/fake_vmm.py "$@"\n')
        self.fake.chmod(0o755)
        self.runtime, self.state = base / "runtime", base / "state"
        self.runtime.mkdir(mode=0o700)
        self.state.mkdir()
        if os.geteuid() == 0:
            for path in (self.runtime, self.state, self.images, *self.images.iterdir()):
                os.chown(path, NOBODY, NOBODY)
        self.env = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(base),
            "TERM": "linux",
            "XDG_RUNTIME_DIR": str(self.runtime),
            "XDG_STATE_HOME": str(self.state),
            "HYPERGEN_TIMEOUT_SCALE": str(scale()),
        }

    def _build(self) -> Path:
        source = self.base / "source"  # setuptools writes beside what it builds
        shutil.copytree(SHELL, source, ignore=shutil.ignore_patterns("__pycache__"))
        pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
        words = ["wheel", "--no-deps", "--no-build-isolation", "-w", str(self.base), str(source)]
        subprocess.run([*pip, *words], check=True)
        return next(self.base.glob("*.whl"))

    def _install(self) -> Path:
        candidates = (sys.executable, "/usr/bin/python3")
        python = next((one for one in candidates if as_user([one, "-c", ""])), None)
        if python is None:
            pytest.skip("there is no Python that a user without rights can run")
        self.venv = self.base / "venv"
        subprocess.run([python, "-m", "venv", "--without-pip", self.venv], check=True)
        self.python = self.venv / "bin/python"
        pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
        words = ["install", "--no-index", "--no-deps", str(self.wheel)]
        subprocess.run([*pip, "--python", str(self.python), *words], check=True)
        site = next(self.venv.glob("lib/python*/site-packages"))
        for name in OUTSIDE:  # pip would fetch them
            spec = importlib.util.find_spec(name)
            assert spec is not None and spec.origin is not None
            shutil.copytree(Path(spec.origin).parent, site / name)
        if (spec := importlib.util.find_spec("prompt_toolkit")) and spec.origin:
            for info in Path(spec.origin).parent.parent.glob("prompt_toolkit-*.dist-info"):
                shutil.copytree(info, site / info.name)  # newer ones look for their version
        return self.venv / "bin/hypershell"

    def argv(self, *words: str, vmm: Path | None = None) -> list[str]:
        where = ["--guest-kernel", str(self.kernels), "--guest-image", str(self.images)]
        return [str(self.shell), *where, "--vmm", str(vmm or self.fake), *words]

    def run(self, *words: str, vmm: Path | None = None) -> subprocess.CompletedProcess[str]:
        rights = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
        return subprocess.run(  # type: ignore[call-overload,no-any-return]
            self.argv(*words, vmm=vmm),
            env=self.env,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60 * scale(),
            check=False,
            **rights,
        )


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    base = Path(tempfile.mkdtemp(prefix="hgpkg"))
    base.chmod(0o755)
    (base / "files").mkdir()
    try:
        yield Machine(base)
    finally:
        for folder in (base / "runtime/hypergen/vm").glob("[0-9]*"):  # of a test that has failed
            if pid := Host.process_in(folder):
                os.kill(pid, 9)
        shutil.rmtree(base, ignore_errors=True)


def test_the_wheel_is_the_shell_and_says_what_it_needs(machine: Machine) -> None:
    with zipfile.ZipFile(machine.wheel) as wheel:
        names = wheel.namelist()
        metadata = wheel.read(next(n for n in names if n.endswith("METADATA"))).decode()
    packed = {name for name in names if name.endswith(".py")}
    assert packed == {str(path.relative_to(SHELL)) for path in SHELL.rglob("*.py")}
    for name in OUTSIDE:
        assert f"Requires-Dist: {name}" in metadata


def test_a_user_without_rights_makes_and_ends_a_vm(machine: Machine) -> None:
    made = machine.run("-c", "vm_create 1 1 --name mine -q")
    assert (made.returncode, made.stdout, made.stderr) == (0, "1\n", "")
    folder = machine.runtime / "hypergen/vm/1"
    argv = json.loads((folder / "argv").read_text())
    assert "tap=" not in " ".join(argv)  # a tap needs a right
    listed = json.loads(machine.run("-c", "vm_list --json").stdout)
    assert [(vm["name"], vm["state"]) for vm in listed] == [("mine", "running")]
    assert machine.run("-c", "vm_destroy mine").returncode == 0
    assert not folder.exists()


def test_definitions_are_in_the_users_home(machine: Machine) -> None:
    assert machine.run("-c", "vm_define later 1 1").returncode == 0
    assert list((machine.state / "hypergen").rglob("later.toml"))
    assert "later" in machine.run("-c", "definition_list").stdout


def test_what_only_a_host_can_do_is_refused(machine: Machine) -> None:
    done = machine.run("-c", "host_reboot --yes")
    assert done.returncode == 1 and "not a hyper-gen host" in done.stderr


def test_the_prompt(machine: Machine) -> None:
    def drop() -> None:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)

    argv = machine.argv()
    child = pexpect.spawn(
        argv[0], argv[1:], env=machine.env, cwd="/", encoding="utf-8", preexec_fn=drop
    )
    try:
        child.expect_exact("hyper-gen:# ", 30 * scale())
        child.send("image_list\r")
        child.expect_exact("disk.img", 30 * scale())
        child.send("exit\r")
        child.expect(pexpect.EOF, 30 * scale())
        assert "starts again" not in str(child.before)
    finally:
        child.close()
    assert child.exitstatus == 0


@pytest.mark.skipif(not PIPX.exists(), reason="no pipx")
def test_pipx_installs_it(tmp_path: Path) -> None:
    """``pipx install ./shell``, as docs/install.md says; the index gives the two dependencies."""
    source = tmp_path / "shell"  # setuptools writes beside what it builds
    shutil.copytree(SHELL, source, ignore=shutil.ignore_patterns("__pycache__"))
    env = {
        **{name: text for name, text in os.environ.items() if not name.startswith("PYTHON")},
        **{"HOME": str(tmp_path), "PIPX_HOME": str(tmp_path / "home")},
        **{"PIPX_BIN_DIR": str(tmp_path / "bin"), "PIPX_MAN_DIR": str(tmp_path / "man")},
    }

    def run(*argv: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(argv, env=env, cwd="/", capture_output=True, text=True, check=False)

    done = run(PIPX, "install", source)
    if done.returncode and "No matching distribution" in done.stdout + done.stderr:
        pytest.skip("the Python packages cannot be fetched here")
    assert done.returncode == 0, done.stderr
    told = run(tmp_path / "bin/hypershell", "-c", "version --json")
    assert (told.returncode, told.stderr) == (0, "")
    assert json.loads(told.stdout)["hypershell"]
    refused = run(tmp_path / "bin/hypershell", "--guest-image", "/none", "-c", "image_list")
    assert refused.returncode == 2 and "--guest-image /none: no such folder" in refused.stderr
    assert run(PIPX, "uninstall", "hypershell").returncode == 0
    assert not list((tmp_path / "bin").iterdir())


def test_without_kvm_the_real_vmm_says_so(machine: Machine) -> None:
    built = config.load().work / "vmm/hg-vmm"
    if not built.exists():
        pytest.skip("hg-vmm is not built; `make` does")
    if as_user([machine.python, "-c", "open('/dev/kvm', 'r+b', buffering=0)"]):
        pytest.skip("KVM can be used here")
    shutil.copy(built, machine.base / "real")
    (machine.base / "real").chmod(0o755)
    done = machine.run("-c", "vm_create 1 1", vmm=machine.base / "real")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "/dev/kvm" in done.stderr
    assert json.loads(machine.run("-c", "vm_list --json").stdout) == []
