# SPDX-License-Identifier: Apache-2.0
"""Networks of unikernels: packets by hypercalls and through virtio on PCI, and the demo on them."""

from __future__ import annotations

import re

import pytest

from hypergen.config import BuildConfig
from tests.bench.overlay import Overlay
from tests.nested import test_net, unikernels
from tests.nested.nest import Nest
from tests.nested.test_net import PASST_HOST, bridge, passt

__all__ = ["bridge", "passt"]  # fixtures

HOST = "10.79.0.1"


def nest_overlay(files: Overlay, cfg: BuildConfig) -> None:
    """The images, at ``/nest/guests``."""
    unikernels.lay(files, cfg.out, "net", "web_hello")
    test_net.nest_overlay(files, cfg)


@pytest.fixture
def lan(nest: Nest) -> Nest:
    """A host that is 10.79.0.1 on a bridge."""
    nest.bridge("bru", HOST)
    return nest


@pytest.mark.parametrize(
    ("abi", "keys"), [("core", ""), ("v1", ""), ("v2", ",vhost=on"), ("v2", ",vhost=off")]
)
def test_a_unikernel_talks_to_the_host(lan: Nest, abi: str, keys: str) -> None:
    done = lan.run(
        f"hg-vmm --net tap=u0,bridge=bru{keys} --ip 10.79.0.2 /nest/guests/net-{abi}", seconds=90
    )
    assert (done.status, done.output) == (42, "the host answers\n")


def serve(nest: Nest, command: str) -> str:
    """Run the demo until its first line; returns that."""
    return nest.sh(
        f"cd /tmp; rm -f web.out; {command} >web.out 2>&1 &\n"
        "echo $! >/tmp/web.pid; n=0\n"
        "until grep -q http /tmp/web.out; do\n"
        "  n=$((n + 1)); [ $n -lt 300 ] || { cat /tmp/web.out; exit 1; }; sleep 0.2\n"
        "done; cat /tmp/web.out",
        120,
    )


def stop(nest: Nest) -> None:
    """End the demo, which says by its status that a signal did it."""
    nest.sh(
        "kill $(cat /tmp/web.pid); n=0\n"
        "while [ -e /proc/$(cat /tmp/web.pid) ]; do\n"
        "  n=$((n + 1)); [ $n -lt 100 ] || exit 1; sleep 0.1\n"
        "done"
    )


def browse(nest: Nest, url: str) -> None:
    """Fetch pages two at a time, and make wrong requests; busybox's wget crashes of its own -T."""
    host = url.removeprefix("http://").rstrip("/")
    text = nest.sh(
        f"timeout 20 wget -qO /tmp/one {url} & timeout 20 wget -qO /tmp/two {url}; wait $!\n"
        "cat /tmp/one /tmp/two; echo --\n"
        f"printf 'BREW / HTTP/1.1\\r\\n\\r\\n' | nc -w 5 {host} 80; echo; echo --\n"
        f"printf '\\026\\003\\001\\r\\n\\r\\n' | nc -w 5 {host} 80; echo; echo --\n"
        f"timeout 20 wget -qO- {url}none && exit 1; timeout 20 wget -qO- {url}uptime",
        120,
    )
    pages, brewed, binary, rest = text.split("--\n")
    assert sorted(re.findall(r"served <b>(\d+)</b> pages", pages)) == ["1", "2"], text
    assert len(re.findall(r"up for <b>\d+\.\d{3} s</b>", pages)) == 2, text
    assert brewed.startswith("HTTP/1.1 405 ") and binary.startswith("HTTP/1.1 400 "), text
    assert "404 Not Found" in rest and re.search(r"^\d+\.\d{3} s$", rest, re.MULTILINE), text


def test_the_demo_serves_pages_through_virtio(lan: Nest) -> None:
    net = "tap=u0,bridge=bru,capture=web.pcap"
    said = serve(lan, f"hg-vmm --net {net} --ip 10.79.0.2 /nest/guests/web_hello-v2")
    assert said == "Hello from a unikernel: http://10.79.0.2/\n"
    lan.sh("ping -c 3 -s 1400 -W 5 10.79.0.2")
    browse(lan, "http://10.79.0.2/")
    stop(lan)
    lan.sh(
        "od -An -tx4 -N4 /tmp/web.pcap | grep -q a1b2c3d4\n"
        "grep -aq 'GET /uptime' /tmp/web.pcap && grep -aq '404 Not Found' /tmp/web.pcap"
    )


