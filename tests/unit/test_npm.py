# SPDX-License-Identifier: Apache-2.0
"""Files of npm's packages: whose digest is pinned, and that are only read."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from hypergen import run
from hypergen.errors import BuildError, UserError
from hypergen.image import npm
from tests.unit.fakes import settings


def _pack(text: bytes = b"let x;") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        info = tarfile.TarInfo("package/lib/it.js")
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text))
    return buffer.getvalue()


class Npm:
    """Stands in for npm: what it brings, and what it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.brings: bytes | None = _pack()
        self.asked: list[str] = []
        monkeypatch.setattr(run, "run", self._run)

    def _run(self, argv: Sequence[str], *, cwd: Path, **_: object) -> None:
        self.asked.append(" ".join(argv))
        if self.brings is not None:
            (cwd / "scope-it-1.2.3.tgz").write_bytes(self.brings)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Npm:
    return Npm(monkeypatch)


def test_a_package_is_fetched_once_and_verified_each_time(client: Npm, tmp_path: Path) -> None:
    cfg = settings(tmp_path)
    data = client.brings or b""
    pin = hashlib.sha256(data).hexdigest()
    for _ in range(2):
        path = npm.archive(cfg, "@scope/it", "1.2.3", pin)
        assert path.name == "scope-it-1.2.3.tgz" and path.read_bytes() == data
    assert client.asked == ["npm pack --silent --ignore-scripts @scope/it@1.2.3"]
    path.write_bytes(data[:-1])
    assert npm.archive(cfg, "@scope/it", "1.2.3", pin).read_bytes() == data
    assert npm.member(path, "lib/it.js") == b"let x;"
    with pytest.raises(UserError, match="has no file lib/no"):
        npm.member(path, "lib/no")


def test_another_package_than_the_pinned_one_is_refused(client: Npm, tmp_path: Path) -> None:
    cfg = settings(tmp_path)
    client.brings = _pack(b"evil")
    with pytest.raises(BuildError, match="SHA-256 is"):
        npm.archive(cfg, "@scope/it", "1.2.3", "0" * 64)
    client.brings = None
    with pytest.raises(BuildError, match="has left no scope-it"):
        npm.archive(cfg, "@scope/it", "1.2.3", "0" * 64)
    assert not (cfg.downloads / "npm" / "scope-it-1.2.3.tgz").exists()
