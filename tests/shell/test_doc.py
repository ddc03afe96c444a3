# SPDX-License-Identifier: Apache-2.0
"""docs/shell.md is what the commands declare, and its examples work."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable, Iterator

import pytest
from hypershell import app
from hypershell.args import parse
from hypershell.commands import ALIASES, COMMANDS, load
from hypershell.spec import HELP

from tests.shell import doc
from tests.shell.conftest import Host
from tests.shell.test_storage import CLUSTER, make_qcow2
from tests.shell.test_unikernels import HELLO

ONLY_PARSED = {
    "vm_console": "needs a terminal: test_interactive.py",
    "vm_debug": "waits for a debugger: test_remote.py, and tests/nested/test_gdb.py",
    "vm_events": "goes on for ever; test_schema.py has the one that ends",
    "vm_log web -f -t": "goes on for ever",
    "vm_edit": "needs a terminal: test_definitions.py",
    "vm_top": "live",
    "host_top": "live",
    "host_log": "the kernel's log is this machine's",
    "host_log -f": "goes on for ever",
    "host_log --level warning": "the kernel's log is this machine's",
    "host_ssh": "refused here: test_ssh_keys.py",
    "host_reboot --yes": "refused here: test_commands.py",
    "host_shutdown": "refused here: test_commands.py",
    "host_web": "serves this machine's network: test_web.py",
    "image_import http://mirror/debian.img.xz --name web.img": "the network",
    "image_import - --name a.img": "reads its input: test_storage.py",
    "kernel_import http://mirror/vmlinux-6.12": "the network",
    "net_info br0": "there may be no such bridge",
    "vm_set": "asks hg-vmm for limits that the fake has not: test_verbs.py",
    "watch vm_list": "live",
    "watch --every 1 net_info hg1": "live",
    "exit": "",
}
"""A command or a line of its examples → why it is not run here."""

STATUS = {
    "vm_log web --vmm": 1,  # the fake writes no log
    "vm_log web -n all --grep error": 1,  # nothing found
    "image_verify debian.img --sha256 9f86d0…": 1,  # another one
}

SETUP = {
    "vm_create": [],
    "vm_destroy": ["vm_create bz busybox --name db"],
    "vm_start": ["vm_kill web"],
    "vm_resume": ["vm_pause web"],
    "vm_wait web": ["vm_kill web"],
    "vm_rename": ["vm_rename web vm1"],
    "vm_restore": ["vm_snapshot web before-upgrade"],
    "vm_restore w --count 9": ["vm_snapshot web w", "vm_destroy web"],
    "snapshot_rm": ["vm_snapshot web before-upgrade"],
    "vm_define": ["vm_destroy web"],
    "vm_undefine": ["vm_destroy web", "vm_define web 1 1"],
    "vm_autostart": ["vm_destroy web", "vm_define web 1 1"],
    "definition_show": ["vm_destroy web", "vm_define web 1 1"],
    "isle_create": ["vm_destroy web"],
    "isle_destroy": ["vm_destroy web", "isle_create hello --cpus 1 --isle 1"],
    "image_clone": ["vm_destroy web", "image_rm web.img"],
    "image_resize": ["vm_destroy web"],
    "image_import /media/usb/debian.qcow2": ["vm_destroy web", "image_rm debian.img"],
}
"""What is to be there besides a running VM ``web``, by command or line."""


def _files(host: Host) -> None:
    """What examples speak of."""
    for name in ("srv", "media/usb", "root", "run/hypergen/guest_image"):
        (host.base / name).mkdir(parents=True)
    (host.kernels / "hello").write_bytes(HELLO)
    (host.kernels / "vmlinux-old").unlink(missing_ok=True)
    (host.base / "srv/app").write_bytes(HELLO)
    (host.base / "srv/morning.hg").write_text("version\n")
    (host.base / "srv/clean.hg").write_text("version # all of it\n")
    (host.base / "web.toml").write_text('kernel = "vmlinux"\nimage = "debian"\n')
    make_qcow2(host.base / "media/usb/debian.qcow2", 2 * CLUSTER, {1: b"one"})


def _here(line: str, host: Host) -> str:
    """The line with this host's places in place of a real one's."""
    for place in ("/host/srv", "/media/usb", "/root", "/run/hypergen/guest_image"):
        line = line.replace(f" {place}", f" {host.base}/{place.removeprefix('/host/').lstrip('/')}")
    return line


@pytest.fixture
def quiet(host: Host, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], int]]:
    """Run a line inside this process, which is quicker than a shell for each."""
    for name, value in host.env.items():
        if name not in ("PATH", "PYTHONPATH"):
            monkeypatch.setenv(name, value)
    for name, value in (("FAKE_EXIT", "0"), ("EDITOR", "true"), ("HERMIT_ISLE", "")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.chdir(host.base)
    _files(host)
    yield lambda line: app.run_line(line, False)


@pytest.mark.parametrize("name", [name for name in COMMANDS if load(name).examples])
def test_examples_work(
    host: Host, quiet: Callable[[str], int], name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    for line, _ in load(name).examples:
        if name == line.split()[0] and (name in ONLY_PARSED or line in ONLY_PARSED):
            continue
        quiet("vm_destroy all")
        quiet("isle_destroy all")
        (host.run_dir / "catalog.json").unlink(missing_ok=True)  # VM 1 is 1 again
        assert quiet("vm_create vmlinux debian --name web") == 0 or name == "image_import"
        if name in ("vm_create", "kernel_rm"):
            quiet("vm_destroy all")
        if name == "kernel_rm":
            host.add_vmlinux("vmlinux-old")
        if name == "image_rm":
            host.add_image("old.img")
        for before in SETUP.get(line, SETUP.get(name, [])):
            quiet(before)
        told = _here(line, host)
        with subprocess.Popen(["sleep", "60"]) as sleeper:
            told = told.replace(" 123", f" {sleeper.pid}")
            capfd.readouterr()
            code = quiet(told)
            sleeper.kill()
        output = capfd.readouterr()
        assert code == STATUS.get(line, 0), (line, output.out, output.err)
    quiet("vm_destroy all")


@pytest.mark.parametrize(("name", "line"), doc.examples())
def test_examples_are_lines_of_the_shell(name: str, line: str) -> None:
    words = shlex.split(line, comments=True)
    assert ALIASES.get(words[0], words[0]) in COMMANDS, line
    parse(words[0], load(words[0]), words[1:])


def test_what_is_only_parsed_is_there() -> None:
    known = {name for name, _ in doc.examples()} | {line for _, line in doc.examples()} | {"exit"}
    assert set(ONLY_PARSED) <= known
    assert set(STATUS) <= known and set(SETUP) <= known


def test_the_page_is_up_to_date() -> None:
    assert doc.PAGE.read_text("utf-8") == doc.page(), (
        "docs/shell.md is not what the commands declare: python -m tests.shell.doc"
    )


def test_the_page_names_every_command_and_argument() -> None:
    text = doc.page()
    for name in COMMANDS:
        assert f"\n### {name}\n" in text
        for arg in load(name).args:
            if arg is not HELP:
                assert arg.name in text


def test_lines_typed_in_the_introduction_are_commands() -> None:
    typed = re.findall(r"^    hyper-gen:# (.+)$", doc.TEMPLATE.read_text("utf-8"), re.MULTILINE)
    assert len(typed) >= 3
    for line in typed:
        words = shlex.split(line)
        parse(words[0], load(words[0]), words[1:])
