# SPDX-License-Identifier: Apache-2.0
"""Starting hg-vmm: its arguments, its exit status, and the line that it gives as a reason."""

from __future__ import annotations

import binascii
import os
import select
import signal
import subprocess
import time

from hypershell import paths
from hypershell.errors import ShellError

START_TIMEOUT = 30.0  # seconds after which a VM that neither runs nor failed is given up
_REASON_LIMIT = 65536  # bytes of stderr that are kept


def disk_argument(path: str, read_only: bool, overlay: str = "") -> str:
    """--disk's value; a comma in a path is doubled, as in QEMU."""
    over = ",overlay=" + overlay.replace(",", ",,") if overlay else ""
    return path.replace(",", ",,") + (",readonly" if read_only else over)


def net_argument(vm_id: int, bridge: str = "br0") -> str:
    """--net's value: a tap of this VM on ``bridge``, with a MAC that no other VM here can have.

    The MAC is locally administered; its last 32 bits are a CRC over the bridge's address and the
    id: CRC-32 never maps two ids after the same text to one value, so it is unique on the host.
    """
    try:
        with open(f"/sys/class/net/{bridge}/address", "rb") as file:
            own = file.read().strip()
    except OSError:
        own = b""
    digest = binascii.crc32(own + vm_id.to_bytes(4, "big")).to_bytes(4, "big")
    return f"tap=hg{vm_id},bridge={bridge},mac=" + (b"\x02\x68" + digest).hex(":")


def command(asked: dict[str, object], folder: str, restore: str = "") -> list[str]:
    """The argument vector of hg-vmm for vm.json's record ``asked``.

    ``restore`` is a snapshot's folder: what it holds is not said again.
    """
    kernel, image = path_of(asked["kernel"]), path_of(asked["image"])
    argv = [paths.vmm(), "--daemonize", "--run-dir", folder, "--name", str(asked["name"])]
    if not asked["unikernel"]:
        argv += ["--kernel", kernel]
    if restore:
        argv += ["--restore", restore]
    else:
        argv += [] if asked["unikernel"] else ["--cmdline", str(asked["cmdline"])]
        argv += ["--cpus", str(asked["cpus"]), "--memory", f"{int(str(asked['memory'])) >> 20}M"]
    if image:
        overlay = path_of(asked["image"], "overlay")
        argv += ["--disk", disk_argument(image, asked["read_only"] is True, overlay)]
    if asked["initrd"]:
        argv += ["--initrd", str(asked["initrd"])]
    if asked["net"] == "bridge":
        argv += ["--net", net_argument(int(str(asked["id"])))]
    elif asked["net"] == "passt":
        argv += ["--net", "passt"]
    more = asked.get("vmm")
    argv += [str(word) for word in more] if isinstance(more, list) else []
    isle = asked["isle"]
    if isinstance(isle, dict):
        argv += ["--isle", f"{isle['number']}" + ("" if isle["address"] else ",net=off")]
        argv += ["--cpu-affinity", str(isle["cpus"])]
    if asked["unikernel"]:  # like a program: what stands behind it is its own
        words = asked["arguments"]
        argv += [kernel, *(words if isinstance(words, list) else [])]
    return argv


def path_of(record: object, key: str = "path") -> str:
    """The path in vm.json's record of a file; empty when there is none."""
    return str(record.get(key) or "") if isinstance(record, dict) else ""


def start(argv: list[str]) -> tuple[int, str]:
    """Run hg-vmm until it says that the VM runs: (exit status, its last line on stderr).

    Raises ShellError when the program cannot be run or says nothing for START_TIMEOUT.
    """
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            # The variables of who runs unikernels by hand say nothing of this one.
            env={k: v for k, v in os.environ.items() if not k.startswith("HERMIT_")},
        )
    except OSError as error:
        raise ShellError(
            f"cannot run {argv[0]}: {error.strerror}; HYPERGEN_VMM names it"
        ) from error
    assert process.stderr is not None
    try:
        output = _listen(process, process.stderr.fileno())
    finally:
        process.stderr.close()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    lines = [line.strip() for line in output.decode("utf-8", "replace").splitlines()]
    said = [line for line in lines if line]
    return process.returncode, said[-1].removeprefix("hg-vmm: ") if said else ""


def _listen(process: subprocess.Popen[bytes], fd: int) -> bytes:
    """stderr until the process ends. Not until end of file: a daemon may have kept the pipe."""
    deadline = time.monotonic() + START_TIMEOUT * paths.timeout_scale()
    os.set_blocking(fd, False)
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    output = b""
    while True:
        ended = process.poll() is not None
        try:
            chunk = os.read(fd, 4096)
        except BlockingIOError:
            chunk = None
        if chunk:
            output = (output + chunk)[-_REASON_LIMIT:]
        elif ended:
            return output
        elif time.monotonic() > deadline:
            raise ShellError(f"{paths.vmm()} said nothing for too long and was ended")
        elif chunk is None:
            poll.poll(50)
        else:
            time.sleep(0.01)
