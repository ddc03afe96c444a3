# SPDX-License-Identifier: Apache-2.0
"""The one door to other programs, and the only importer of plumbum.

Programs get standard input from ``/dev/null``, a C locale and an environment without the variables
that would change a build behind our back. What they print goes to a log file; a failure is reported
once, with the last lines, the log's path and a hint.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from plumbum import CommandNotFound, local

from hypergen import progress
from hypergen.errors import BuildError, UserError

TAIL_LINES = 15
"""Lines of a failed program's output that are shown."""

# A parent make, a cross build or a locale must not leak into Kbuild.
_HARMFUL = re.compile(
    r"^(MAKE\w*|MFLAGS|GNUMAKEFLAGS|ARCH|CROSS_COMPILE|KBUILD_\w+|KCFLAGS|KCONFIG_\w+|CFLAGS|"
    r"CPPFLAGS|LDFLAGS|LANG|LANGUAGE|LC_\w+|CDPATH|GREP_\w+|O|V|W|PYTHONPATH|PYTHONHOME)$"
)
for _name in [name for name in local.env.getdict() if _HARMFUL.match(name)]:
    del local.env[_name]
local.env["LC_ALL"] = "C"

Argv = Sequence[str | Path]


def variable(name: str) -> str | None:
    """A variable of the environment that programs are started with; None when unset or empty."""
    return local.env.get(name) or None


def which(program: str) -> Path | None:
    """The program's path, looked for in PATH and in the sbin folders; None when absent."""
    try:
        return Path(str(local.which(program)))
    except CommandNotFound:
        for folder in ("/usr/local/sbin", "/usr/sbin", "/sbin"):
            if (candidate := Path(folder) / program).exists():
                return candidate
    return None


def _command(argv: Argv) -> Any:
    program = str(argv[0])
    path = Path(program) if "/" in program else which(program)
    if path is None or not path.exists():
        raise UserError(
            f"{program}: program not found", hint="`hypergen doctor` lists what to install"
        )
    return local[str(path)][[str(word) for word in argv[1:]]]


def _open(argv: Argv, *, cwd: Path | None, env: Mapping[str, str] | None, **streams: Any) -> Any:
    """Start a program; returns plumbum's Popen."""
    return _command(argv).popen(
        cwd=None if cwd is None else str(cwd), env=dict(env) if env else None, **streams
    )


def run(
    argv: Argv,
    *,
    log: Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    input: Path | None = None,
    hint: str | None = None,
    verbose: bool = False,
    watch: Callable[[str], str] | None = None,
) -> None:
    """Run a program to its end; its output (both streams) goes to `log`.

    Args:
        argv: the program and its arguments; never a shell line.
        log: written anew; parent folders are made.
        env: variables on top of the cleaned environment.
        input: a file for standard input instead of /dev/null.
        hint: what to do when it fails.
        verbose: print the output as well.
        watch: sees each line and returns what to show of it as the latest thing done.

    Raises:
        UserError: the program is not installed.
        BuildError: it ended with a status other than 0.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    source: IO[bytes] | int = input.open("rb") if input else subprocess.DEVNULL
    try:
        with log.open("wb", buffering=0) as sink:
            process = _open(
                argv,
                cwd=cwd,
                env=env,
                stdin=source,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            try:
                for raw in process.stdout:
                    sink.write(raw)
                    line = raw.decode("utf-8", "replace").rstrip()
                    tail.append(line)
                    if verbose:
                        progress.note(line)
                    else:
                        progress.detail(watch(line) if watch else line)
                status = process.wait()
            except BaseException:  # Ctrl+C too: leave no compiler running behind us
                process.terminate()
                process.wait()
                raise
    finally:
        if not isinstance(source, int):
            source.close()
    if status != 0:
        raise BuildError(
            f"{Path(str(argv[0])).name} failed with status {status}",
            hint=hint,
            log=log,
            tail=tuple(tail),
        )


def capture(
    argv: Argv,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    input: bytes | None = None,
    hint: str | None = None,
) -> str:
    """Run a short program and return its standard output, UTF-8, undecodable bytes replaced.

    Raises:
        UserError: the program is not installed.
        BuildError: it ended with a status other than 0; the message holds its standard error.
    """
    process = _open(
        argv,
        cwd=cwd,
        env=env,
        stdin=subprocess.PIPE if input is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = process.communicate(input)
    if process.returncode != 0:
        raise BuildError(
            f"{Path(str(argv[0])).name} failed with status {process.returncode}",
            hint=hint,
            tail=tuple(err.decode("utf-8", "replace").splitlines()[-TAIL_LINES:]),
        )
    return str(out.decode("utf-8", "replace"))


def interactive(
    argv: Argv, *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> int:
    """Run a program on the user's own terminal (menuconfig, QEMU); returns its exit status."""
    with progress.paused():
        process = _open(
            argv, cwd=cwd, env=env, stdin=sys.stdin or subprocess.DEVNULL, stdout=None, stderr=None
        )
        while True:
            try:
                return int(process.wait())
            except KeyboardInterrupt:  # the terminal sent it to the program as well
                continue


def spawn(
    argv: Argv,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    **streams: Any,
) -> subprocess.Popen[bytes]:
    """Start a program that runs beside us; `streams` are :class:`subprocess.Popen`'s."""
    streams.setdefault("stdin", subprocess.DEVNULL)
    streams.setdefault("stdout", subprocess.PIPE)
    streams.setdefault("stderr", subprocess.STDOUT)
    process = _open(argv, cwd=cwd, env=env, **streams)
    inner: subprocess.Popen[bytes] = getattr(process, "_proc", process)
    return inner
