# SPDX-License-Identifier: Apache-2.0
"""virtio-net with real guests: taps with and without vhost-net, several queues, limits, passt."""

from __future__ import annotations

import re

import pytest

from hypergen.config import BuildConfig
from hypergen.errors import HypergenError
from hypergen.image import debs
from tests.bench.overlay import Overlay
from tests.nested.nest import Guest, Nest
from tests.nested.test_snapshot import restored, save, server

HOST, GUEST, PORT = "10.77.0.1", "10.77.0.2", 7000
MEGA = 1 << 20
ASKS = 300

UP = f"ip addr add {GUEST}/24 dev eth0 && ip link set eth0 up && "
#: What the guest's driver accepted: a string of 0 and 1, bit 0 first.
FEATURES = "cat /sys/bus/virtio/devices/virtio*/features | grep -E '^[01]{5}1'; "

#: Bits of virtio 1.2, 5.1.3.
CSUM, GUEST_CSUM, HOST_TSO4, MRG_RXBUF, CTRL_VQ, MQ = 0, 1, 11, 15, 17, 22


def nest_overlay(overlay: Overlay, cfg: BuildConfig) -> None:
    """Lay Debian's passt over the host, if apt or the cache has it."""
    try:
        deb = debs.fetch(cfg, ["passt"])["passt"]
    except HypergenError as error:
        print(f"no passt for the nested host: {error}")
        return
    overlay.copy("nest/passt", debs.unpack(cfg, deb) / "usr/bin/passt")


@pytest.fixture
def bridge(nest: Nest) -> Nest:
    """A host with a bridge and something that answers on it."""
    nest.bridge("brt", HOST)
    nest.sh(f"ip link set lo up; pidof traffic || /nest/bin/traffic serve {PORT}")
    return nest


def has_vhost_thread(vm: Guest) -> bool:
    """Whether the kernel moves packets for this VM: a thread of its process, or of the kernel."""
    names = vm.nest.sh(f"cat /proc/{vm.pid}/task/*/comm /proc/[0-9]*/comm 2>/dev/null || true")
    return f"vhost-{vm.pid}" in names.split()


def taps(nest: Nest) -> list[str]:
    """The taps that there are in the host."""
    return nest.sh(
        "for t in /sys/class/net/*/tun_flags; do [ -e $t ] && echo $t; done; true"
    ).split()


TRAFFIC = (
    UP
    + f"ping -c 2 -W 5 {HOST} && traffic put {HOST} {PORT} {2 * MEGA} && "
    + f"traffic get {HOST} {PORT} {2 * MEGA} && traffic udp {HOST} {PORT} 20 1400 && "
    + f"traffic udp {HOST} {PORT} 3 20000 && traffic ask {HOST} {PORT} 50"
)


def worker_switches(nest: Nest) -> int:
    """How often the kernel's workers have waited for work so far."""
    text = nest.sh("cat /proc/[0-9]*/status 2>/dev/null || true")
    found = re.findall(r"^Name:\s+kworker(?s:.*?)^voluntary_ctxt_switches:\s+(\d+)", text, re.M)
    return sum(map(int, found))


@pytest.mark.parametrize("vhost", ["on", "off"])
def test_every_byte_arrives_with_and_without_vhost(bridge: Nest, vhost: str) -> None:
    vm = bridge.guest(
        FEATURES
        + TRAFFIC
        + f" && echo all is there; sleep 1; traffic ask {HOST} {PORT} {ASKS}; sleep 1000",
        options=["--net", f"tap=t0,bridge=brt,vhost={vhost}"],
        programs=["traffic"],
        wait=False,
    )
    vm.expect("all is there")
    before = worker_switches(bridge)
    text = vm.expect(f"ask {ASKS} answers")
    # An interrupt is the guest's without a worker of the kernel, vhost's, too (patch 0017).
    assert before and worker_switches(bridge) - before < ASKS / 2
    assert has_vhost_thread(vm) is (vhost == "on")
    vm.qmp("quit")
    vm.ended()
    assert "udp 20 answers" in text and "ask 50 answers" in text
    match = re.search(r"^[01]{32,}$", text, re.MULTILINE)
    assert match, text
    for bit in (CSUM, GUEST_CSUM, HOST_TSO4, MRG_RXBUF, CTRL_VQ):
        assert match[0][bit] == "1", f"feature {bit} was not negotiated: {match[0]}"
    assert match[0][MQ] == "0"
    assert taps(bridge) == []


