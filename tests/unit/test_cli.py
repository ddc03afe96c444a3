# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import click
import pytest

from hypergen import cli, doctor
from hypergen.config import TOP
from hypergen.errors import BuildError, UserError
from hypergen.linux import kernel
from tests.unit import fakes

# A stand-in for make(1) that knows what Kbuild is asked for. $FAKE_STOP makes it wait at bzImage.
KBUILD = r"""
for word; do
    case $word in O=*) out=${word#O=} ;; -C) at=next ;; *) [ "$at" = next ] && top=$word at= ;; esac
done
[ -n "$out" ] && { cd "$top" && mkdir -p "$out" && cd "$out" || exit 1; }
for word; do
    case $word in
    tinyconfig) echo CONFIG_BASE=y > "$KCONFIG_CONFIG" ;;
    menuconfig) echo CONFIG_DREAMT_UP=y >> "$KCONFIG_CONFIG" ;;
    savedefconfig) cp "$KCONFIG_CONFIG" defconfig ;;
    olddefconfig)
        [ -z "$FAKE_DROP" ] || sed -i "/$FAKE_DROP/d" "$KCONFIG_CONFIG" ;;
    bzImage)
        if [ -n "$FAKE_STOP" ]; then touch "$FAKE_STOP"; sleep 60; fi
        if [ -n "$FAKE_FAIL" ]; then
            echo "  CC      mm/slab.o"; echo "mm/slab.c:7: error: no"; exit 2
        fi
        mkdir -p arch/x86/boot include/config
        echo image > arch/x86/boot/bzImage; echo elf > vmlinux
        echo 6.12.3-test > include/config/kernel.release ;;
    esac
done
"""
STRIP = 'while [ $# -gt 1 ]; do [ "$1" = -o ] && to=$2; shift; done; cp "$1" "$to"'


