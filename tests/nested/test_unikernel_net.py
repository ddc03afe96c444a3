# SPDX-License-Identifier: Apache-2.0
"""Networks of unikernels: packets by hypercalls and through virtio on PCI, and the demo on them."""

from __future__ import annotations

import pytest

from hypergen.config import BuildConfig
from tests.bench.overlay import Overlay
from tests.nested import unikernels
from tests.nested.nest import Nest

HOST = "10.79.0.1"
ABIS = {"core": unikernels.CORE, "v1": unikernels.V1, "v2": unikernels.V2}


def nest_overlay(files: Overlay, cfg: BuildConfig) -> None:
    """The images, at ``/nest/guests``."""
    (folder := cfg.out / "nested" / "guests").mkdir(parents=True, exist_ok=True)
    for name, abi in ABIS.items():
        built = unikernels.build("net", abi, folder / f"net-{name}")
        files.copy(f"nest/guests/net-{name}", built)


@pytest.fixture
def bridge(nest: Nest) -> Nest:
    """A host that is 10.79.0.1 on a bridge."""
    nest.sh(
        "if [ ! -e /sys/class/net/bru ]; then\n"
        f"  ip link add bru type bridge && ip addr add {HOST}/24 dev bru && ip link set bru up\n"
        "fi"
    )
    return nest


@pytest.mark.parametrize("abi", ABIS)
def test_a_unikernel_talks_to_the_host(bridge: Nest, abi: str) -> None:
    done = bridge.run(
        f"hg-vmm --net tap=u0,bridge=bru --ip 10.79.0.2 /nest/guests/net-{abi}", seconds=90
    )
    assert (done.status, done.output) == (42, "the host answers\n")
