# SPDX-License-Identifier: Apache-2.0
"""Who reaches the host over the network: somebody with an SSH key, and a web page's client."""

from __future__ import annotations

import json
import ssl
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.e2e.bounds import bound
from tests.e2e.host import Host

FOLDERS = "guest_kernel=/var/lib/hypergen/kernels guest_image=/var/lib/hypergen/images"


class Workstation:
    """A user with keys, and the port that leads to the host's SSH server."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        for name in ("mine", "other", "kept"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", folder / name],
                check=True,
            )

    def public(self, name: str) -> str:
        return (self.folder / f"{name}.pub").read_text().strip()

    def argv(self, *words: str, key: str = "mine", user: str = "root") -> list[str]:
        options = [
            *("-F", "none", "-p", str(self.port), "-i", str(self.folder / key)),
            *("-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"),
            *("-o", "StrictHostKeyChecking=accept-new", "-o", "LogLevel=ERROR"),
            *("-o", f"UserKnownHostsFile={self.folder}/known_hosts"),
        ]
        return ["ssh", *words[:-1], *options, f"{user}@127.0.0.1", *words[-1:]]

    def run(
        self, *words: str, key: str = "mine", user: str = "root", said: str = ""
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv("-o", "BatchMode=yes", *words, key=key, user=user),
            input=said,
            capture_output=True,
            text=True,
            timeout=bound(60),
            check=False,
        )


class Page:
    """The page of a host, as somebody reaches it who believes no certificate."""

    def __init__(self, host: Host, port: int) -> None:
        self.host, self.port = host, port
        self.told = json.loads(host.command("host_web --json"))
        self.url = f"https://127.0.0.1:{port}"
        self.context = ssl.create_default_context()
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE

    def verb(self, name: str, /, **arguments: object) -> Any:
        """A verb's answer; of one that fails, its status and error."""
        request = urllib.request.Request(
            f"{self.url}/api/v1/{name}",
            json.dumps(arguments).encode(),
            {
                "Content-Type": "application/json",
                "Authorization": f"Bearer {self.told['token']}",
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=bound(60), context=self.context) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)["error"]
