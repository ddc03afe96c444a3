# SPDX-License-Identifier: Apache-2.0
"""``make bench``: the figures of docs/performance.md, measured in virtual time.

The measuring itself lives in tests/bench and runs as a program of its own, because the build tool
imports nothing of the tests.
"""

from __future__ import annotations

import os
import sys

from hypergen import run
from hypergen.config import SETTINGS, BuildConfig
from hypergen.errors import BuildError, UserError


def build(cfg: BuildConfig) -> None:
    """Measure what stands in ``out`` and print the table; ``out/bench.md`` and ``bench.json`` too.

    ``PEER_LKVM=FILE`` in the environment adds a (static) kvmtool to the comparison.

    Raises:
        UserError: bzImage or the guest kernel has not been built, or a peer is missing.
        BuildError: a machine did not come to its end.
    """
    if not (cfg.out / "bzImage").is_file():
        raise UserError(f"{cfg.out / 'bzImage'}: not built yet", hint="type `make` first")
    environment = {
        setting.variable: str(value)
        for setting in SETTINGS
        if (value := getattr(cfg, setting.name)) not in (None, "", False)
    }
    argv = [sys.executable, "-m", "tests.bench"]
    status = run.interactive(argv, cwd=cfg.top, env={**os.environ, **environment})
    if status != 0:
        raise BuildError(f"the bench ended with status {status}", hint=f"see {cfg.logs}/bench-*")
