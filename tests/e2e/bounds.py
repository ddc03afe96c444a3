# SPDX-License-Identifier: Apache-2.0
"""Waiting: for an event, with a generous bound, never for a time.

Every bound is in seconds on an idle machine of two cores and is multiplied by
``HYPERGEN_TIMEOUT_SCALE`` (a float, default 1).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

SCALE = float(os.environ.get("HYPERGEN_TIMEOUT_SCALE") or 1)


class TimedOut(AssertionError):
    """An awaited event did not come within its bound."""


def bound(seconds: float) -> float:
    """`seconds` scaled for this machine."""
    return seconds * SCALE


def wait(
    what: str,
    probe: Callable[[], T | None],
    seconds: float,
    *,
    interval: float = 0.15,
    last: Callable[[], str] = lambda: "",
) -> T:
    """Call `probe` until it returns something true, and return that.

    Args:
        what: the event, named in the error.
        probe: returns a true value when the event has come.
        seconds: the bound, before scaling.
        interval: seconds between two probes.
        last: describes the last state seen, for the error.

    Raises:
        TimedOut: the bound has passed.
    """
    end = time.monotonic() + bound(seconds)
    while True:
        if value := probe():
            return value
        if time.monotonic() > end:
            raise TimedOut(f"no {what} within {bound(seconds):.0f} s\n{last()}")
        time.sleep(interval)
