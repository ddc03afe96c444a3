# SPDX-License-Identifier: Apache-2.0
"""``hypershell --host``: the same shell on another host, by that machine's ``ssh``.

The login shell over there is hypershell, so what is sent is the command line itself.
"""

from __future__ import annotations

import os
import subprocess
import sys

from hypershell.errors import ShellError, UsageError

USER = "root"
"""Whom a hyper-gen host lets in, when HOST names nobody."""

_LOST = 255  # ssh(1), EXIT STATUS: an error of its own


def check(host: str) -> None:
    """HOST is one word for ssh(1): a name of ssh_config, USER@HOST or ssh://… . UsageError."""
    if not host or host.startswith("-") or not host.isprintable() or " " in host:
        raise UsageError(f"--host '{host}': type a host, USER@HOST or ssh://USER@HOST:PORT")


def argv(host: str, command: str | None, terminal: bool) -> list[str]:
    """ssh's argument vector; ``command`` None starts the shell over there.

    Without a ``terminal`` nobody is there to answer questions (BatchMode). After ``--`` ssh takes
    nothing as an option, neither the host nor what the command begins with.
    """
    check(host)
    options = ["-t"] if terminal else ["-T", "-o", "BatchMode=yes"]
    if "@" not in host:
        options += ["-l", USER]
    # Whatever ssh_config says: nothing is forwarded, which the host would refuse anyway.
    options += ["-a", "-x", "-o", "ClearAllForwardings=yes"]
    return ["ssh", *options, "--", host, *([command] if command is not None else [])]


def run(host: str, command: str | None, stdin: int | None = None) -> int:
    """Run one command there, or its shell; the exit status is that of the far side.

    Raises ShellError when ssh cannot be run or has no session.
    """
    if command is not None and not command.strip():
        return 0  # an empty command would start the shell instead
    terminal = command is None and os.isatty(0) and os.isatty(1)
    sys.stdout.flush()
    try:
        code = subprocess.run(argv(host, command, terminal), stdin=stdin, check=False).returncode
    except FileNotFoundError as error:
        raise ShellError("--host needs ssh: install openssh-client") from error
    if code == _LOST:
        raise ShellError(f"no session with {host}, or it was cut; ssh has said why")
    return code if code >= 0 else 128 - code
