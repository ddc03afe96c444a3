# SPDX-License-Identifier: Apache-2.0
"""Unikernels in image archives, and the ways to be told that uhyve and HermitCore had."""

from __future__ import annotations

import gzip

import pytest

from hypergen.config import BuildConfig
from tests.bench.overlay import Overlay
from tests.nested import unikernels
from tests.nested.nest import Nest

MANIFEST = """
version = "1"
kernel = "/kernel"
[input]
kernel_args = []
app_args = ["/etc/motd", "/nothing"]
env_vars = ["A=1"]
[requirements]
memory = "32 MiB"
cpus = 1
"""


def nest_overlay(files: Overlay, cfg: BuildConfig) -> None:
    """Images, archives of them, and what is no archive, at ``/nest/guests``."""
    folder = cfg.out / "nested" / "guests"
    images = unikernels.build_all(folder, "cat")
    content = {"etc/motd": b"from the image\n", "etc/sub/x": b"x", f"{'n' * 150}": b"long\n"}
    for name, image in list(images.items()):
        images[f"{name}.hermit"] = unikernels.pack(
            folder / f"{name}.hermit", image, MANIFEST, content
        )
    (bomb := folder / "bomb.hermit").write_bytes(gzip.compress(bytes(600 << 20), 1))
    images |= unikernels.build_plain(folder)
    for name, image in {**images, "bomb.hermit": bomb}.items():
        files.copy(f"nest/guests/{name}", image)


@pytest.mark.parametrize("abi", unikernels.ABIS)
def test_an_archive_runs_with_its_files_and_arguments(nest: Nest, abi: str) -> None:
    done = nest.run(f"hg-vmm /nest/guests/cat-{abi}.hermit")
    assert (done.status, done.output) == (1, "from the image\n/nothing: -2\n")
    long = "n" * 150
    done = nest.run(f"hg-vmm /nest/guests/cat-{abi}.hermit {long} /etc/sub/../motd")
    assert (done.status, done.output) == (0, "long\nfrom the image\n")


def test_an_archive_as_its_kernel_gets_it_and_what_is_refused(nest: Nest) -> None:
    image = "/nest/guests/cat-v2.hermit"
    done = nest.run(f"hg-vmm {image} /etc /nothing/../etc/sub/x")
    assert (done.status, done.output) == (0, "motd\nsub\nx")
    done = nest.run(f"hg-vmm --hermit-image-mode internal {image} /etc/motd")
    assert (done.status, done.output) == (1, "/etc/motd: -2\n")
    for words, says in {
        f"--memory 16M {image}": f"{image}: needs 32 MiB of memory: --memory 32M",
        "/nest/guests/bomb.hermit": "unpacked it has more than 512 MiB: refused",
    }.items():
        done = nest.run(f"hg-vmm {words}")
        assert (done.status, done.output.count("\n")) == (2, 1)
        assert says in done.output


@pytest.mark.parametrize("entry", unikernels.ENTRIES)
def test_other_unikernels_run_like_programs_too(nest: Nest, entry: str) -> None:
    nest.sh("mkdir -p /run/nest/u; echo no >/run/nest/secret")
    done = nest.run(f"cd /run/nest; HERMIT_CHECKPOINT=1 hg-vmm /nest/guests/plain-{entry} 1")
    assert (done.status, "cannot be saved" in done.output) == (2, True), done.output
    for last, status in {"7": 7, "41": 0, "pm": 0, "reset": 0}.items():
        done = nest.run(
            "cd /run/nest; hg-vmm --file-mapping u:/unilibfs "
            f"/nest/guests/plain-{entry} one {last} </dev/null"
        )
        text = f"command line: plain-{entry} one {last}\nall is well\n"
        assert (done.status, done.output) == (status, text), "Unilib-FS, and the way it ends"


UHYVE = """
[uhyve]
output = "/run/nest/out.txt"
stats = true
[memory]
memory_size = '64MiB'
thp = true
ksm = true
no_aslr = true
[cpu]
cpu_count = 2
affinity = [0, 1]
pit = true
[guest]
env_vars = ['foo=bar']
"""