@pytest.mark.parametrize("vhost", ["on", "off"])
def test_several_queues(bridge: Nest, vhost: str) -> None:
    text = bridge.guest(
        FEATURES
        + "ls -d /sys/class/net/eth0/queues/tx-*; "
        + UP
        + f"for i in 1 2 3 4; do traffic put {HOST} {PORT} {MEGA} & "
        + f"traffic get {HOST} {PORT} {MEGA} & done; wait; "
        + "ifconfig eth0 down; ifconfig eth0 up; "
        + f"traffic udp {HOST} {PORT} 20 1000; grep virtio /proc/interrupts",
        options=["--net", f"tap=t0,bridge=brt,queues=2,vhost={vhost}"],
        programs=["traffic"],
        cpus=2,
    ).console()
    assert "tx-1" in text
    assert len(re.findall(r"put \d+ ms", text)) == len(re.findall(r"get \d+ ms", text)) == 4, text
    assert "udp 20 answers" in text
    match = re.search(r"^[01]{32,}$", text, re.MULTILINE)
    assert match and match[0][MQ] == "1"


def test_an_address_follows_from_the_name(bridge: Nest) -> None:
    script = "cat /sys/class/net/eth*/address"
    net = ["--net", "tap=t0", "--net", "tap=t1,mtu=1300"]
    one = bridge.guest(script + " /sys/class/net/eth1/mtu", options=[*net, "--name", "a"]).console()
    again = bridge.guest(script, options=[*net, "--name", "a"]).console()
    other = bridge.guest(script, options=[*net, "--name", "b"]).console()
    macs = [
        re.findall(r"^52:48(?::[0-9a-f]{2}){4}$", text, re.MULTILINE)
        for text in (one, again, other)
    ]
    assert len(set(macs[0])) == 2 and macs[0] == macs[1]
    assert not set(macs[0]) & set(macs[2])
    assert "\n1300\n" in one


def test_a_limit_holds(bridge: Nest) -> None:
    text = bridge.guest(
        UP + f"traffic put {HOST} {PORT} {2 * MEGA} && traffic get {HOST} {PORT} {4 * MEGA}",
        options=["--net", "tap=t0,bridge=brt,tx-bps=1M:64K,rx-bps=2M:64K"],
        programs=["traffic"],
    ).console()
    took = {name: int(ms) for name, ms in re.findall(r"(put|get) (\d+) ms", text)}
    # 2 MiB at 1 MiB a second, and 4 MiB at 2 MiB; without a limit it is well under a second.
    assert took["put"] > 1700, text
    assert took["get"] > 1700, text


@pytest.mark.parametrize("vhost", ["on", "off"])
def test_a_tap_that_goes_away_is_a_pulled_cable(bridge: Nest, vhost: str) -> None:
    vm = bridge.guest(
        UP + f"ping -c 1 -W 5 {HOST} && echo linked=$(cat /sys/class/net/eth0/carrier)\n"
        "until [ $(cat /sys/class/net/eth0/carrier) = 0 ]; do sleep 0.1; done\n"
        f"echo pulled; ping -c 1 -W 1 {HOST} && exit 1\n"
        "ip link set eth0 down; echo still well",
        options=["--net", f"tap=t0,bridge=brt,vhost={vhost}"],
        wait=False,
    )
    vm.expect("linked=1")
    bridge.sh("ip link del t0")
    text = vm.finish()
    assert "pulled" in text and "still well" in text
    assert "link is down" in vm.log()


def test_a_tap_that_exists_is_used_and_left(bridge: Nest) -> None:
    bridge.sh("/nest/bin/mktap keep && ip link set keep master brt && ip link set keep up")
    bridge.guest(UP + f"ping -c 1 -W 5 {HOST}", options=["--net", "tap=keep,bridge=brt"])
    assert "keep" in bridge.sh("ls /sys/class/net")
    done = bridge.vmm("--kernel", "/nest/vmlinux", "--net", "tap=keep,queues=2")
    assert done.status == 1 and "single queue" in done.output
    bridge.sh("ip link del keep")


def test_no_tap_stays_behind_a_vmm_that_was_killed(bridge: Nest) -> None:
    vm = bridge.guest(
        UP + f"ping -c 1 -W 5 {HOST} && echo up; sleep 1000",
        options=["--net", "tap=t0,bridge=brt,queues=2"],
        wait=False,
    )
    vm.expect("up")
    assert len(taps(bridge)) == 1
    bridge.sh(
        f"kill -9 {vm.pid}; n=0; while [ -e /sys/class/net/t0 ] && [ $n -lt 100 ]; do "
        "sleep 0.1; n=$((n + 1)); done; [ ! -e /sys/class/net/t0 ]"
    )


