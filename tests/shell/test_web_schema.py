# SPDX-License-Identifier: Apache-2.0
"""The API put to what its OpenAPI document promises, by schemathesis."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Host, scale
from .test_web_socket import fake_tls

SECONDS = 12

pytestmark = pytest.mark.slow

LEFT_OUT = {
    "vm_events": "goes on for ever",
    "vm_wait": "waits for ever",
    "image_verify": "reads what image_create may have made large",
    "host_reboot": "this machine's",
    "host_shutdown": "this machine's",
}
CHECKS = (
    "status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,negative_data_rejection,ignored_auth,unsupported_method,"
    "missing_required_header"
)
"""All but two: a verb may fail (500, as declared), and what is well-formed may name no VM (400)."""


def test_the_api_keeps_what_its_document_promises(host: Host, tmp_path: Path) -> None:
    fake_tls(host)
    host.ok("vm_create 1 1 --name web")
    told = json.loads(host.ok("host_web on --port 0 --address 127.0.0.1 --json"))
    url = told["urls"][0].replace("https", "http")
    words = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}api/v1/openapi.json"]
    words += ["--header", f"Authorization: Bearer {told['token']}", "--checks", CHECKS]
    words += ["--phases", "examples,coverage,fuzzing", "--max-examples", "12", "--seed", "5"]
    words += ["--max-time", str(SECONDS), "--no-color", "--warnings", "off", "--no-shrink"]
    words += ["--generation-database", "none", "--continue-on-failure"]
    # One worker: CPython 3.11's ast.parse() is not for two threads, and Hypothesis calls it
    # ("AST constructor recursion depth mismatch"). It is as quick.
    words += ["--workers", "1"]
    words += ["--request-timeout", str(30 * scale()), "--suppress-health-check", "all"]
    for name in LEFT_OUT:
        words += ["--exclude-operation-id", name]
    # What is too long to be read is refused before it is judged.
    (tmp_path / "schemathesis.toml").write_text(
        "[checks]\nnegative_data_rejection.expected-statuses = [400, 401, 404, 405, 413, 415]\n"
    )
    done = subprocess.run(
        words,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=(SECONDS + 120) * scale(),
        check=False,
    )
    assert done.returncode == 0, "\n".join(line[:300] for line in done.stdout.splitlines())
    assert "Traceback" not in (host.run_dir / "web/log").read_text()
    assert host.run("vm_list --json").returncode == 0
