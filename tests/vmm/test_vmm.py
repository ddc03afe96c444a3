# SPDX-License-Identifier: Apache-2.0
"""The VMM without KVM: unit tests and fuzzer in C under sanitizers, and the command line.

What needs a working KVM is in tests/e2e, inside a nested host.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hypergen import config, vmm
from hypergen.errors import HypergenError
from hypergen.image import debs
from tests.vmm import man

VMM = Path(__file__).resolve().parents[2] / "vmm"
SCALE = float(os.environ.get("HYPERGEN_TIMEOUT_SCALE", "1"))
FUZZ_SECONDS = int(os.environ.get("HYPERGEN_FUZZ_SECONDS", "2"))

pytestmark = pytest.mark.skipif(
    not shutil.which("make") or not shutil.which(os.environ.get("CC", "cc")),
    reason="needs make and a C compiler",
)


def build(out: Path, *targets: str) -> None:
    vmm.compile_in(config.load(), out, *targets, log=out / "make.log")


@pytest.fixture(scope="session")
def out() -> Path:
    """What is tested, in a folder that stays: to link all that takes 15 s."""
    checkout = hashlib.sha256(str(VMM).encode()).hexdigest()[:8]  # whose file times are compared
    folder = config.load().work / f"vmm-tests-{checkout}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        build(folder, "all", "asan", "attack", "units", "fuzz")
    return folder


@pytest.fixture()
def short_tmp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder whose path leaves room for a socket's name (108 bytes)."""
    folder = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    yield folder
    shutil.rmtree(folder)


def run_vmm(binary: Path, *args: str, timeout: float = 20) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(binary), *args],
        stdin=subprocess.DEVNULL,
        check=False,
        capture_output=True,
        text=True,
        timeout=timeout * SCALE,
    )


# --- C units ---


def unit_names(program: str) -> list[str]:
    """Read from the source, so that collection does not have to compile anything."""
    source = (Path(__file__).parent / f"{program.replace('-', '_')}.c").read_text()
    return re.findall(r"[\t ]TEST\((\w+)\)", source)


PROGRAMS = sorted(p.stem.replace("_", "-", 1) for p in Path(__file__).parent.glob("units_*.c"))
UNITS = [(p, n) for p in PROGRAMS for n in unit_names(p)]


@pytest.mark.parametrize(("program", "name"), UNITS, ids=[n for _, n in UNITS])
def test_unit(out: Path, program: str, name: str) -> None:
    done = subprocess.run(
        [str(out / program), name], check=False, capture_output=True, text=True, timeout=60 * SCALE
    )
    assert done.returncode == 0, done.stderr


def test_every_unit_is_listed(out: Path) -> None:
    for program in PROGRAMS:
        listed = subprocess.check_output([str(out / program), "-l"], text=True).split()
        assert listed == unit_names(program)


FUZZERS = sorted(p.stem.removeprefix("fuzz_") for p in Path(__file__).parent.glob("fuzz_*.c"))
CORPUS = Path(__file__).parent / "corpus"


