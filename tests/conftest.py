# SPDX-License-Identifier: Apache-2.0
"""What holds for all tests: their order, and one more try for those that wait for machines."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

# A shell that starts us in the background has us ignore it, and so would all that we start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ORDER = ("unit", "shell", "vmm", "e2e", "bench")
MACHINES = ("e2e", "nested")
RETRIES = int(os.environ.get("HYPERGEN_RETRIES") or 1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by folder in ORDER (within one nothing moves), and mark what boots machines.

    A test of machines that waited in vain gets one more try (``HYPERGEN_RETRIES``, default 1), on
    a machine booted anew. QEMU's TCG runs nested guests with faults of its own: now and then a
    timer or a wake-up is lost and something waits for ever. Only that is tried again, never a
    wrong answer; the summary has each such try with its reason.
    """
    top = Path(__file__).resolve().parent

    def room(item: pytest.Item) -> str:
        return item.path.relative_to(top).parts[0]

    items.sort(key=lambda item: ORDER.index(room(item)) if room(item) in ORDER else len(ORDER))
    for item in items:
        if room(item) in MACHINES:
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.flaky(reruns=RETRIES, only_rerun=["TimedOut"]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Why each retry was made: what was awaited, and the end of what was there instead."""
    tried = terminalreporter.getreports("rerun")
    if tried:
        terminalreporter.section("tried again")
    for report in tried:
        said = str(report.longrepr).splitlines()
        errors = [line[1:].strip() for line in said if line.startswith("E ")]
        errors = [line for line in errors if line]  # most rows of a tall screen are blank
        terminalreporter.line(report.nodeid)
        for line in errors if len(errors) <= 14 else [*errors[:2], "…", *errors[-12:]]:
            terminalreporter.line(f"    {line[:200]}")
