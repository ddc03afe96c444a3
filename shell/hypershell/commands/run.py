# SPDX-License-Identifier: Apache-2.0
"""run: a unikernel on this terminal, like a program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from hypershell import create, kernels, paths, terminal
from hypershell.errors import ShellError, UsageError
from hypershell.spec import Arg, Context, Spec
from hypershell.table import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace


def _command(args: Namespace) -> list[str]:
    """hg-vmm's argument vector. Raises UsageError for what is no unikernel."""
    kernel = create.pick_kernel(args.file)
    kind = create.check_kernel(kernel)
    if kind not in (*kernels.HERMIT, *kernels.BARE):
        raise UsageError(f"{create.title(kernel)} ({kind}) is no unikernel; vm_create is for those")
    argv = [paths.vmm()]
    if args.cpus is not None:
        argv += ["--cpus", str(create.parse_cpus(args.cpus))]
    if args.memory is not None:
        argv += ["--memory", f"{create.parse_memory(args.memory) >> 20}M"]
    return [*argv, kernel.path, *args.args]


def _wait(argv: list[str]) -> int:
    """Run it on this terminal; CTRL+c is the unikernel's, not ours."""
    before = signal.signal(signal.SIGINT, lambda *_: None)  # a handler; SIG_IGN would be inherited
    try:
        return subprocess.run(argv, check=False).returncode
    except OSError as error:
        raise ShellError(
            f"cannot run {argv[0]}: {error.strerror}; HYPERGEN_VMM names it"
        ) from error
    finally:
        signal.signal(signal.SIGINT, before)


def _run(args: Namespace, context: Context) -> int:
    argv = _command(args)
    sys.stdout.flush()
    saved = terminal.modes(0) if os.isatty(0) else None
    try:
        code = _wait(argv)
    finally:
        if saved is not None:
            terminal.restore(0, saved)
    if code < 0:
        code = 128 - code  # as a shell tells of a program that a signal ended
    if context.interactive:
        say(f"exit status {code}")
    return code


SPECS = {
    "run": Spec(
        _run,
        [
            Arg("--cpus", "virtual CPUs (default: HERMIT_CPUS, else 1)", metavar="N"),
            Arg("--memory", "with K, M or G (default: HERMIT_MEM, else 512M)", metavar="SIZE"),
            Arg("file", "of kernel_list, or a path with a / in it", values="kernel"),
            Arg("args", "its arguments, all that follows", many="..."),
        ],
        """Runs a unikernel on this terminal, with its input and output, and prints its exit status;
'hypershell -c' returns it. CTRL+c ends it. In the rescue shell (ALT+F2) the file is run by its
path alone, and the variables HERMIT_CPUS, HERMIT_MEM, HERMIT_ISLE and so on are for it.""",
        [
            ("run hello one two", "one of kernel_list, with two arguments"),
            ("run --cpus 2 /host/srv/app", "a file of the host"),
        ],
    )
}
