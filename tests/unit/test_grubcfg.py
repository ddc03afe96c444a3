# SPDX-License-Identifier: Apache-2.0
"""Menu entries: every value reaches the kernel as it was meant, read back by GRUB's own parser."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from hypergen.boot import grubcfg
from hypergen.errors import UserError

NASTY = [
    "/a b",
    "/it's",
    "/cost $5 $HOME ${x}",
    "/back\\slash \\n",
    "/tab{le};rm&|<>#!*?[a]~",
    "/grüße",
    "/'\\''",
    "/-x=y=z",
]


def entry(**changes: object) -> grubcfg.Entry:
    values: dict[str, object] = {
        "image": "/boot/hypergen/bzImage",
        "arguments": grubcfg.host_arguments(root="LABEL=x", guest_kernel="/k", guest_image="/i"),
    }
    return grubcfg.Entry(**(values | changes))  # type: ignore[arg-type]


def linux_words(text: str) -> list[str]:
    """The arguments of the ``linux`` line. For words of plain and single-quoted text, GRUB's
    quoting rules are the shell's."""
    [line] = [line for line in text.splitlines() if line.lstrip().startswith("linux ")]
    return shlex.split(line)[1:]


def grub_accepts(text: str, folder: Path) -> bool:
    if shutil.which("grub-script-check") is None:
        pytest.skip("grub-script-check is not installed")
    file = folder / "grub.cfg"
    file.write_text(text)
    return subprocess.run(["grub-script-check", file], check=False).returncode == 0


@pytest.mark.parametrize("path", NASTY)
def test_nasty_paths_come_back_from_the_rendered_entry(path: str, tmp_path: Path) -> None:
    arguments = grubcfg.host_arguments(root="LABEL=x", guest_kernel=path, guest_image=path)
    text = grubcfg.render_entry(entry(image=path, arguments=arguments, title=path))
    words = linux_words(text)
    assert words[0] == path
    assert f"guest_kernel={path}" in words
    assert f"guest_image={path}" in words
    assert grub_accepts(text, tmp_path)


def test_the_check_can_fail(tmp_path: Path) -> None:
    assert not grub_accepts("menuentry 'x' {\n linux 'open\n}\n", tmp_path)


def test_whole_config_is_valid_with_every_option(tmp_path: Path) -> None:
    for serial in (False, True):
        for timeout in (-1, 0, 7):
            text = grubcfg.render_whole(
                [entry(fs_uuid="1-2"), entry(fs_label="a b", id="second")],
                serial=serial,
                timeout=timeout,
            )
            assert grub_accepts(text, tmp_path)
            assert ("terminal_output console serial" in text) == serial
            assert f"set timeout={timeout}" in text
            assert "search --no-floppy --fs-uuid --set=root 1-2" in text
            assert "search --no-floppy --label --set=root 'a b'" in text


def test_double_quote_in_a_value_is_refused_in_one_line() -> None:
    with pytest.raises(UserError) as caught:
        grubcfg.host_arguments(root="LABEL=x", guest_kernel='/a"b')
    assert 'guest_kernel=/a"b' in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("bad", ["/a\nb", "/a\x00", "/a\x7f", "/a\tb"])
def test_control_characters_are_refused(bad: str) -> None:
    with pytest.raises(UserError):
        grubcfg.argument("guest_image", bad)
    with pytest.raises(UserError):
        grubcfg.quote(bad)


def test_append_is_split_like_the_kernel_splits_it() -> None:
    text = 'quiet  a="b c" "d=e f" g=h\'i'
    assert grubcfg.split_append(text) == ["quiet", "a=b c", "d=e f", "g=h'i"]
    assert grubcfg.split_append("") == []


@pytest.mark.parametrize("bad", ['a="b', 'a=b"c"d', 'x"y'])
def test_append_with_an_impossible_quote_is_refused(bad: str) -> None:
    with pytest.raises(UserError):
        grubcfg.split_append(bad)


def test_kernel_cmdline_is_what_grub_was_seen_to_pass() -> None:
    # /proc/cmdline of a machine booted by GRUB 2.06 with these arguments.
    arguments = ["rw", "foo=a b", "back=\\x", "quote='y", "dollar=$z"]
    assert grubcfg.kernel_cmdline(arguments) == 'rw "foo=a b" back=\\\\x quote=\\\'y dollar=$z'


def test_too_long_a_command_line_is_refused() -> None:
    with pytest.raises(UserError, match="2047"):
        entry(arguments=("x=" + "y" * 2100,))


def test_serial_console_comes_before_the_screen() -> None:
    words = grubcfg.host_arguments(root="LABEL=x", consoles=("ttyS0,115200", "tty0"))
    assert words == ("root=LABEL=x", "rw", "console=ttyS0,115200", "console=tty0")
