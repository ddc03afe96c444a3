# SPDX-License-Identifier: Apache-2.0
"""A folder of the host in the guest, served by the virtiofsd of QEMU's package."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hypergen.config import BuildConfig
from tests.bench.overlay import Overlay
from tests.nested.nest import Nest

PLACES = ("/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd", "/usr/lib/virtiofsd")
PROGRAM = next((Path(place) for place in PLACES if Path(place).exists()), None)
SHARE = "/host/test/share"
MOUNT = "mount -t virtiofs tag /mnt"
OPTIONS = ["--virtiofsd", "/nest/bin/virtiofsd", "--share"]

pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason=f"no virtiofsd here (package qemu-system-common or virtiofsd): {PLACES}"
)


def nest_overlay(overlay: Overlay, cfg: BuildConfig) -> None:
    """Put virtiofsd in with libraries of its own: the host's may be others."""
    if PROGRAM is None:
        return
    root = "nest/virtiofsd"
    overlay.program(PROGRAM, root)
    libraries = "/lib/x86_64-linux-gnu"
    overlay.file(
        "nest/bin/virtiofsd",
        f"#!/bin/sh\nexec /{root}/lib64/ld-linux-x86-64.so.2 --library-path "
        f'/{root}{libraries}:/{root}/usr{libraries} /{root}{PROGRAM} "$@"\n'.encode(),
        0o755,
    )


def sums(text: str) -> list[str]:
    """The MD5 sums in it, in their order."""
    return re.findall(r"\b[0-9a-f]{32}\b", text)


def running(nest: Nest) -> int:
    """How many processes of virtiofsd there are in the host."""
    return int(nest.sh("ps | grep '[/]virtiofsd.*--fd=' | grep -v sh | wc -l"))


def test_files_go_both_ways(nest: Nest) -> None:
    nest.sh(f"mkdir -p {SHARE}/folder; cd {SHARE}; echo from-the-host >hello; chmod 644 hello")
    host = sums(
        nest.sh(
            f"dd if=/dev/urandom of={SHARE}/big bs=64k count=24 2>/dev/null; md5sum {SHARE}/big"
        )
    )
    text = nest.guest(
        f"set -e; {MOUNT}; cat /mnt/hello; md5sum /mnt/big; ls /mnt\n"
        "dd if=/dev/urandom of=/mnt/folder/made bs=64k count=24 2>/dev/null\n"
        "md5sum /mnt/folder/made\n"
        "mkdir /mnt/new; mv /mnt/hello /mnt/new/moved; echo more >>/mnt/new/moved; sync\n"
        "echo 3 >/proc/sys/vm/drop_caches; md5sum /mnt/folder/made; umount /mnt\n"
        f"{MOUNT}; cat /mnt/new/moved",
        options=[*OPTIONS, f"tag={SHARE}"],
    ).console()
    made = sums(nest.sh(f"md5sum {SHARE}/folder/made; cat {SHARE}/new/moved >&2"))
    assert "from-the-host\nmore" in text
    assert sums(text) == [*host, *made, *made]
    nest.sh(
        "n=0; while ps | grep -q '[/]virtiofsd.*--fd='; do [ $n -gt 100 ] && exit 1; "
        "n=$((n + 1)); sleep 0.1; done"
    )  # it ended with the VM


def test_a_read_only_share_is_not_written(nest: Nest) -> None:
    nest.sh(f"mkdir -p {SHARE}; echo keep >{SHARE}/kept")
    text = nest.guest(
        f"set -e; {MOUNT}; cat /mnt/kept\n"
        "echo no >/mnt/kept && exit 7; touch /mnt/new && exit 8; rm /mnt/kept && exit 9\n"
        "mkdir /mnt/folder && exit 10; echo safe",
        options=[*OPTIONS, f"tag={SHARE},readonly"],
    ).console()
    assert "Read-only file system" in text and "safe" in text
    assert nest.sh(f"ls {SHARE}; cat {SHARE}/kept").split() == ["kept", "keep"]


def test_a_guest_that_was_reset_mounts_it_again(nest: Nest) -> None:
    nest.sh(f"mkdir -p {SHARE}; rm -f {SHARE}/times")
    nest.guest(
        f"set -e; {MOUNT}; echo x >>/mnt/times; sync\n"
        "[ $(wc -l </mnt/times) -ge 2 ] || { reboot -f; sleep 100; }; echo second",
        options=[*OPTIONS, f"tag={SHARE}"],
        seconds=90,
    )
    assert nest.sh(f"cat {SHARE}/times").split() == ["x", "x"]


def test_a_virtiofsd_that_dies_ends_the_guests_calls(nest: Nest) -> None:
    nest.sh(f"mkdir -p {SHARE}; echo here >{SHARE}/file")
    vm = nest.guest(
        f"{MOUNT}; cat /mnt/file; echo up\n"
        "while cat /mnt/file >/dev/null && echo z >/mnt/other; do :; done\n"
        "cat /mnt/file; ls /mnt; umount /mnt\n"
        "mount -t virtiofs tag /mnt; cat /mnt/file && exit 9; echo ended",
        options=[*OPTIONS, f"tag={SHARE}"],
        wait=False,
    )
    vm.expect("up")
    nest.sh(
        "for p in /proc/[0-9]*; do grep -qs -- --fd= $p/cmdline && kill -9 ${p#/proc/}; done; :"
    )
    text = vm.finish()
    assert "ended" in text and "not connected" in text
    assert "virtiofsd is lost" in vm.log()


def test_one_that_runs_already_is_used(nest: Nest) -> None:
    nest.sh(
        f"mkdir -p {SHARE}; echo by-socket >{SHARE}/file; cd /host/test\n"
        f"(/nest/bin/virtiofsd --socket-path=/host/test/fs.sock -o source={SHARE} "
        "-o sandbox=chroot </dev/null >fs.log 2>&1 &)\n"
        "n=0; until [ -S fs.sock ]; do [ $n -gt 100 ] && { cat fs.log; exit 1; }; "
        "n=$((n + 1)); sleep 0.1; done"
    )
    text = nest.guest(
        f"{MOUNT} && cat /mnt/file", options=["--share", "tag=socket:/host/test/fs.sock"]
    ).console()
    assert "by-socket" in text


def test_what_cannot_be_shared_is_refused(nest: Nest) -> None:
    kernel = ("--kernel", "/nest/vmlinux")
    done = nest.vmm(*kernel, "--share", "tag=/no/such/folder")
    assert done.status == 2 and "/no/such/folder: No such file" in done.output
    done = nest.vmm(*kernel, *OPTIONS, "tag=/nest/vmlinux")
    assert done.status == 2 and "not a folder" in done.output
    done = nest.vmm(*kernel, "--share", "tag=/host/test")
    assert done.status == 1 and "it is not in $PATH" in done.output
    done = nest.vmm(*kernel, "--share", "tag=socket:/host/test/none")
    assert done.status == 2 and "is virtiofsd running there?" in done.output
    done = nest.vmm(*kernel, "--virtiofsd", "/bin/false", "--share", "tag=/host/test")
    assert done.status == 1 and "it hung up" in done.output