class Tool:
    """The tool as a process, with a tiny kernel tree and fakes of make and strip."""

    def __init__(self, tmp_path: Path) -> None:
        self.bin = tmp_path / "bin"
        fakes.program(self.bin, "make", KBUILD)
        fakes.program(self.bin, "strip", STRIP)
        self.source = tmp_path / "linux"
        (self.source / "virt").mkdir(parents=True)
        (self.source / "Makefile").write_text("VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 3\n")
        self.empty = tmp_path / "empty"
        self.empty.mkdir()
        self.fragments = tmp_path / "kernel-config"
        shutil.copytree(TOP / "kernel-config", self.fragments)
        self.environment = fakes.hypergen_environment(tmp_path, self.bin)
        self.environment["KERNEL_SRC"] = str(self.source)
        self.out = tmp_path / "out"
        self.cwd = tmp_path

    def argv(self, *words: str) -> list[str]:
        # The project's own patches do not belong on this tree.
        start = (
            "import pathlib, sys; from hypergen import cli; "
            "from hypergen.linux import kernel, tree; "
            f"tree.PATCHES = pathlib.Path({str(self.empty)!r}); "
            f"kernel.FRAGMENTS = pathlib.Path({str(self.fragments)!r}); cli.main(sys.argv[1:])"
        )
        return [fakes.PYTHON, "-c", start, *words]

    def run(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(*words),
            env={**self.environment, **variables},
            cwd=self.cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def made(self, target: str) -> int:
        return sum(target in call.split() for call in fakes.calls(self.bin, "make"))


@pytest.fixture
def tool(tmp_path: Path) -> Tool:
    return Tool(tmp_path)


def test_a_guest_kernel_is_built_once(tool: Tool) -> None:
    first = tool.run("kernel", "guest")
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("6.12.3-test ")
    assert (tool.out / "guest_kernel/vmlinux-6.12.3-test").read_text() == "elf\n"
    assert (tool.out / "guest_kernel/bzImage-6.12.3-test").read_text() == "image\n"
    assert tool.run("kernel", "guest").returncode == 0
    assert (tool.made("mrproper"), tool.made("tinyconfig"), tool.made("bzImage")) == (1, 1, 1)


def test_deleting_the_output_folder_compiles_nothing(tool: Tool) -> None:
    tool.run("kernel", "guest")
    (tool.out / "guest_kernel/bzImage-6.12.3-test").unlink()
    assert tool.run("kernel", "guest").returncode == 0
    assert (tool.out / "guest_kernel/bzImage-6.12.3-test").exists()
    assert tool.made("bzImage") == 1


def test_a_changed_local_tree_is_built_again_and_never_written_to(tool: Tool) -> None:
    tool.run("kernel", "guest")
    (tool.source / "virt/kvm.c").write_text("int x;\n")
    tool.run("kernel", "guest")
    assert tool.made("bzImage") == 2
    assert sorted(p.name for p in tool.source.iterdir()) == ["Makefile", "virt"]


def test_a_dropped_symbol_stops_the_build_with_fragment_and_line(tool: Tool) -> None:
    failed = tool.run("kernel", "guest", FAKE_DROP="CONFIG_VIRTIO_BLK=")
    assert failed.returncode == 1
    assert "CONFIG_VIRTIO_BLK: asked y, got n (" in failed.stderr and ".config:" in failed.stderr
    assert tool.made("bzImage") == 0


def test_a_failed_command_shows_its_end_its_log_and_a_hint(tool: Tool) -> None:
    failed = tool.run("kernel", "guest", FAKE_FAIL="1")
    assert failed.returncode == 1
    log = tool.out / "log/kernel-guest.log"
    assert "mm/slab.c:7: error: no" in failed.stderr
    assert str(log) in failed.stderr and "hint:" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert "mm/slab.c:7: error: no" in log.read_text()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_build_carries_on(
    tool: Tool, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    marker = tmp_path / "compiling"
    process = subprocess.Popen(
        tool.argv("kernel", "guest"),
        env={**tool.environment, "FAKE_STOP": str(marker)},
        cwd=tool.cwd,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60 * float(os.environ.get("HYPERGEN_TIMEOUT_SCALE") or 1)
    while not marker.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert marker.exists()
    if number == signal.SIGINT:  # a terminal sends it to everyone in front
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _, error = process.communicate()
    assert process.returncode == status
    assert "carries on" in error and "Traceback" not in error
    again = tool.run("kernel", "guest")
    assert again.returncode == 0, again.stderr
    assert (tool.made("mrproper"), tool.made("tinyconfig")) == (1, 1), "done work is not redone"


def test_a_stale_half_unpacked_tree_is_thrown_away(tool: Tool, tmp_path: Path) -> None:
    half = tmp_path / "cache/work/new-linux"
    half.mkdir(parents=True)
    (half / "junk").touch()
    assert tool.run("kernel", "guest").returncode == 0
    assert not half.exists()
    assert not (tmp_path / "cache/work/linux-local/junk").exists()


def test_menuconfig_changes_nothing_until_it_is_saved_as_a_fragment(tool: Tool) -> None:
    fragment = tool.fragments / "guest/99-local.config"
    nothing = tool.run("savedefconfig", "guest")
    assert "nothing to save" in nothing.stdout and not fragment.exists()

    menu = tool.run("menuconfig", "guest")
    assert menu.returncode == 0, menu.stderr
    assert "1 symbols differ" in menu.stderr and not fragment.exists()

    saved = tool.run("savedefconfig", "guest")
    assert str(fragment) in saved.stdout and "CONFIG_DREAMT_UP" in saved.stdout
    assert "CONFIG_DREAMT_UP=y" in fragment.read_text().splitlines()

    assert tool.run("kernel", "guest").returncode == 0
    config = next(tool.cwd.glob("cache/work/linux-*/build-guest/.config")).read_text()
    assert "CONFIG_DREAMT_UP=y" in config


def test_the_manifest_says_what_a_kernel_was_made_of(tool: Tool) -> None:
    tool.run("kernel", "guest")
    facts = json.loads((tool.out / "manifest.json").read_text())["guest_kernel"]
    assert facts["release"] == "6.12.3-test" and facts["source"]["kind"] == "local"
    assert len(facts["source"]["sha256"]) == 64 and facts["config"]["y"] > 20


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nonsense"], "nonsense"),
        (["build", "--nonsense"], "--nonsense"),
        (["kernel", "toaster"], "toaster"),
        (["--jobs", "zero", "config"], "--jobs=zero"),
    ],
)
def test_the_users_mistakes_exit_2_with_one_line(tool: Tool, words: list[str], said: str) -> None:
    failed = tool.run(*words)
    assert failed.returncode == 2
    assert said in failed.stderr and "Traceback" not in failed.stderr


def test_settings_reach_the_verb_from_either_side_of_its_name(tool: Tool) -> None:
    before = json.loads(tool.run("--jobs", "7", "config", "--json").stdout)
    after = json.loads(tool.run("config", "--jobs", "7", "--json").stdout)
    assert before == after and after["jobs"] == 7


def test_clean_refuses_a_folder_that_it_did_not_make(tool: Tool) -> None:
    tool.out.mkdir()
    (tool.out / "thesis.tex").touch()
    refused = tool.run("clean")
    assert refused.returncode == 2 and (tool.out / "thesis.tex").exists()


def test_distclean_leaves_nothing(tool: Tool, tmp_path: Path) -> None:
    tool.run("kernel", "guest")
    (tool.out / "manifest.json").write_text("{}")
    done = tool.run("distclean")
    assert done.returncode == 0, done.stderr
    assert not tool.out.exists() and not (tmp_path / "cache").exists()


def verbs() -> list[list[str]]:
    found = []
    for name, command in cli.cli.commands.items():
        inner = list(command.commands) if isinstance(command, click.Group) else []
        found += [[name, word] for word in inner] or [[name]]
    return found


@pytest.mark.parametrize("words", verbs(), ids=" ".join)
def test_every_verb_teaches_by_an_example(words: list[str]) -> None:
    command: click.Command = cli.cli
    for word in words:
        assert isinstance(command, click.Group)
        command = command.commands[word]
    text = command.get_help(click.Context(command, info_name=words[-1]))
    assert "Example:" in text and "hypergen " in text


def fail_with(error: BaseException, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> int:
    def raising(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setenv("O", str(tmp_path / "out"))
    monkeypatch.setenv("HYPERGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(doctor, "ensure", lambda groups: [])
    monkeypatch.setattr(kernel, "build_guest", raising)
    with pytest.raises(SystemExit) as caught:
        cli.main(["kernel", "guest"])
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (UserError("no such disk", hint="plug it in"), 2, "hint: plug it in"),
        (BuildError("gcc failed", log=Path("/x/log"), tail=("line 1",)), 1, "| line 1"),
        (KeyboardInterrupt(), 130, "carries on"),
        (RuntimeError("what is this"), 1, "RuntimeError: what is this"),
        (OSError(28, "No space left on device"), 1, "is the disk full"),
    ],
)
def test_every_error_ends_in_one_place(
    error: BaseException,
    status: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    from rich.console import Console

    from hypergen import progress

    monkeypatch.setattr(progress, "console", Console(stderr=True, soft_wrap=True))
    assert fail_with(error, monkeypatch, tmp_path) == status
    assert said in capfd.readouterr().err


def test_an_unknown_exception_leaves_its_traceback_in_a_log(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fail_with(RuntimeError("what is this"), monkeypatch, tmp_path)
    assert "Traceback" in (tmp_path / "out/log/traceback.log").read_text()


def test_a_missing_program_stops_the_verb_before_it_works(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    need = doctor.Need("build", "flux", "flux-capacitor", "time travel")
    monkeypatch.setattr(doctor, "ensure", lambda groups: [need])
    with pytest.raises(UserError) as caught:
        cli.require("build")
    assert "flux-capacitor" in caught.value.message
    assert "time travel" in caught.value.tail[0]
