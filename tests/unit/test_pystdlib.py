# SPDX-License-Identifier: Apache-2.0
"""Which Python modules go into the image."""

from __future__ import annotations

from pathlib import Path

import pytest

from hypergen.errors import UserError
from hypergen.image import pystdlib


@pytest.fixture
def library(tmp_path: Path) -> list[Path]:
    """A standard library in two halves, as Debian ships it."""
    one, two = tmp_path / "one", tmp_path / "two"
    for path in (one / "os.py", one / "json/__init__.py", two / "json/tool.py", two / "re.py"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    return [one, two]


def test_single_modules_and_whole_packages(library: list[Path]) -> None:
    modules = pystdlib.stdlib_modules(library, ["os", "json.*"], [])
    assert [module.place for module in modules] == ["json/__init__", "json/tool", "os"]
    modules = pystdlib.stdlib_modules(library, ["json.*"], ["json.tool"])
    assert [module.place for module in modules] == ["json/__init__"]
    modules = pystdlib.stdlib_modules(library, ["json.tool"], [])
    assert [module.source for module in modules] == [library[1] / "json/tool.py"]


def test_unknown_module_is_named(library: list[Path]) -> None:
    with pytest.raises(UserError, match="no module 'jsn'"):
        pystdlib.stdlib_modules(library, ["jsn"], [])


def test_package_without_what_is_excluded(tmp_path: Path) -> None:
    for name in ("__init__.py", "a.py", "sub/__init__.py", "sub/win32.py", "data.txt"):
        (tmp_path / "p" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "p" / name).write_text("")
    modules = pystdlib.package_modules("p", tmp_path / "p", ["*win32*"])
    assert [module.place for module in modules] == ["p/__init__", "p/a", "p/sub/__init__"]
    with pytest.raises(UserError, match=r"has no __init__\.py"):
        pystdlib.package_modules("q", tmp_path, [])
