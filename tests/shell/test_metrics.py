# SPDX-License-Identifier: Apache-2.0
"""host_metrics: the text that Prometheus reads."""

from __future__ import annotations

import re

from hypershell.commands.host_metrics import Families, escape

from tests.shell.conftest import Host

SAMPLE = re.compile(
    r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)"
    r'(\{(?P<labels>[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*"'
    r'(,[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*")*)\})? (?P<value>-?[0-9.e+]+)'
)


def parse(text: str) -> dict[str, float]:
    """Samples by name and labels; each family must be described, typed and in one piece."""
    assert text.endswith("\n")
    samples: dict[str, float] = {}
    seen: set[str] = set()
    family = ""
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith("# HELP "):
            family = line.split()[2]
            assert family not in seen, f"{family} is in two pieces"
            seen.add(family)
            kind = "counter" if family.endswith("_total") else "gauge"
            assert next(lines) == f"# TYPE {family} {kind}"
            continue
        match = SAMPLE.fullmatch(line)
        assert match, line
        assert match["name"] == family, line
        key = f"{family}{{{match['labels']}}}" if match["labels"] else family
        assert key not in samples, f"{key} twice"
        samples[key] = float(match["value"])
    return samples


def test_labels_are_escaped() -> None:
    assert escape('a\\b"c\nd') == 'a\\\\b\\"c\\nd'
    assert escape("\udcff") == "?"
    families = Families()
    families.add("x_total", "What it is.", 1, name='q"\n')
    families.add("y", "Another.", 2.5)
    families.add("x_total", "What it is.", 3, name="r")
    families.add("x_total", "What it is.", None, name="left out")
    families.add("x_total", "What it is.", True, name="left out")
    assert parse("\n".join(families.lines()) + "\n") == {
        'hypergen_x_total{name="q\\"\\n"}': 1,
        'hypergen_x_total{name="r"}': 3,
        "hypergen_y": 2.5,
    }


def test_metrics_of_two_vms(host: Host) -> None:
    host.ok("vm_create 1 1 --read-only")
    host.ok("vm_create 1 1 --read-only")
    samples = parse(host.ok("host_metrics"))
    assert samples['hypergen_host_vms{state="running"}'] == 2
    assert samples["hypergen_host_memory_bytes"] > 0
    for number in (1, 2):
        labels = f'id="{number}",name="vm{number}"'
        assert samples[f"hypergen_vm_up{{{labels}}}"] == 1
        assert samples[f'hypergen_vm_exits_total{{{labels},reason="io"}}'] == 12
        device = f'{labels},device="1",type="blk"'
        assert samples[f"hypergen_vm_device_written_bytes_total{{{device}}}"] == 4096
        assert samples[f'hypergen_vm_disk_read_bytes_total{{{labels},disk="disk0"}}'] == 512
        assert samples[f"hypergen_vm_uptime_seconds{{{labels}}}"] < 1000


def test_metrics_without_vms(host: Host) -> None:
    samples = parse(host.ok("host_metrics"))
    assert samples['hypergen_host_vms{state="running"}'] == 0
    assert not any("_vm_" in name for name in samples)