def test_the_demo_serves_pages_by_hypercalls_as_variables_say(lan: Nest) -> None:
    lan.sh("/nest/bin/mktap web0 && ip addr add 10.79.1.1/24 dev web0 && ip link set web0 up")
    said = serve(
        lan,
        "HERMIT_NETIF=web0 HERMIT_IP=10.79.1.2 HERMIT_MASK=255.255.255.0 HERMIT_CAPTURE_NET=1 "
        "HERMIT_APP_PORT=80 hg-vmm /nest/guests/web_hello-core",
    )
    assert said == "Hello from a unikernel: http://10.79.1.2/\n"
    lan.sh("ping -c 3 -s 1400 -W 5 10.79.1.2")
    browse(lan, "http://10.79.1.2/")
    stop(lan)
    lan.sh("grep -aq 'GET /uptime' /tmp/hermit-net.pcap; ip link del web0")


def test_a_port_alone_is_forwarded_without_a_tap(passt: Nest) -> None:
    said = serve(passt, "HERMIT_APP_PORT=80 hg-vmm /nest/guests/web_hello-core")
    assert said == "Hello from a unikernel: http://10.0.5.2/\n"
    browse(passt, f"http://{PASST_HOST}/")
    stop(passt)


def test_what_a_network_cannot_be_is_said(lan: Nest) -> None:
    for options, says in {
        "--net tap=a --net tap=b": "a unikernel has one network",
        "--net tap=a,vhost=on": "vhost=on does not go with a HermitCore image",
        "--ip 10.0.0.256": "give ADDRESS[/BITS]",
    }.items():
        done = lan.run(f"hg-vmm {options} /nest/guests/net-core")
        assert (done.status, says in done.output) == (2, True), done.output
    done = lan.run("HERMIT_IP=10.0.0.300 hg-vmm /nest/guests/net-core")
    assert (done.status, "HERMIT_IP=10.0.0.300: give an IPv4 address" in done.output) == (2, True)
    done = lan.run("hg-vmm --ip 10.0.0.3 /nest/guests/web_hello-core")
    assert (done.status, "give it one with --net" in done.output) == (2, True), done.output


@pytest.mark.parametrize("abi", ["core", "v2"])
def test_a_reset_keeps_the_network(lan: Nest, abi: str) -> None:
    lan.sh(
        "mkdir -p /run/nest/web; cd /run/nest/web\n"
        "hg-vmm --run-dir . --daemonize --net tap=u0,bridge=bru --ip 10.79.0.3 "
        f"--kernel /nest/guests/web_hello-{abi}\n"
        "fetch() { timeout 30 wget -qO page http://10.79.0.3/; grep -o 'served <b>.*</b>' page; }\n"
        "up() { n=0; until [ $(grep -c ^Hello console.log) = $1 ]; do\n"
        "  n=$((n + 1)); [ $n -lt 300 ]; sleep 0.2; done; }\n"
        'ask() { /nest/bin/qmp control.sock "{\\"execute\\": \\"$1\\"}" >answer; }\n'
        "up 1; fetch; fetch; ask system_reset; up 2; fetch; ask stop; ask cont\n"
        "fetch; cp page all\n"
        "ask quit; n=0; until [ -e exit.json ]; do n=$((n + 1)); [ $n -lt 100 ]; sleep 0.1; done",
        120,
    )
    assert "served <b>2</b>" in lan.sh("cat /run/nest/web/all")


@pytest.mark.parametrize(("abi", "keys"), [("core", ""), ("v2", ",vhost=on"), ("v2", ",vhost=off")])
def test_a_network_goes_on_from_a_snapshot(lan: Nest, abi: str, keys: str) -> None:
    text = lan.sh(
        "mkdir -p /run/nest/one /run/nest/two; rm -rf /host/test/snap\n"
        "fetch() { timeout 60 wget -qO /tmp/page http://10.79.0.4/\n"
        "  grep -o '<b>[0-9]*<' /tmp/page; }\n"
        "start() { hg-vmm --run-dir $1 --daemonize --net tap=u0,bridge=bru$2 --ip 10.79.0.4 "
        f"--kernel /nest/guests/web_hello-{abi} $3; }}\n"
        'quit() { /nest/bin/qmp $1/control.sock \'{"execute": "quit"}\' >/dev/null; n=0\n'
        "  until [ -e $1/exit.json ]; do n=$((n + 1)); [ $n -lt 100 ]; sleep 0.1; done; }\n"
        f"start /run/nest/one {keys or ',mtu=1500'}; n=0\n"
        "until grep -q ^Hello /run/nest/one/console.log; do\n"
        "  n=$((n + 1)); [ $n -lt 300 ]; sleep 0.2; done\n"
        "fetch; sleep 1; hg-vmm --save /host/test/snap --run-dir /run/nest/one; fetch\n"
        "quit /run/nest/one\n"
        f"start /run/nest/two {keys or ',mtu=1500'} '--restore /host/test/snap'; fetch; fetch\n"
        "quit /run/nest/two",
        240,
    )
    assert re.findall(r"<b>(\d+)<", text) == ["1", "2", "2", "3"], text
