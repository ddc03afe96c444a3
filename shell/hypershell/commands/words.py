# SPDX-License-Identifier: Apache-2.0
"""Words of other terminals that do the obvious thing on the host: ps, free, ls and so on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from hypershell.errors import ShellError
from hypershell.spec import Arg, Context, Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable

_ABOUT = {
    "ps": ("the host's processes", "ps"),
    "free": ("the host's memory", "free"),
    "ls": ("a folder of the host", "ls -l /run/hypergen/guest_image"),
    "cat": ("a file of the host", "cat /proc/cpuinfo"),
    "mkdir": ("make a folder on the host", "mkdir /root/backup"),
    "kill": ("send a signal to a process of the host; VMs: vm_kill", "kill -TERM 123"),
}


def _runner(name: str) -> Callable[[Namespace, Context], int]:
    def run(args: Namespace, _: Context) -> int:
        path = shutil.which(name)
        argv = [path] if path else ["busybox", name]
        sys.stdout.flush()
        try:
            code = subprocess.run([*argv, *args.words], check=False, env=os.environ).returncode
        except OSError as error:
            raise ShellError(f"{name}: {error.strerror}") from error
        return code if code >= 0 else 128 - code

    return run


SPECS = {
    name: Spec(
        _runner(name),
        [Arg("words", "as the program of that name takes them", many="...")],
        f"Runs the host's program '{name}': {about}.",
        [(example, "")],
    )
    for name, (about, example) in _ABOUT.items()
}
