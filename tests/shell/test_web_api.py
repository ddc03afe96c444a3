# SPDX-License-Identifier: Apache-2.0
"""The verbs over HTTP: what they take and answer, how they fail, and that none holds up others."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypershell.commands import COMMANDS, load
from hypershell.schema import SCHEMAS, schema
from hypershell.web import api
from jsonschema import Draft202012Validator

from .conftest import Host, a_host
from .web_client import WAIT, Page


@pytest.fixture
def page(host: Host) -> Page:
    return Page(host)


@pytest.fixture(scope="module")
def calm() -> Iterator[Page]:
    """One page for all tests that change nothing."""
    with a_host() as host:
        yield Page(host)


def test_every_verb_is_there_or_said_not_to_be(calm: Page) -> None:
    paths = calm.ask("GET", "/api/v1/openapi.json").json()["paths"]
    here = [f"/api/v1/{name}" for name in COMMANDS if name not in api.LEFT_OUT]
    assert list(paths) == here and set(api.LEFT_OUT) <= set(COMMANDS)
    for name in api.LEFT_OUT:
        assert "is not to be had here" in calm.verb(name, 404)["error"]
    assert "did you mean" in calm.verb("vm_lis", 404)["error"]
    assert calm.verb("list", 404) == {"error": "list is vm_list here"}
    wrong = calm.ask("GET", "/api/v1/vm_list")
    assert (wrong.status, wrong.headers["Allow"]) == (405, "POST")


def test_the_document_says_what_the_verbs_take(calm: Page) -> None:
    document = calm.ask("GET", "/api/v1/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    for path, item in document["paths"].items():
        name, told = path.rpartition("/")[2], item["post"]
        body = told["requestBody"]["content"]["application/json"]["schema"]
        Draft202012Validator.check_schema(body)
        assert set(body["properties"]) == {api.key(arg) for arg in api.arguments(load(name))}
        (answer,) = told["responses"]["200"]["content"].values()
        if name in SCHEMAS:
            assert answer["schema"] == {
                k: v for k, v in schema(name).items() if k not in ("$schema", "title")
            }
    required = document["paths"]["/api/v1/vm_create"]["post"]["requestBody"]
    assert required["content"]["application/json"]["schema"]["required"] == ["kernel"]


def test_a_vms_life(page: Page) -> None:
    made = page.verb("vm_create", kernel=1, image="busybox", name="web", memory="256M", net="none")
    assert (made["id"], made["memory"]) == (1, 256 << 20)
    (one,) = page.verb("vm_list")
    assert (one["name"], one["state"]) == ("web", "running")
    assert "paused" in page.verb("vm_pause", vm=["web"])["output"]
    assert page.verb("vm_info", vm="web")["state"] == "paused"
    assert "goes on" in page.verb("vm_resume", vm=[1])["output"]
    assert "fake login:" in page.verb("vm_log", vm=1, lines=2)["output"]
    assert page.verb("vm_stats", vm=[])[0]["disk_read"] == 512
    assert page.verb("vm_top")[0]["name"] == "web"
    assert page.verb("host_info")["vms"] == {"running": 1}
    assert "hypergen_vm_up" in page.verb("host_metrics")["output"]
    assert "stopped" in page.verb("vm_stop", vm=["web"])["output"]
    assert "runs;" in page.verb("vm_start", vm=["web"])["output"]
    page.verb("vm_define", name="db", kernel=1, image=2, read_only=True)
    assert page.verb("definition_show", name="db")["read_only"] is True
    assert page.verb("vm_destroy", vm=["all"])["output"]
    assert page.verb("vm_list") == []


def test_every_answer_is_as_declared(page: Page) -> None:
    page.verb("vm_create", kernel=1, image=1, name="web")
    page.verb("vm_snapshot", vm="web", name="good")
    page.verb("vm_define", name="db", kernel=1, image=2)
    arguments: dict[str, dict[str, object]] = {
        "vm_create": {"kernel": 1, "image": 2},
        "isle_create": {"kernel": 1, "image": 2, "cpus": 1},
        "vm_info": {"vm": "web"},
        "definition_show": {"name": "db"},
        "kernel_info": {"kernel": 1},
        "image_verify": {"image": 2},
        "net_info": {"net": "lo"},
    }
    for name in SCHEMAS:
        if name in api.LEFT_OUT or api.streams(name) or name == "host_ssh":  # refused here
            continue
        value = page.verb(name, **arguments.get(name, {}))
        Draft202012Validator(schema(name, strict=True)).validate(value)
        page.verb("vm_destroy", vm=["all"]) if name == "vm_create" else None
        if name == "vm_create":
            page.verb("vm_create", kernel=1, image=1, name="web")


@pytest.mark.parametrize(
    ("name", "body", "why"),
    [
        ("vm_list", "[]", "not a JSON object"),
        ("vm_list", "1", "not a JSON object"),
        ("vm_list", "{", "not JSON"),
        ("vm_list", '{"a": NaN}', "not JSON"),
        ("vm_list", "[" * 60000, "not JSON"),
        ("vm_list", '{"a": ' + "9" * 5000 + "}", "not JSON"),
        ("vm_list", b"\xff\xfe", "not JSON"),
        ("vm_list", '{"json": true}', "no argument 'json'; it takes nothing"),
        ("vm_list", '{"--quiet": true}', "no argument '--quiet'"),
        ("vm_log", '{"vm": "a", "follow": true}', "no argument 'follow'"),
        ("vm_list", '{"\\u001b[2J": 1}', "no argument '?[2J'"),
        ("vm_info", "{}", "vm is missing: "),
        ("vm_info", '{"vm": null}', "vm: null is no value; leave it out"),
        ("vm_info", '{"vm": ["a"]}', "vm: a text, or a whole number from 0"),
        ("vm_info", '{"vm": 1.5}', "vm: a text, or a whole number from 0"),
        ("vm_info", '{"vm": -1}', "vm: a text, or a whole number from 0"),
        ("vm_info", '{"vm": 9007199254740993}', "vm: a text, or a whole number from 0"),
        ("vm_info", '{"vm": true}', "vm: a text, or a whole number from 0"),
        ("vm_info", '{"vm": "a\\u0000"}', "without NUL"),
        ("vm_info", '{"vm": "\\ud800"}', "without NUL"),
        ("vm_info", '{"vm": "%s"}' % ("a" * 4097), "at most 4096"),
        ("vm_stop", "{}", "vm: at least one"),
        ("vm_stop", '{"vm": []}', "vm: at least one"),
        ("vm_stop", '{"vm": "a"}', "vm: a list"),
        ("vm_stop", '{"vm": %s}' % ([1] * 257), "vm: a list of at most 256"),
        ("vm_stop", '{"vm": ["a"], "force": 1}', "force: true or false"),
        ("vm_wait", '{"vm": ["a"], "for": "off"}', "for: one of stopped, running"),
        ("vm_info", '{"vm": "--help"}', "unknown VM '--help'"),
        ("vm_info", '{"vm": ""}', "unknown VM ''"),
        ("vm_start", '{"vm": ["nope"]}', "unknown VM 'nope'"),
        ("vm_set", '{"vm": "x", "balloon": "1Q"}', "unknown VM 'x'"),
        ("vm_events", '{"count": "few"}', "--count few"),
    ],
)
def test_wrong_usage_is_one_line(calm: Page, name: str, body: str | bytes, why: str) -> None:
    done = calm.ask("POST", f"/api/v1/{name}", body, Content_Type="application/json; charset=utf-8")
    assert done.status == 400, done.body
    assert why in done.json()["error"] and "\n" not in done.json()["error"]


def test_what_fails_says_why_and_what_was_done(host: Host) -> None:
    host.env["FAKE_DEAF"] = "1"
    page = Page(host)
    page.verb("vm_create", kernel=1, image=1, name="web")
    page.verb("vm_create", kernel=1, image=2, name="db")
    page.verb("vm_kill", vm=["db"])
    told = page.verb("vm_stop", 500, vm=["db", "web"], timeout="0.2")
    assert "has not shut down" in told["error"] and "db) is stopped already" in told["output"]


def test_a_bug_is_no_ones_to_read(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    (host.base / "sitecustomize.py").write_text(
        "from hypershell import host\n"
        "def record(): raise KeyError('secret words')\n"
        "host.record = record\n"
    )
    host.env["PYTHONPATH"] = f"{host.base}:{host.env['PYTHONPATH']}"
    page = Page(host)
    told = page.verb("host_info", 500)
    assert told == {"error": "internal error; see the log of host_web"}
    assert "secret words" in (host.run_dir / "web/log").read_text()


def test_who_waits_holds_nobody_up(page: Page) -> None:
    page.verb("vm_create", kernel=1, image=1, name="web")
    waiters = [threading.Thread(target=lambda: page.verb("vm_wait", vm=["web"])) for _ in range(6)]
    for one in waiters:
        one.start()
    began = time.monotonic()
    assert page.verb("vm_list")[0]["state"] == "running"
    assert time.monotonic() - began < WAIT
    assert all(one.is_alive() for one in waiters)
    page.verb("vm_kill", vm=["web"])
    for one in waiters:
        one.join(WAIT)
        assert not one.is_alive()


def test_a_vm_that_hangs_says_so_and_others_go_on(host: Host) -> None:
    host.ok("vm_create 1 2 --name web")
    host.ok("vm_create 1 1 --name hung", {"FAKE_HANG": "1"})
    page = Page(host)
    answers: dict[int, object] = {}

    def listed(number: int) -> None:
        answers[number] = [one["state"] for one in page.verb("vm_list")]

    threads = [threading.Thread(target=listed, args=(n,)) for n in range(3)]
    for one in threads:
        one.start()
    began = time.monotonic()
    page.verb("version")
    spent = time.monotonic() - began
    for one in threads:
        one.join(WAIT)
    assert list(answers.values()) == [["running", "unresponsive"]] * 3
    assert spent < WAIT


def _jobs(host: Host) -> list[int]:
    keeper = json.loads((host.run_dir / "web/state.json").read_text())["pid"]
    children = Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split()
    return [
        int(word)
        for child in children
        for word in Path(f"/proc/{child}/task/{child}/children").read_text().split()
    ]


def test_who_hangs_up_ends_what_he_asked_for(page: Page) -> None:
    import socket

    page.verb("vm_create", kernel=1, image=1, name="web")
    body = b'{"vm": ["web"]}'
    head = b"POST /api/v1/vm_wait HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %b\r\n"
    head %= page.token.encode()
    head += b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(str(page.path))
        one.sendall(head + body)
        deadline = time.monotonic() + WAIT
        while not _jobs(page.host) and time.monotonic() < deadline:
            time.sleep(0.02)
        (job,) = _jobs(page.host)
    while _jobs(page.host) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not Path(f"/proc/{job}").exists()


def test_too_much_at_once_is_refused(page: Page) -> None:
    page.verb("vm_create", kernel=1, image=1, name="web")
    body = json.dumps({"vm": ["web"]})
    statuses: list[int] = []

    def wait() -> None:
        done = page.ask("POST", "/api/v1/vm_wait", body, Content_Type="application/json")
        statuses.append(done.status)

    threads = [threading.Thread(target=wait) for _ in range(44)]
    for one in threads:
        one.start()
    deadline = time.monotonic() + WAIT
    while len(statuses) < 4 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert statuses == [503] * 4 and len(_jobs(page.host)) == 8
    page.host.ok("vm_kill web")
    for one in threads:
        one.join(WAIT)
    assert statuses.count(200) == 40


def test_events_come_as_they_happen(page: Page) -> None:
    import http.client

    from .web_client import _Unix

    page.verb("vm_create", kernel=1, image=1, name="web")
    connection: http.client.HTTPConnection = _Unix(page.path)
    fields = {"Authorization": f"Bearer {page.token}", "Content-Type": "application/json"}
    connection.request("POST", "/api/v1/vm_events", '{"vm": ["web"]}', fields)
    response = connection.getresponse()
    assert response.status == 200
    assert response.headers["Content-Type"] == "application/x-ndjson"
    page.verb("vm_pause", vm=["web"])
    event = json.loads(response.readline())
    assert (event["event"], event["name"]) == ("STOP", "web")
    page.verb("vm_resume", vm=["web"])
    assert json.loads(response.readline())["event"] == "RESUME"
    assert len(_jobs(page.host)) == 1
    response.close()
    connection.close()
    deadline = time.monotonic() + WAIT
    while _jobs(page.host) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _jobs(page.host)
