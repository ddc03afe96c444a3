# SPDX-License-Identifier: Apache-2.0
"""The two families of error: what the user can mend, and what went wrong."""

from __future__ import annotations

from pathlib import Path


class HypergenError(Exception):
    """An error that ends the run with one clear line.

    Attributes:
        exit_code: the process's exit status (1 or 2).
        hint: what to do about it, one line, or None.
        log: the file that holds the whole output, or None.
        tail: the last lines of that output, oldest first.
    """

    exit_code = 1

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        log: Path | None = None,
        tail: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.log = log
        self.tail = tail


class UserError(HypergenError):
    """The request cannot be carried out as given (exit status 2)."""

    exit_code = 2


class BuildError(HypergenError):
    """The request was fine; carrying it out failed (exit status 1)."""
