# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from hypergen import fetch
from hypergen.errors import BuildError
from tests.unit.fakes import Server, serve

BODY = bytes(range(256)) * 5000
SHA = hashlib.sha256(BODY).hexdigest()


def get(server: Server, target: Path, sha256: str = SHA) -> fetch.Record:
    return fetch.http(server.url, target, source="kernel.org", version="6.12.9", sha256=sha256)


def test_a_download_is_whole_and_recorded(tmp_path: Path) -> None:
    with serve(BODY) as server:
        record = get(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == BODY
    assert record.sha256 == SHA and record.size == len(BODY)
    assert json.loads((tmp_path / "f.json").read_text())["version"] == "6.12.9"
    assert not (tmp_path / "f.part").exists()


def test_a_second_fetch_asks_no_server(tmp_path: Path) -> None:
    with serve(BODY) as server:
        get(server, tmp_path / "f")
        get(server, tmp_path / "f")
        assert len(server.requests) == 1


def test_a_cut_connection_is_an_error_and_the_next_run_resumes(tmp_path: Path) -> None:
    with serve(BODY) as server:
        server.cut = 1000
        with pytest.raises(BuildError, match="closed after 1000 of"):
            get(server, tmp_path / "f")
        assert not (tmp_path / "f").exists()
        get(server, tmp_path / "f")
        assert server.requests == ["", "bytes=1000-"]
    assert (tmp_path / "f").read_bytes() == BODY


def test_a_server_without_ranges_is_read_from_the_start(tmp_path: Path) -> None:
    (tmp_path / "f.part").write_bytes(b"x" * 500)
    with serve(BODY) as server:
        server.ranges = False
        get(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == BODY


def test_a_damaged_piece_is_thrown_away(tmp_path: Path) -> None:
    (tmp_path / "f.part").write_bytes(b"x" * 500)
    with serve(BODY) as server:
        get(server, tmp_path / "f")
        assert server.requests == ["bytes=500-", ""]
    assert (tmp_path / "f").read_bytes() == BODY


def test_a_piece_longer_than_the_whole_is_thrown_away(tmp_path: Path) -> None:
    (tmp_path / "f.part").write_bytes(b"x" * (len(BODY) + 10))
    with serve(BODY) as server:
        get(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == BODY


def test_a_damaged_download_is_fetched_again(tmp_path: Path) -> None:
    with serve(BODY) as server:
        get(server, tmp_path / "f")
        (tmp_path / "f").write_bytes(BODY[:-1] + b"?")
        assert fetch.present(tmp_path / "f"), "the size alone does not tell"
        get(server, tmp_path / "f")
        assert len(server.requests) == 2
    assert (tmp_path / "f").read_bytes() == BODY


def test_a_wrong_digest_is_an_error_that_names_both(tmp_path: Path) -> None:
    with serve(BODY) as server, pytest.raises(BuildError) as caught:
        get(server, tmp_path / "f", sha256="0" * 64)
    assert SHA in caught.value.message and "0" * 64 in caught.value.message
    assert not list(tmp_path.iterdir())


def test_no_server_is_an_error_that_names_the_address(tmp_path: Path) -> None:
    with serve(BODY) as server:
        url = server.url
    with pytest.raises(BuildError, match=r"127\.0\.0\.1"):
        fetch.http(url, tmp_path / "f", source="s", version="v", sha256=SHA)