def test_uhyve_toml_is_read_where_uhyve_looks_and_names_its_mistakes(nest: Nest) -> None:
    nest.sh(f"mkdir -p /run/nest/c/uhyve; cat >/run/nest/c/uhyve/uhyve.toml <<'=='\n{UHYVE}==\n")
    for where in (
        "cd /run/nest/c/uhyve; hg-vmm",
        "XDG_CONFIG_HOME=/run/nest/c hg-vmm",
        "hg-vmm --config /run/nest/c/uhyve/uhyve.toml",
        "HERMIT_CONFIG=/run/nest/c/uhyve/uhyve.toml hg-vmm",
    ):
        out = nest.sh(
            f"rm -f /run/nest/out.txt\n{where} /nest/guests/cat-v2 /x || cat /run/nest/*.txt"
        )
        assert "CPU 1: " in out and "/x: -2\n" in out, where
    done = nest.run("cd /run/nest/c/uhyve; hg-vmm -o none -c1 -a0 /nest/guests/cat-v2 /x")
    assert done.status == 1 and "CPU 1" not in done.output and "/x" not in done.output
    for line, says in {
        "pit = 3": "uhyve.toml: line 2: pit is true or false",
        "pot = 3": "uhyve.toml: line 2: no key 'pot' is known in [cpu]",
        "cpu_count = 65": "uhyve.toml: line 2: --cpus 65: give a number from 1 to 64",
        "cpu_pm = true": "uhyve.toml: line 2: cpu_pm is uhyve's: hg-vmm has none",
    }.items():
        done = nest.run(
            f"cd /run/nest; printf '[cpu]\\n{line}\\n' >uhyve.toml; hg-vmm /nest/guests/cat-v2"
        )
        assert done.status == 2 and says in done.output, done.output


def test_variables_of_hermitcore_and_uhyve(nest: Nest) -> None:
    for variable, says in {
        "HERMIT_CPU_COUNT=0": "give a number from 1 to 64",
        "HERMIT_MEMORY_SIZE=1M": "give a size from 16M to 1024G",
        "HERMIT_DEBUG=65536": "give 0, 1 (port 1234) or a port from 2 to 65535",
        "HERMIT_GDB_PORT=0": "give a port from 1 to 65535",
        "HERMIT_HUGEPAGE=2": "give 0 or 1",
        "HERMIT_MERGEABLE=yes": "give 0 or 1",
        "HERMIT_KVM=0": "give 1: there is no emulator in this VMM",
        "HERMIT_PORT=65535": "give a port from 1 to 65534",
        "HERMIT_MONITOR=2": "give 0 or 1",
        "HERMIT_CONFIG=/nothing": "/nothing: No such file",
    }.items():
        done = nest.run(f"{variable} hg-vmm /nest/guests/cat-v2 /x")
        assert done.status == 2 and says in done.output, done.output
    right = "HERMIT_CPUS=2 HERMIT_MEM=64MiB HERMIT_HUGEPAGE=0 HERMIT_MERGEABLE=1 HERMIT_KVM=1"
    done = nest.run(f"{right} HERMIT_PORT=18766 HERMIT_DEBUG=0 hg-vmm /nest/guests/cat-v2 /x")
    assert (done.status, done.output) == (1, "/x: -2\n")
    done = nest.run(f"{right} hg-vmm -c 3 --stats /nest/guests/cat-v2 /x")
    assert "CPU 2: " in done.output, "an option comes before a variable"


def test_a_monitor_and_a_debugger_are_there_when_a_variable_says_so(nest: Nest) -> None:
    nest.sh(
        "cd /run/nest; HERMIT_MONITOR=1 HERMIT_DEBUG=1 hg-vmm /nest/guests/cat-v2 /x >out 2>&1 &\n"
        "cd /run/nest; n=0; until [ -S hermit-monitor.sock ]; do\n"
        "  n=$((n + 1)); [ $n -lt 300 ]; sleep 0.1; done\n"
        '/nest/bin/qmp hermit-monitor.sock \'{"execute": "query-status"}\' | grep debug\n'
        "grep -q ':04D2 ' /proc/net/tcp\n"  # 127.0.0.1:1234
        '/nest/bin/qmp hermit-monitor.sock \'{"execute": "quit"}\''
    )