def fuzz(out: Path, what: str, *args: str) -> str:
    done = subprocess.run(
        [str(out / f"fuzz-{what}"), *args],
        check=False,
        capture_output=True,
        text=True,
        timeout=(FUZZ_SECONDS + 120) * SCALE,
        env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stderr


@pytest.mark.parametrize("what", FUZZERS)
def test_fuzzed(out: Path, what: str) -> None:
    """The same scripts for the same seed; HYPERGEN_FUZZ_SECONDS makes it longer."""
    seed = os.environ.get("HYPERGEN_FUZZ_SEED", "1")
    said = fuzz(out, what, "-s", seed, "-t", str(FUZZ_SECONDS))
    assert int(said.split()[0]) > 100, "the fuzzer ran hardly anything"


@pytest.mark.parametrize("what", FUZZERS)
def test_corpus(out: Path, what: str) -> None:
    """Scripts that once found something, or that chance would not find soon."""
    files = sorted(str(path) for path in (CORPUS / what).glob("*.hex"))
    assert files, f"no corpus for fuzz_{what}.c"
    fuzz(out, what, *files)


# --- the jail, attacked from inside (attack.c) ---


def attack(out: Path, folder: Path, who: str, name: str, *, filtered: bool) -> str:
    """How one attempt ended: ``killed`` by the filter, or what the attacker was told."""
    environment = {**os.environ, "HG_ATTACK": f"{who}:{name}", "HG_ATTACK_BARE": "1"}
    if not filtered:
        environment["HG_ATTACK_NO_SECCOMP"] = "1"
    done = subprocess.run(
        [str(out / "hg-attack"), "--kernel", str(folder / "kernel"), "--run-dir", str(folder)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=20 * SCALE,
    )
    said = [line for line in done.stderr.splitlines() if line.startswith(f"attack {name}: ")]
    assert said and said[0].endswith(": begins"), (who, name, done.stderr)
    if len(said) == 1:
        assert done.returncode == -signal.SIGSYS, (who, name, done.returncode, done.stderr)
        return "killed"
    return said[1].removeprefix(f"attack {name}: ")


def attacks(out: Path) -> list[tuple[str, str, str]]:
    listed = subprocess.check_output([str(out / "hg-attack"), "--list"], text=True)
    rows = [line.split() for line in listed.splitlines()]
    assert len(rows) > 40
    return [(row[0], row[1], row[2]) for row in rows]


@pytest.mark.parametrize("who", ["loop", "vcpu"])
def test_the_filter_stops_each_attack(out: Path, short_tmp: Path, who: str) -> None:
    (short_tmp / "kernel").write_bytes(b"no kernel")
    for name, classes, _ in attacks(out):
        if who == "vcpu" or classes == "both":
            ended = attack(out, short_tmp, who, name, filtered=True)
            if (who, name) == ("loop", "clone3"):  # refused, so that libc tries clone
                assert ended == "refused: Function not implemented"
            else:
                assert ended == "killed", (who, name, ended)
    assert not (short_tmp / "new-file").exists()


def test_the_other_layers_stop_attacks_without_the_filter(out: Path, short_tmp: Path) -> None:
    (short_tmp / "kernel").write_bytes(b"no kernel")
    attack(out, short_tmp, "loop", "chroot", filtered=False)
    if "refuses a" in (short_tmp / "vmm.log").read_text():
        pytest.skip("no namespaces here: " + (short_tmp / "vmm.log").read_text())
    for name, _, layers in attacks(out):
        if layers == "layered":
            ended = attack(out, short_tmp, "loop", name, filtered=False)
            assert ended.startswith("refused: "), (name, ended)


# --- command line ---

GOOD = ("--kernel", "KERNEL")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ((), "--kernel FILE is missing"),
        (("--kernel",), "--kernel needs a value"),
        (("--kernel", "/nowhere/vmlinux"), "No such file"),
        (("--kernel", "/"), "not a regular file"),
        ((*GOOD, "--cpus", "0"), "from 1 to 64"),
        ((*GOOD, "--cpus", "65"), "from 1 to 64"),
        ((*GOOD, "--cpus", "two"), "from 1 to 64"),
        ((*GOOD, "--cpus", "6,cores=4"), "1 sockets of 4 cores of 1 threads are 4"),
        ((*GOOD, "--cpu-model", "486"), "host, baseline or baseline-v3"),
        ((*GOOD, "--cpu-affinity", "0=9999"), "give host CPUs such as"),
        ((*GOOD, "--cpu-affinity", "0=1023"), "host CPU 1023 may not be used here"),
        ((*GOOD, "--cpus", "2", "--cpu-affinity", "2=0"), "vCPU 2: there are 0 to 1"),
        ((*GOOD, "--memory", "1"), "out of range"),
        ((*GOOD, "--memory", "-1"), "give a size"),
        ((*GOOD, "--memory", "99999999999999999999"), "give a size"),
        ((*GOOD, "--memory", "512Q"), "give a size"),
        ((*GOOD, "--memory", "1G,hugepages=4M"), "give off, thp, 2M or 1G"),
        ((*GOOD, "--memory", "1500M,hugepages=1G"), "not a multiple"),
        ((*GOOD, "--memory", "1G,node=-1"), "number of a NUMA node"),
        ((*GOOD, "--memory", "1G,swap"), "unknown option 'swap'"),
        ((*GOOD, "--memory", "1G,mergeable,shared"), "private memory only"),
        ((*GOOD, "--disk", ""), "path is empty"),
        ((*GOOD, "--disk", "a,b"), "unknown option 'b'"),
        ((*GOOD, "--disk", "a,readonly,snapshot"), "exclude each other"),
        ((*GOOD, "--disk", "a,snapshot,overlay=b"), "give overlay=FILE"),
        ((*GOOD, "--disk", "a,serial=123456789012345678901"), "more than 20 bytes"),
        ((*GOOD, "--disk", "a,queues=17"), "from 1 to 16"),
        ((*GOOD, "--disk", "a,iops=0"), "RATE or RATE:BURST"),
        ((*GOOD, "--disk", "a,bps=1M:"), "RATE or RATE:BURST"),
        ((*GOOD, *("--disk", "d") * 13), "at most 12"),
        ((*GOOD, "--net", "bridge=br0"), "give one of tap=NAME, passt and socket=PATH"),
        ((*GOOD, "--net", "tap=t,passt"), "give one of"),
        ((*GOOD, "--net", "passt,queues=2"), "queues goes with tap=NAME only"),
        ((*GOOD, "--net", "socket=/s,tcp=22"), "tcp goes with passt only"),
        ((*GOOD, "--net", "tap=t,queues=9"), "from 1 to 8"),
        ((*GOOD, "--net", "tap=t,vhost=maybe"), "auto, on or off"),
        ((*GOOD, "--net", "tap=t,vhost=on,rx-bps=1M"), "exclude each other"),
        ((*GOOD, "--net", "tap=t,pps=0"), "RATE or RATE:BURST"),
        ((*GOOD, "--net", "tap=t,pps=10:x"), "RATE or RATE:BURST"),
        ((*GOOD, "--net", "tap=a-name-that-is-too-long"), "bad value"),
        ((*GOOD, "--net", "tap=t,mac=01:00:00:00:00:00"), "bad value"),
        ((*GOOD, "--net", "tap=t,speed=9"), "unknown option 'speed'"),
        ((*GOOD, "--run-dir", "/nowhere"), "No such file"),
        ((*GOOD, "--daemonize"), "--daemonize needs"),
        ((*GOOD, "--boot", "bios"), "auto, pvh, linux64 or multiboot"),
        ((*GOOD, "--frobnicate"), "unknown option"),
        ((*GOOD, "stray"), "unexpected argument"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(
    out: Path, tmp_path: Path, args: tuple[str, ...], says: str
) -> None:
    kernel = tmp_path / "kernel"
    kernel.write_bytes(b"\0" * 4096)
    done = run_vmm(out / "hg-vmm.asan", *(str(kernel) if a == "KERNEL" else a for a in args))
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.startswith("hg-vmm: ") and done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_version_and_help(out: Path) -> None:
    assert run_vmm(out / "hg-vmm", "--version").stdout.startswith("hg-vmm ")
    usage = run_vmm(out / "hg-vmm", "--help")
    assert usage.returncode == 0 and "\nExamples:\n" in usage.stdout
    table = (VMM / "options" / "options.c").read_text()
    known = re.findall(r'{(?:TEXT|ON|OFF|PARSED),\s+"([a-z-]+)"', table)
    assert len(known) >= 20
    for option in known:
        assert f"\n  --{option}" in usage.stdout, option
    assert max(len(line) for line in usage.stdout.splitlines()) <= 80  # a text console's width


def test_the_man_page_has_the_options_of_help(out: Path) -> None:
    usage = subprocess.check_output([str(out / "hg-vmm"), "--help"], text=True)
    known = re.findall(r"^  (--[a-z0-9-]+)", usage, re.MULTILINE)
    assert len(known) >= 20
    text = man.PAGE.read_text()
    missing = [name for name in known if f"\\fB{man.escape(name)}\\fR" not in text]
    advice = "run: python -m tests.vmm.man PATH/TO/hg-vmm"
    assert not missing, advice
    assert man.page(usage) == text, advice


def test_the_man_page_is_good_roff() -> None:
    for section in ("NAME", "SYNOPSIS", "OPTIONS", "EXIT STATUS", "FILES", "EXAMPLES"):
        assert f".SH {section}\n" in man.PAGE.read_text()
    if shutil.which("man"):
        done = subprocess.run(
            ["man", "--warnings", "-l", str(man.PAGE)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0 and not done.stderr, done.stderr


def elf_with_one_segment() -> bytes:
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01", 2, 62, 1, 0x1000000, 64, 0, 0, 64, 56, 1, 0, 0, 0,
    )  # fmt: skip
    segment = struct.pack("<IIQQQQQQ", 1, 5, 120, 0x1000000, 0x1000000, 16, 16, 4096)
    return header + segment + b"\xf4" * 16


def test_a_disk_that_cannot_be_used_is_said(out: Path, tmp_path: Path) -> None:
    kernel = tmp_path / "vmlinux"
    kernel.write_bytes(elf_with_one_segment())
    empty = tmp_path / "empty.img"
    empty.touch()
    cases = [(empty, "zero length"), (tmp_path, "Is a directory"), (tmp_path / "no", "No such")]
    for disk, says in cases:
        done = run_vmm(out / "hg-vmm", "--kernel", str(kernel), "--disk", str(disk))
        assert done.returncode == 2
        assert says in done.stderr and done.stderr.count("\n") == 1


def test_two_disks_of_one_image_are_refused(out: Path, tmp_path: Path) -> None:
    kernel, image = tmp_path / "vmlinux", tmp_path / "a, b.img"
    kernel.write_bytes(elf_with_one_segment())
    image.write_bytes(b"\0" * 4096)
    disk = str(image).replace(",", ",,")
    done = run_vmm(out / "hg-vmm", "--kernel", str(kernel), "--disk", disk, "--disk", disk)
    assert done.returncode == 2
    assert f"{image}: in use by another VM" in done.stderr


def test_a_failed_daemon_start_is_reported_by_the_parent(out: Path, short_tmp: Path) -> None:
    image = short_tmp / "empty.img"
    image.touch()
    kernel = short_tmp / "vmlinux"
    kernel.write_bytes(elf_with_one_segment())
    done = run_vmm(
        out / "hg-vmm",
        *("--kernel", str(kernel), "--disk", str(image)),
        *("--run-dir", str(short_tmp), "--daemonize"),
    )
    assert done.returncode == 2
    assert "zero length" in done.stderr and done.stderr.count("\n") == 1
    assert not (short_tmp / "exit.json").exists()


def test_a_live_console_socket_is_not_taken_over(out: Path, short_tmp: Path) -> None:
    kernel = short_tmp / "vmlinux"
    kernel.write_bytes(elf_with_one_segment())
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(short_tmp / "console.sock"))
        other.listen()
        done = run_vmm(out / "hg-vmm", "--kernel", str(kernel), "--run-dir", str(short_tmp))
    assert done.returncode == 1
    assert "in use" in done.stderr


def test_the_table_of_system_calls_gives_each_row_a_reason() -> None:
    text = (VMM / "jail" / "rules.c").read_text()
    table = text.split("const struct rule jail_rules[] = {")[1].split("\n};")[0]
    rows = re.sub(r"\n\t+ ", " ", table).splitlines()
    rows = [r for r in rows if r.strip().startswith(("CALL", "IOCTL", "{"))]
    assert len(rows) > 40
    for row in rows:
        assert row.count('"') == 2 and len(row.split('"')[1]) > 3, row
    for word in ("execve", "openat,", "socket,", "connect", "ptrace", "mount", "io_uring_setup"):
        assert word not in re.sub(r'"[^"]*"', "", "".join(rows)), word


def test_sources_are_formatted(out: Path) -> None:
    beside = Path(sys.executable).parent / "clang-format"
    formatter = str(beside) if beside.exists() else shutil.which("clang-format")
    if not formatter:
        pytest.skip("needs clang-format")
    done = subprocess.run(
        ["make", "-C", str(VMM), f"O={out}", f"CLANG_FORMAT={formatter}", "format-check"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_passt_answers_what_a_guest_asks(out: Path) -> None:
    """`--net passt` against Debian's passt, without a guest."""
    cfg = config.load()
    try:
        folder = debs.unpack(cfg, debs.fetch(cfg, ["passt"])["passt"]) / "usr/bin"
    except HypergenError as error:
        pytest.skip(f"no passt: {error}")
    routes = Path("/proc/net/route").read_text(encoding="ascii").splitlines()
    if not any(line.split()[1] == "00000000" for line in routes[1:]):
        pytest.skip("this machine has no default route, from which passt takes all it tells")
    done = subprocess.run(
        [out / "units-passt", "passt_answers"],
        env=os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60 * SCALE,
        check=False,
    )
    if "namespace" in done.stderr or "sandbox" in done.stderr:
        pytest.skip(f"passt cannot isolate itself on this machine: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert "answered" in done.stdout
