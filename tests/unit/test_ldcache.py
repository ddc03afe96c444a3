# SPDX-License-Identifier: Apache-2.0
"""The dynamic loader's cache, as ldconfig reads it, in the order that the loader searches."""

from __future__ import annotations

import functools
import shutil
import subprocess
from pathlib import Path

from hypergen.image import ldcache

LDCONFIG = shutil.which("ldconfig", path="/usr/sbin:/sbin") or "ldconfig"


def listed(*options: str) -> list[tuple[str, str]]:
    """What ``ldconfig -p`` says: names and paths."""
    done = subprocess.run([LDCONFIG, "-p", *options], capture_output=True, text=True, check=True)
    rows = [line.strip().split(" => ") for line in done.stdout.splitlines() if " => " in line]
    return [(name, path) for name, path in rows if "(libc6,x86-64)" in name]


def test_ldconfig_reads_it(tmp_path: Path) -> None:
    names = ["libc.so.6", "libm.so.6", "libexpat.so.1", "libdevmapper.so.1.02.1"]
    (tmp_path / "cache").write_bytes(ldcache.build("/usr/lib", names))
    assert sorted(listed("-C", str(tmp_path / "cache"))) == sorted(
        (f"{name} (libc6,x86-64)", f"/usr/lib/{name}") for name in names
    )


def test_the_order_is_that_of_the_loader() -> None:
    """A search by halves finds nothing in another one."""
    names = [name.split()[0] for name, _ in listed()]
    assert len(names) > 10, "this machine's own cache"
    assert names == sorted(names, key=functools.cmp_to_key(ldcache.compare), reverse=True)
    assert ldcache.compare("liba.so.10", "liba.so.9") > 0
    assert ldcache.compare("liba.so.1", "liba.so.1.2") < 0
    assert ldcache.compare("liba1.so", "liba-x.so") > 0, "digits come last"
    assert ldcache.compare("libc.so.6", "libc.so.6") == 0
