# SPDX-License-Identifier: Apache-2.0
"""host_ssh: who is let in over the network."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from hypershell import catalog, paths, sshkeys, status
from hypershell.choose import choose
from hypershell.errors import ShellError, UsageError
from hypershell.spec import LISTING, Arg, Context, Spec
from hypershell.table import Listing, dump, say, show
from hypershell.units import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace

RC = "/etc/hypergen/rc"
_WAIT = 20.0  # seconds until the server has said whether it listens
_GIVEN = "kernel command line"
_NO_HOST = "this is not a hyper-gen host: its own SSH server has its own keys"


def _known() -> list[tuple[sshkeys.Key, str]]:
    """Every key that is let in, and where it is from."""
    if not paths.on_host():
        return []
    kept = sshkeys.keys(sshkeys.read(sshkeys.path()))
    there = {key.blob for key in kept}
    given = sshkeys.keys(sshkeys.read(sshkeys.EFFECTIVE))
    return [(key, "host_ssh") for key in kept] + [
        (key, _GIVEN) for key in given if key.blob not in there
    ]


def _topic() -> tuple[str, str]:
    """State and message."""
    if not paths.on_host():
        return "none", _NO_HOST
    for topic, state, message in status.topics():
        if topic == "ssh":
            return state, message
    return "none", "this host has not said anything of it"


def _apply() -> int:
    """Let the host's server go on with the keys as they are now, and say what came of it."""
    try:
        # A session of its own: it outlives this shell, which may be here over the network.
        done = subprocess.run(
            [RC, "ssh"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            check=False,
        )
    except OSError as error:
        raise ShellError(f"{RC}: {error.strerror}") from error
    if done.returncode:
        raise ShellError(f"{RC} ssh ended with {done.returncode}; the next start reads the keys")
    until = time.monotonic() + _WAIT * paths.timeout_scale()
    while _topic()[0] == "waiting" and time.monotonic() < until:
        time.sleep(0.05)
    state, message = _topic()
    if state in ("failed", "waiting"):
        raise ShellError(f"the keys are kept, but the server is not up: {message}")
    say(f"ssh {'is on' if state == 'ok' else 'is off'}: {printable(message)}")
    return 0


def _given(words: list[str]) -> list[sshkeys.Key]:
    """The keys of a file, of standard input or of the line itself."""
    if not words:
        raise UsageError("add what? host_ssh add 'ssh-ed25519 AAAA… name', or a file, or -")
    if words == ["-"]:
        lines = sys.stdin.read(1 << 20).splitlines()
    elif len(words) > 1 or " " in words[0]:
        lines = [" ".join(words)]
    elif words[0] in sshkeys.TYPES:
        raise UsageError("the key itself is missing; give the whole line of the .pub file")
    else:
        name = os.path.expanduser(words[0])
        if not os.path.exists(name):
            raise UsageError(f"{words[0]}: no such file, and no key either")
        lines = sshkeys.read(name)
    lines = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        raise UsageError("there is no key in it")
    return [sshkeys.parse(line) for line in lines]


def _add(words: list[str]) -> int:
    given = _given(words)
    with catalog.Lock():
        there = {key.blob for key, _ in _known()}
        new = {key.blob: key for key in given if key.blob not in there}
        if new:
            lines = sshkeys.read(sshkeys.path())
            sshkeys.write(lines + [key.line for key in new.values()])
    for key in given:
        say(f"{_title(key)} {'added' if key.blob in new else 'is let in already'}")
    if not new:
        return 0
    if paths.on_host() and not sshkeys.path().startswith("/host/"):
        say("note: for this boot only; without root= and guest_image= there is nowhere to keep it")
    return _apply()


def _title(key: sshkeys.Key) -> str:
    return printable(f"{key.name or key.type} {key.fingerprint}")


def _remove(words: list[str], sure: bool) -> int:
    if not words:
        raise UsageError("remove which? Give a name or a fingerprint of those that host_ssh lists")
    with catalog.Lock():
        chosen = _chosen(words, _known(), sure)
        gone = {key.blob for key in chosen}
        # Lines that are no keys stay: what they are is not ours to say.
        lines = sshkeys.read(sshkeys.path())
        sshkeys.write([line for line in lines if not {k.blob for k in sshkeys.keys([line])} & gone])
    for key in chosen:
        say(f"{_title(key)} removed; who is in stays in")
    return _apply()


def _fingerprint(known: tuple[sshkeys.Key, str]) -> str:
    return known[0].fingerprint


def _name(known: tuple[sshkeys.Key, str]) -> str:
    return known[0].name or known[0].fingerprint


def _chosen(
    words: list[str], known: list[tuple[sshkeys.Key, str]], sure: bool
) -> list[sshkeys.Key]:
    """The keys that words mean, all of which can be removed. Raises UsageError."""
    chosen = []
    for word in words:
        key, source = choose(
            "key",
            word,
            known,
            lambda shown: f"; there are {shown}" if shown else ": no key is let in",
            _fingerprint if word.startswith("SHA256:") else _name,
        )
        if source == _GIVEN:
            raise UsageError(
                f"{_title(key)} is of the kernel command line: take hypergen.ssh= out of it there"
            )
        chosen.append(key)
    gone = {key.blob for key in chosen}
    if all(key.blob in gone for key, _ in known) and not sure:
        raise UsageError("that would be the last key, and the end of SSH: add --yes")
    return chosen


def _list(args: Namespace) -> int:
    state, message = _topic()
    known = _known()
    records = [
        {"type": key.type, "fingerprint": key.fingerprint, "name": key.name, "from": source}
        for key, source in known
    ]
    if args.json or args.format == "json":
        dump({"state": state, "message": message, "keys": records})
        return 0
    if not args.quiet and args.format == "table":
        say(printable(f"{state}: {message}"))
    rows = [[key.name or "-", key.type, key.fingerprint, source] for key, source in known]
    ids = [key.fingerprint for key, _ in known]
    show(Listing(("NAME", "TYPE", "FINGERPRINT", "FROM"), rows, records, ids=ids), args)
    return 0


def _run(args: Namespace, _: Context) -> int:
    if not paths.on_host() and args.what in ("add", "rm"):
        raise ShellError(_NO_HOST)
    if args.what == "add":
        return _add(args.key)
    if args.what == "rm":
        return _remove(args.key, args.yes)
    if args.key:
        raise UsageError("to do what with it? host_ssh add, or host_ssh rm")
    return _list(args)


SPECS = {
    "host_ssh": Spec(
        _run,
        [
            Arg(
                "what",
                "list, add or rm (default: list)",
                values=("list", "add", "rm"),
                many="?",
                only=True,
            ),
            Arg(
                "key",
                "a public key or its file; for rm a name or fingerprint",
                values="file",
                many="*",
            ),
            Arg("--yes", "remove the last key, too", short="-y", flag=True),
            *LISTING,
        ],
        """Who is let in by SSH: without a key, nobody, and no server runs. Keys are kept in
authorized_keys beside the definitions, on the host's disk, and count at once. The login shell is
this shell; there are no passwords. Those of the kernel command line (hypergen.ssh=) are listed,
too.""",
        [
            ("host_ssh", "who is let in, and the host key's fingerprint"),
            ("host_ssh add /media/usb/id_ed25519.pub", "a file"),
            ("host_ssh add ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA… me@desk", "as it was pasted"),
            ("host_ssh add -", "as in: ssh root@host host_ssh add - <new.pub"),
            ("host_ssh rm me@desk", "by its name or its fingerprint"),
        ],
    )
}