def test_a_reboot_keeps_the_network(bridge: Nest) -> None:
    vm = bridge.guest(
        UP + f"traffic put {HOST} {PORT} {MEGA} && echo up; sleep 1000",
        options=["--net", "tap=t0,bridge=brt,vhost=on"],
        programs=["traffic"],
        wait=False,
    )
    vm.expect("up")
    vm.qmp("system_reset")
    vm.expect("\nup", count=2)


@pytest.mark.parametrize("vhost", ["on", "off"])
def test_a_network_goes_on_from_a_snapshot(bridge: Nest, vhost: str) -> None:
    net = ["--net", f"tap=t0,bridge=brt,queues=2,vhost={vhost}"]
    vm = server(bridge, options=net, programs=["traffic"], cpus=2)
    check = f"traffic put {HOST} {PORT} {MEGA} && traffic udp {HOST} {PORT} 5 1000"
    assert "udp 5 answers" in vm.ask(UP + check)
    assert save(vm).status == 0
    assert "udp 5 answers" in vm.ask(check)  # the one that was saved goes on, too
    vm.qmp("quit")
    vm.ended()
    again = restored(bridge, options=net)
    assert "udp 5 answers" in again.ask(check)


#: passt tells the guest what the interface of the default route has: here a bridge of its own,
#: since one that lost its ports has no carrier. The gateway stands for the host.
PASST_HOST, GATEWAY = "10.78.0.1", "10.78.0.254"
LEASE = (
    "ip link set eth0 up && udhcpc -i eth0 -n -q -f -s /bin/true -t 10 && "
    f"ip addr add {PASST_HOST}/24 dev eth0 && ip route add default via {GATEWAY} && "
)


@pytest.fixture
def passt(bridge: Nest) -> Nest:
    """A host with passt and a default route."""
    if bridge.run("[ -x /nest/passt ]").status:
        pytest.skip("no package passt: neither apt nor the download cache has it")
    bridge.bridge("brp", PASST_HOST)
    bridge.sh(
        "if [ ! -e /run/realroot ]; then\n"
        f"  ip route add default via {GATEWAY} dev brp\n"
        # It calls pivot_root, which an initramfs refuses.
        "  mkdir -p /run/realroot && echo '#!/bin/sh' >/usr/bin/passt\n"
        "  echo 'exec /nest/bin/realroot /nest/passt \"$@\"' >>/usr/bin/passt\n"
        "  chmod +x /usr/bin/passt\n"
        "fi"
    )
    return bridge


def test_passt_needs_no_tap(passt: Nest) -> None:
    vm = passt.guest(
        LEASE
        + f"traffic put {GATEWAY} {PORT} {2 * MEGA} && traffic get {GATEWAY} {PORT} {2 * MEGA} && "
        + f"traffic udp {GATEWAY} {PORT} 10 1000 && traffic serve 8000 && echo served; sleep 1000",
        options=["--net", "passt,tcp=8001:8000"],
        programs=["traffic"],
        wait=False,
    )
    text = vm.expect("served")
    assert "put" in text and "get" in text and "udp 10 answers" in text
    assert taps(passt) == []
    passt.sh(f"/nest/bin/traffic put {PASST_HOST} 8001 {MEGA}")
    assert passt.run("pidof passt passt.avx2").status == 0
    vm.qmp("quit")
    passt.sh(
        "n=0; while pidof passt passt.avx2 && [ $n -lt 50 ]; do sleep 0.1; n=$((n + 1)); done; "
        "! pidof passt passt.avx2"
    )


def test_passt_that_dies_is_a_pulled_cable(passt: Nest) -> None:
    passt.sh("passt --runas 65534:65534 --socket /tmp/net.sock")
    vm = passt.guest(
        LEASE + f"traffic ask {GATEWAY} {PORT} 5 && echo linked\n"
        "until [ $(cat /sys/class/net/eth0/carrier) = 0 ]; do sleep 0.1; done; echo pulled",
        options=["--net", "socket=/tmp/net.sock"],
        programs=["traffic"],
        wait=False,
    )
    vm.expect("linked")
    passt.sh("kill -9 $(pidof passt passt.avx2)")
    assert "pulled" in vm.finish()


def test_a_socket_nobody_listens_on_is_said(bridge: Nest) -> None:
    done = bridge.vmm("--kernel", "/nest/vmlinux", "--net", "socket=/tmp/none.sock")
    assert done.status == 2 and "/tmp/none.sock: No such file" in done.output
