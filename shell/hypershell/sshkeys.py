# SPDX-License-Identifier: Apache-2.0
"""Public SSH keys, and the file of those that are let in (sshd(8), AUTHORIZED_KEYS FILE FORMAT)."""

from __future__ import annotations

import binascii
import contextlib
import os

from hypershell import paths, storage
from hypershell.errors import ShellError, UsageError

TYPES = (
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)
"""Those that the host's server knows."""

EFFECTIVE = "/root/.ssh/authorized_keys"
"""What the server reads: the kernel command line's keys, and those of :func:`path`."""

_LIMIT = 1 << 20
_WRONG = "is no public key; one is as: ssh-ed25519 AAAA… name"


class Key:
    """A line of authorized_keys: ``blob`` is the key itself, ``name`` its comment."""

    def __init__(self, line: str, type_: str, blob: bytes, name: str) -> None:
        self.line, self.type, self.blob, self.name = line, type_, blob, name

    @property
    def fingerprint(self) -> str:
        """As ``ssh-keygen -l`` prints it."""
        import hashlib

        digest = hashlib.sha256(self.blob).digest()
        return "SHA256:" + binascii.b2a_base64(digest, newline=False).decode().rstrip("=")


def _words(line: str) -> list[str]:
    """The words of a line, at most four; blanks inside quotes are none (options have such)."""
    words, quoted = [""], False
    for i, char in enumerate(line):
        if char == '"' and (not i or line[i - 1] != "\\"):
            quoted = not quoted
        if char in " \t" and not quoted and len(words) < 4:
            if words[-1]:
                words.append("")
            continue
        words[-1] += char
    return words


def parse(line: str) -> Key:
    """A key, with options before it or without. Raises UsageError that says what it is instead."""
    line = line.strip()
    if "PRIVATE KEY" in line:
        raise UsageError("that is a private key, which nobody else should see; give its .pub file")
    if line.startswith("---- BEGIN SSH2"):
        raise UsageError("that is RFC 4716's form; ssh-keygen -i -f FILE makes OpenSSH's of it")
    words = _words(line)
    at = 0 if words[0] in TYPES else 1
    if len(words) <= at + 1 or words[at] not in TYPES or not line.isprintable():
        raise UsageError(f"'{line[:40]}' {_WRONG}")
    try:
        blob = binascii.a2b_base64(words[at + 1], strict_mode=True)
    except (binascii.Error, ValueError):
        blob = b""
    told = words[at].encode()
    # RFC 4253, 6.6: the blob begins with its type, as a string; a part that is cut off shows too.
    if blob[: 4 + len(told)] != len(told).to_bytes(4, "big") + told or not _whole(blob):
        raise UsageError(f"'{line[:40]}' is damaged, or only a part of a key was given")
    return Key(line, words[at], blob, " ".join(words[at + 2 :]))


def _whole(blob: bytes) -> bool:
    """Is this a row of strings, each as long as it says (RFC 4251, 5)?"""
    at = count = 0
    while at + 4 <= len(blob):
        at += 4 + int.from_bytes(blob[at : at + 4], "big")
        count += 1
    return at == len(blob) and count >= 2


def path() -> str:
    """The file that host_ssh keeps, beside the definitions."""
    return paths.state_dir() + "/authorized_keys"


def read(name: str) -> list[str]:
    """The lines of a file; none when it is not there. Raises ShellError."""
    try:
        with open(name, encoding="utf-8", errors="replace") as file:
            return file.read(_LIMIT).splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ShellError(f"{name}: {error.strerror}") from error


def keys(lines: list[str]) -> list[Key]:
    """The keys among lines; what is none is passed over, as the server does."""
    found = []
    for line in lines:
        with contextlib.suppress(UsageError):
            found.append(parse(line))
    return found


def write(lines: list[str]) -> None:
    """Replace :func:`path` so that a power cut leaves the old file or this one. ShellError."""
    part = path() + ".part"
    try:
        os.makedirs(os.path.dirname(part), exist_ok=True)
        with open(part, "w", encoding="utf-8", opener=_private) as file:
            file.write("".join(line + "\n" for line in lines))
            file.flush()
            os.fsync(file.fileno())
        os.rename(part, path())
        storage.sync_folder(os.path.dirname(part))
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise ShellError(f"{path()}: {error.strerror}") from error


def _private(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_CLOEXEC, 0o600)
