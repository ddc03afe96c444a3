# SPDX-License-Identifier: Apache-2.0
"""The order of the tests: what is quick and basic fails first."""

from __future__ import annotations

from pathlib import Path

import pytest

ORDER = ("unit", "shell", "vmm", "e2e", "bench")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by folder in ORDER; within a folder nothing moves."""
    top = Path(__file__).resolve().parent

    def rank(item: pytest.Item) -> int:
        first = item.path.relative_to(top).parts[0]
        return ORDER.index(first) if first in ORDER else len(ORDER)

    items.sort(key=rank)
