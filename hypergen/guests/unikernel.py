# SPDX-License-Identifier: Apache-2.0
"""Compiles unikernels of our own, ``tests/guests``, with the host's compiler and no library.

One of them is the demo that ``make guest`` ships: a web server, ``web_hello.c``.
"""

from __future__ import annotations

from pathlib import Path

from hypergen import progress, run
from hypergen.config import TOP, BuildConfig
from hypergen.stage import Stage

SOURCES = TOP / "tests" / "guests"
CALLS = TOP / "vmm" / "hermit" / "params.h"
"""The hypercalls' parameters, the VMM's own description of them."""
DEMO = "web-hello"

CORE, V1, V2 = 0, 1, 2
"""C HermitCore, and Rust Hermit's hypercall interfaces."""

_MORE = {"web_hello": ("stack.c", "http.c")}
_CFLAGS = (
    *("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-nostdlib"),
    *("-fno-stack-protector", "-mno-red-zone", "-mgeneral-regs-only", "-fcf-protection=none"),
    *("-Wl,--build-id=none", "-Wl,-z,noexecstack", "-Wl,-z,norelro"),
)
_PIE = ("-static-pie", "-fPIE", "-Wl,--no-dynamic-linker")
_PLACE = {
    CORE: ("-static", "-no-pie", "-fno-pie", "-Wl,-Ttext-segment=0x800000"),
    V1: _PIE,
    V2: _PIE,
}
_EI_OSABI, _STANDALONE = 7, 0xFF


def build(name: str, abi: int, target: Path, log: Path) -> Path:
    """Compile ``tests/guests/NAME.c`` for an interface; returns `target`.

    Raises:
        BuildError: it does not compile.
    """
    sources = [SOURCES / file for file in (f"{name}.c", *_MORE.get(name, ()))]
    run.run(["cc", *_CFLAGS, *_PLACE[abi], f"-DABI={abi}", "-o", target, *sources], log=log)
    _mark(target)
    return target


def _mark(image: Path) -> None:
    """Give it the OS ABI by which the host's kernel tells a unikernel from a Linux program."""
    data = bytearray(image.read_bytes())
    data[_EI_OSABI] = _STANDALONE
    image.write_bytes(data)


def build_demo(cfg: BuildConfig) -> Path:
    """Make ``out/guest_kernel/web-hello``; returns its path.

    Raises:
        BuildError: it does not compile.
    """
    target = cfg.out / "guest_kernel" / DEMO
    stage = Stage(cfg, "unikernel-demo", [target]).tree(SOURCES).file(CALLS)
    stage.file(Path(__file__), "recipe")
    stage.text("cc", run.capture(["cc", "--version"]).partition("\n")[0])
    with stage as todo:
        if todo:
            target.parent.mkdir(parents=True, exist_ok=True)
            with progress.step(f"Compiling {DEMO}, a unikernel"):
                new = target.with_name(f".{DEMO}.new")
                build(DEMO.replace("-", "_"), V2, new, cfg.logs / "unikernel-demo.log")
                run.run(["strip", "-s", new], log=cfg.logs / "unikernel-strip.log")
                _mark(new)  # strip(1) takes it for a Linux program's
                new.replace(target)
    return target
