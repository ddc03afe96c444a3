# SPDX-License-Identifier: Apache-2.0
"""Runs in the host: the shell's commands without the start of an interpreter for each of them.

To start an interpreter and load the shell's modules is most of what ``hypershell -c`` costs where
the CPU is emulated. Here both are there already: the process forks for each request, and the child
goes on in hypershell's own ``main()`` as if ``-c`` had started it.

A request is a line on the FIFO ``argv[1]``; its exit status comes as a line on the FIFO
``argv[2]``. What a command prints goes to this process's own stdout and stderr.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import traceback

from hypershell import app


def child(command: str, report: int) -> int:
    """Run a command; tells what modules it had to load, so that the next child has them."""
    before = set(sys.modules)
    try:
        return app.main(["-c", command])
    except SystemExit as end:  # by a signal
        return int(str(end.code))
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        os.write(report, " ".join(set(sys.modules) - before).encode())


def run(command: str) -> int:
    """Run a command in a child; returns its exit status."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = child(command, theirs)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    os.close(theirs)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.set_blocking(ours, False)  # whoever the child left behind may hold the other end
    try:
        for name in os.read(ours, 1 << 16).decode().split():
            __import__(name)
    except BlockingIOError:
        pass
    os.close(ours)
    gc.freeze()  # what a child does not look at, it need not copy
    return status if status >= 0 else 128 - status


def main(requests: str, answers: str) -> None:
    """Serve until killed."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's & has it ignored
    # Both ends are open here: neither FIFO ever ends.
    asked = os.fdopen(os.open(requests, os.O_RDWR), "rb", buffering=0)
    answered = os.open(answers, os.O_RDWR)
    while line := asked.readline():
        status = run(line.decode().rstrip("\n"))
        os.write(answered, f"{status}\n".encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
