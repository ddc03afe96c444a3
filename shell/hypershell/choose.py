# SPDX-License-Identifier: Apache-2.0
"""What a typed word means, of things that have names; and doing something to several of them."""

from __future__ import annotations

from hypershell.errors import ShellError, UsageError
from hypershell.table import complain, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import TypeVar

    T = TypeVar("T")

_SHOWN = 6  # candidates that an error names


def choose(
    what: str,
    word: str,
    things: Sequence[T],
    unknown: Callable[[str], str],
    name: Callable[[T], str],
    number: Callable[[T], int] | None = None,
) -> T:
    """The one of ``things`` that ``word`` means: its number, its name or a beginning of only one.

    Raises UsageError naming the candidates; ``unknown`` makes its end of these.
    """
    exact = [one for one in things if number is not None and str(number(one)) == word]
    exact = exact or [one for one in things if name(one) == word]
    matches = exact or [one for one in things if word and name(one).startswith(word)]
    if len(matches) == 1:
        return matches[0]
    shown = ", ".join(
        name(one) if number is None else f"{number(one)} ({name(one)})"
        for one in (matches or things)[:_SHOWN]
    )
    if matches:
        raise UsageError(f"{what} '{word}' is ambiguous: {shown}")
    raise UsageError(f"unknown {what} '{word}'{unknown(shown)}")


def each(command: str, things: Iterable[T], act: Callable[[T], str]) -> int:
    """Do ``act`` to every thing and say what came of it; one failure does not stop the others.

    The exit status: the worst of theirs. Errors begin with ``command``.
    """
    code = 0
    for one in things:
        try:
            say(act(one))
        except (ShellError, OSError) as error:
            complain(f"{command}: {error}")
            code = max(code, error.code if isinstance(error, ShellError) else 1)
    return code
