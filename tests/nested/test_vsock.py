# SPDX-License-Identifier: Apache-2.0
"""vsock, by Unix sockets as Firecracker does it and by the host's kernel."""

from __future__ import annotations

import re

from tests.nested.nest import Nest

FILE = "dd if=/dev/urandom of={0} bs=64k count=24 2>/dev/null; md5sum <{0}"
BACKGROUND = "</dev/null >/dev/null 2>&1 &"


def sums(text: str) -> list[str]:
    """The MD5 sums in it, in their order."""
    return re.findall(r"\b[0-9a-f]{32}\b", text)


def test_the_guest_reaches_a_unix_socket_of_the_host(nest: Nest) -> None:
    nest.sh(
        f"mkdir -p /host/test; cd /host/test; {FILE.format('sent')} >sum\n"
        "(/nest/bin/stream unix-listen v_52 <sent >got 2>listening; md5sum <got >got.sum) "
        f"{BACKGROUND}\n"
        "until [ -s listening ]; do sleep 0.1; done",
    )
    text = nest.guest(
        f"{FILE.format('/sent')}; stream vsock-connect 2 52 </sent >/got && md5sum </got\n"
        "stream vsock-connect 2 53 </dev/null && exit 9; echo refused",
        options=["--vsock", "cid=5,socket=/host/test/v"],
        programs=["stream"],
    ).console()
    host = sums(nest.sh("cd /host/test; until [ -s got.sum ]; do sleep 0.1; done; cat sum got.sum"))
    assert "refused" in text
    assert sums(text) == [host[1], host[0]]


def test_the_host_reaches_the_guest(nest: Nest) -> None:
    vm = nest.guest(
        f"{FILE.format('/sent')}; stream vsock-listen 80 </sent >/got; md5sum </got",
        options=["--vsock", "cid=5,socket=/host/test/v"],
        programs=["stream"],
        wait=False,
    )
    vm.expect("listening")
    host = sums(
        nest.sh(
            f"cd /host/test; {FILE.format('sent')}\n"
            "/nest/bin/stream greet v 81 </dev/null && exit 9\n"
            "/nest/bin/stream greet v 80 <sent >got; md5sum <got"
        )
    )
    assert sums(vm.finish()) == [host[1], host[0]]


def test_the_kernel_of_the_host_serves_it_too(nest: Nest) -> None:
    vm = nest.guest(
        f"{FILE.format('/sent')}; stream vsock-listen 80 </sent >/got; md5sum </got",
        options=["--vsock", "cid=77"],
        programs=["stream"],
        wait=False,
    )
    vm.expect("listening")
    host = sums(
        nest.sh(
            f"cd /host/test; {FILE.format('sent')}\n"
            "/nest/bin/stream vsock-connect 77 80 <sent >got; md5sum <got"
        )
    )
    assert sums(vm.finish()) == [host[1], host[0]]


def test_a_cid_is_one_guests_alone(nest: Nest) -> None:
    vm = nest.guest("echo up; sleep 1000", options=["--vsock", "cid=77"], wait=False)
    vm.expect("up")
    done = nest.vmm("--kernel", "/nest/vmlinux", "--vsock", "cid=77")
    assert done.status == 2
    assert "another VM has it" in done.output
