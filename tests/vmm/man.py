# SPDX-License-Identifier: Apache-2.0
"""The options of docs/hg-vmm.8, written from what ``hg-vmm --help`` prints.

``python -m tests.vmm.man HG_VMM`` brings the page up to date; test_vmm.py says when that is due.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "hg-vmm.8"
START, END = ".SH OPTIONS\n", ".SH EXIT STATUS\n"


def escape(text: str) -> str:
    """Text for roff: dashes that can be typed, no line that looks like a request."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text[:1] in (".", "'") else text


def options(usage: str) -> str:
    """The option sections of ``--help`` as roff."""
    lines = []
    for line in usage.split("\nExamples:", maxsplit=1)[0].splitlines():
        if match := re.fullmatch(r"([A-Z][^:]*):", line):
            lines.append(f".SS {escape(match[1])}")
        elif match := re.fullmatch(r"  (--[a-z0-9-]+)(\S*)(?: (\S+))?(?:\s{2,}(.*))?", line):
            name, glued, argument, text = match.groups()
            given = escape(glued or "") + (f" \\fI{escape(argument)}\\fR" if argument else "")
            lines += [".TP", f"\\fB{escape(name)}\\fR{given}"]
            if text:
                lines.append(escape(text))
        elif line.startswith("    ") and lines:
            lines.append(escape(line.strip()))
    return "\n".join(lines) + "\n"


def page(usage: str) -> str:
    """The whole page with the options as they are."""
    before, rest = PAGE.read_text().split(START, 1)
    return before + START + options(usage) + END + rest.split(END, 1)[1]


if __name__ == "__main__":
    PAGE.write_text(page(subprocess.check_output([sys.argv[1], "--help"], text=True)))
