# SPDX-License-Identifier: Apache-2.0
"""The patch series: applied in order, strictly, or the build stops and says where.

A series is a folder with a ``series`` file (one patch name a line, ``#`` starts a comment; the
format of quilt(1)). Context must match exactly; only line numbers may have moved.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from hypergen import run
from hypergen.errors import BuildError, UserError

# No fuzz: a hunk that lands in the wrong place is worse than one that stops us.
_PATCH = ["patch", "-p1", "--fuzz=0", "--forward", "--batch", "--no-backup-if-mismatch"]
_PATCH += ["--reject-file=-"]


@dataclass(frozen=True)
class Patch:
    """One patch of a series."""

    path: Path

    @property
    def purpose(self) -> str:
        """Its subject line, or its name when it has none."""
        match = re.search(
            r"^Subject: *(?:\[[^]]*\] *)?(.+(?:\n .+)*)", self.path.read_text("utf-8"), re.M
        )
        return " ".join(match[1].split()) if match else self.path.stem

    @property
    def files(self) -> list[str]:
        """The files that it makes, changes or removes, relative to the tree."""
        named = re.findall(
            r"^--- (\S+)[^\n]*\n\+\+\+ (\S+)", self.path.read_text("utf-8", "replace"), re.M
        )
        chosen = {new if new != "/dev/null" else old for old, new in named}
        return sorted(name.split("/", 1)[1] for name in chosen if "/" in name)


def series(folder: Path) -> list[Patch]:
    """The patches of `folder`, in order; empty when it has no ``series`` file and no patches.

    Raises:
        UserError: ``series`` names a file that is missing, or a patch is not named in it.
    """
    listing = folder / "series"
    present = {path.name for path in folder.glob("*.patch")}
    names = []
    if listing.exists():
        for number, line in enumerate(listing.read_text("utf-8").splitlines(), 1):
            if name := line.partition("#")[0].strip():
                if not (folder / name).is_file():
                    raise UserError(f"{listing}:{number}: {name}: no such patch")
                names.append(name)
    if stray := sorted(present - set(names)):
        raise UserError(
            f"{folder}: not named in the series file: {', '.join(stray)}",
            hint="add it, or keep it there as a comment line and move the file away",
        )
    return [Patch(folder / name) for name in names]


def digest(patches: list[Patch]) -> str:
    """SHA-256 over the series: names, order and contents."""
    total = hashlib.sha256()
    for patch in patches:
        total.update(f"{patch.path.name}\0".encode() + patch.path.read_bytes())
    return total.hexdigest()


def explain(output: str) -> str:
    """What failed, from GNU patch's output: ``file: hunk #2 (line 40); …``."""
    current, failures = "", []
    for line in output.splitlines():
        if match := re.match(r"(?:checking|patching) file (.+?)(?: \(renamed.*)?$", line):
            current = match[1].strip("'\"")
        elif match := re.match(r"Hunk #(\d+) FAILED at (\d+)", line):
            failures.append(f"{current}: hunk #{match[1]} (line {match[2]})")
        elif match := re.match(r"can't find file to patch at input line (\d+)", line):
            failures.append(f"the file to patch is missing (line {match[1]} of the patch)")
        elif match := re.match(r"\|\+\+\+ [^/]+/(\S+)", line):
            if failures and failures[-1].startswith("the file"):
                failures[-1] = f"{match[1]}: no such file in the tree"
        elif "previously applied" in line:
            failures.append(f"{current}: already applied")
        elif "malformed patch" in line:
            failures.append(line.removeprefix("patch: **** "))
    return "; ".join(failures)


def apply(patches: list[Patch], tree: Path, *, log: Path, version: str) -> None:
    """Apply a series to `tree`.

    Raises:
        BuildError: a patch does not apply; the message names patch, file and hunk.
    """
    for patch in patches:
        try:
            run.run(
                [*_PATCH, "-i", patch.path.absolute()],
                cwd=tree,
                log=log,
            )
        except BuildError:
            where = explain(log.read_text("utf-8", "replace"))
            raise BuildError(
                f"{patch.path.name} does not apply to Linux {version}: {where or 'see the log'}",
                hint=f"rebase {patch.path} onto this version, or take it out of the series file",
                log=log,
            ) from None
