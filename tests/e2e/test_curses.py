# SPDX-License-Identifier: Apache-2.0
"""``make run DISPLAY_MODE=curses``: the screen in a terminal."""

from __future__ import annotations

import os
from pathlib import Path

import pexpect
import pyte

from hypergen.boot import qemu
from hypergen.config import BuildConfig
from tests.e2e.bounds import wait


def test_the_screen_in_a_terminal(built: BuildConfig, test_disk: Path) -> None:
    argv = qemu.command(built, test_disk, display="curses", snapshot=True, accel="tcg")
    screen = pyte.Screen(100, 40)
    stream = pyte.ByteStream(screen)
    child: pexpect.spawn[bytes] = pexpect.spawn(
        argv[0], argv[1:], env={**os.environ, "TERM": "linux"}, dimensions=(40, 100)
    )

    def shows(text: str) -> bool:
        try:
            stream.feed(child.read_nonblocking(65536, timeout=1))
        except pexpect.TIMEOUT:
            pass
        except pexpect.EOF:
            raise AssertionError("\n".join(screen.display)) from None
        return any(text in line for line in screen.display)

    try:
        wait("GRUB's menu in the terminal", lambda: shows("*hyper-gen"), 60)
        # A key that is pressed here arrives there.
        child.send("c")
        wait("GRUB's prompt", lambda: shows("grub>"), 60)
    finally:
        child.close(force=True)
