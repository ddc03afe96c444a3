# SPDX-License-Identifier: Apache-2.0
"""Every ``--json`` says what its declared schema says."""

from __future__ import annotations

import json

import pytest
from hypershell.commands import COMMANDS, load
from hypershell.schema import SCHEMAS, schema
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from tests.shell.conftest import Host


def check(command: str, text: str) -> object:
    """The value in ``text``, which holds all fields that ``command`` declares, and no other."""
    value = json.loads(text)
    Draft202012Validator(schema(command, strict=True)).validate(value)
    return value


def test_every_command_with_json_has_a_schema() -> None:
    with_json = [name for name in COMMANDS if any(a.name == "--json" for a in load(name).args)]
    assert sorted(with_json) == sorted(SCHEMAS)
    for name in with_json:
        for strict in (True, False):
            Draft202012Validator.check_schema(schema(name, strict=strict))


def test_help_prints_the_schema(host: Host) -> None:
    told = json.loads(host.ok("help vm_list --schema"))
    assert told == schema("vm_list")
    assert told["items"]["properties"]["uptime"]["type"] == ["number", "null"]
    assert "vm_create, vm_list" in host.fails("help vm_destroy --schema", 2)


@pytest.mark.parametrize("broken", [{"id": "1"}, {"name": None}, {"surprise": 1}, {"cpus": ...}])
def test_the_check_notices(host: Host, broken: dict[str, object]) -> None:
    host.ok("vm_create 1 1")
    value = json.loads(host.ok("vm_list --json"))
    check("vm_list", json.dumps(value))
    value[0] |= broken
    value[0] = {key: one for key, one in value[0].items() if one is not ...}
    with pytest.raises(ValidationError):
        check("vm_list", json.dumps(value))


def test_vms(host: Host) -> None:
    assert check("vm_list", host.ok("vm_list --json")) == []
    check("vm_create", host.ok("vm_create 1 1 --name web --vmm '--balloon' --json"))
    check("vm_create", host.ok("vm_create 1 2 --read-only --net none --json"))
    host.ok("vm_stop 2")
    for line in ("vm_list --json", "vm_info web --json", "vm_info 2 --json", "vm_stats --json"):
        value = check(line.split()[0], host.ok(line))
        assert value
    check("vm_top", host.ok("vm_top --once --every 0.1 --json"))
    check("host_top", host.ok("host_top --once --every 0.1 --json"))
    host.ok("vm_snapshot web saved")
    assert check("snapshot_list", host.ok("snapshot_list --json"))
    host.ok("vm_restore saved --name again")
    assert check("snapshot_list", host.ok("snapshot_list --json"))
    check("vm_list", host.ok("vm_list --json"))


def test_a_damaged_vm_has_the_same_fields(host: Host) -> None:
    host.ok("vm_create 1 1")
    (host.run_dir / "vm/1/vm.json").write_text("{")
    check("vm_list", host.ok("vm_list --json"))
    check("vm_info", host.ok("vm_info 1 --json"))


def test_events(host: Host) -> None:
    import subprocess
    import sys
    import time

    host.ok("vm_create 1 1 --name web")
    listener = subprocess.Popen(
        [sys.executable, "-m", "hypershell", "-c", "vm_events web --count 1 --json"],
        env=host.env,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        while listener.poll() is None:  # until it listens
            host.ok("vm_pause web")
            host.ok("vm_resume web")
            time.sleep(0.05)
        assert listener.stdout is not None
        line = listener.stdout.readline()
    finally:
        listener.kill()
        listener.communicate()
    event = check("vm_events", line)
    assert isinstance(event, dict) and event["event"] in ("STOP", "RESUME")


def test_definitions(host: Host) -> None:
    host.ok("vm_define web 1 1 --memory 1G --autostart")
    host.ok("vm_define look 1 2 --read-only")
    assert check("definition_list", host.ok("definition_list --json"))
    for name in ("web", "look"):
        check("definition_show", host.ok(f"definition_show {name} --json"))
    path = next(host.base.rglob("web.toml"))
    path.write_text("kernel = ")
    value = check("definition_list", host.ok("definition_list --json"))
    assert isinstance(value, list) and {one["definition"] is None for one in value} == {True, False}


def test_isles(host: Host) -> None:
    check("isle_create", host.ok("isle_create 1 --image 1 --cpus 1 --json"))
    assert check("isle_list", host.ok("isle_list --json"))
    host.ok("isle_destroy all")
    assert check("isle_list", host.ok("isle_list --json")) == []


def test_files(host: Host) -> None:
    host.ok("vm_create 1 1 --name web")
    for kind in ("kernel", "image"):
        assert check(f"{kind}_list", host.ok(f"{kind}_list --json"))
    for number in ("1", "2"):
        check("kernel_info", host.ok(f"kernel_info {number} --json"))
    check("image_verify", host.ok("image_verify 2 --json"))
    check("image_verify", host.ok("image_verify 2 --quick --json"))


def test_the_host(host: Host) -> None:
    check("host_info", host.ok("host_info --json"))
    (host.run_dir / "host.status").write_text("ssh\tok\tport 22\nnet\twaiting\tno link\n")
    host.ok("vm_create 1 1 --name web")
    value = check("host_info", host.ok("host_info --json"))
    assert isinstance(value, dict) and len(value["status"]) == 2
    check("net_list", host.ok("net_list --json"))
    check("net_info", host.ok("net_info lo --json"))
    check("host_net", host.ok("host_net --json"))
    check("version", host.ok("version --json"))
    check("version", host.ok("version --json", {"HYPERGEN_VMM": "/no/such"}))
