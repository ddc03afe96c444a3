# SPDX-License-Identifier: Apache-2.0
"""script: the commands of a file."""

from __future__ import annotations

from hypershell.script import run_file
from hypershell.spec import Arg, Context, Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace


def _run(args: Namespace, _: Context) -> int:
    return run_file(args.file, args.keep_going, args.called or "")


SPECS = {
    "script": Spec(
        _run,
        [
            Arg("file", "a file of this host; - reads from the standard input", values="file"),
            Arg("--keep-going", "run the rest after a failure, too", short="-k", flag=True),
            Arg("--called", "what errors call the script (default: the file)", metavar="NAME"),
        ],
        """Runs the commands of a file, one a line; what follows a # is a comment. The first failure
ends it, with the line's number in the error; the status is that of the command that failed.
'hypershell FILE' does the same without a prompt, and '#!/usr/bin/hypershell' on a file's first
line makes a program of it.""",
        [
            ("script /host/srv/morning.hg", "a file on the host's root"),
            ("script -k /host/srv/clean.hg", "go on after failures"),
        ],
    )
}
