# SPDX-License-Identifier: Apache-2.0
"""The two families of failure; both carry one line that says what is wrong and what to do."""


class ShellError(Exception):
    """A failed command; ``code`` is the exit status of ``hypershell -c``."""

    code = 1


class UsageError(ShellError):
    """The user's mistake: a bad argument, an unknown id, a file that is not what it should be."""

    code = 2
