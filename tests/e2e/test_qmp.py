# SPDX-License-Identifier: Apache-2.0
"""A foreign client, ``qemu.qmp`` from PyPI, drives a VM's control socket."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from qemu.qmp import EventListener, ExecuteError, QMPClient

from tests.e2e.bounds import bound
from tests.e2e.files import FILES
from tests.e2e.host import RELAY_PORT, Host
from tests.e2e.test_serial import attach, detach

# Carries TCP to a VM's control socket, on the host's own Python.
RELAY = f"""
import asyncio, sys
async def pump(reader, writer):
    while data := await reader.read(4096):
        writer.write(data)
        await writer.drain()
    writer.close()
async def serve(reader, writer):
    to = await asyncio.open_unix_connection(sys.argv[1])
    await asyncio.gather(pump(reader, to[1]), pump(to[0], writer))
async def main():
    server = await asyncio.start_server(serve, "0.0.0.0", {RELAY_PORT})
    await server.serve_forever()
asyncio.run(main())
"""


def relay(host: Host, vm: int) -> None:
    """Start the relay and wait until it listens."""
    host.rescue.run(f"cat >/tmp/relay.py <<'EOF'\n{RELAY}EOF")
    socket = f"/run/hypergen/vm/{vm}/control.sock"
    host.rescue.run(f"setsid python3.11 -I -S /tmp/relay.py {socket} >/tmp/relay.log 2>&1 &")
    port = f":{RELAY_PORT:04X} "
    host.rescue.run(f"until grep -q '{port}' /proc/net/tcp; do sleep 1; done", 60)
    host.rescue.run("until ip -4 addr show br0 | grep -q inet; do sleep 1; done", 60)


async def drive(port: int) -> None:
    """Use the socket as a management program would."""
    client, other = QMPClient("e2e"), QMPClient("second")
    for one in (client, other):
        await one.connect(("127.0.0.1", port))

    async def ask(command: str) -> Any:
        return await client.execute(command)

    async def event(listener: EventListener, name: str) -> dict[str, Any]:
        while (got := await asyncio.wait_for(listener.get(), bound(30)))["event"] != name:
            pass
        return dict(got)

    with client.listener() as events:
        assert await ask("query-status") == {"status": "running", "running": True}
        assert (await ask("query-name"))["name"] == "driven"
        assert {"name": "stop"} in await ask("query-commands")
        assert (await ask("query-kvm"))["enabled"] is True
        assert len(await ask("query-cpus-fast")) == 2

        await other.execute("stop")
        await event(events, "STOP")
        assert (await ask("query-status")) == {"status": "paused", "running": False}
        await other.execute("cont")
        await event(events, "RESUME")

        info = await ask("x-hypergen-info")
        assert info["memory"] == 256 << 20
        (disk,) = await ask("query-blockstats")
        assert disk["stats"]["rd_operations"] > 0

        with pytest.raises(ExecuteError) as error:
            await client.execute("no-such-command")
        assert error.value.error_class == "CommandNotFound"

        await client.execute("system_reset")
        await event(events, "RESET")
        await other.disconnect()
        await client.execute("quit")
        shutdown = await event(events, "SHUTDOWN")
        assert shutdown["data"]["guest"] is False
    with contextlib.suppress(EOFError):  # it quit, as it was told
        await client.disconnect()


def test_a_client_from_pypi_drives_the_control_socket(host: Host) -> None:
    vm = host.create(f"{FILES.vmlinux} {FILES.busybox} --cpus 2 --memory 256M --name driven")
    attach(host, vm)
    detach(host)
    relay(host, vm)
    try:
        asyncio.run(asyncio.wait_for(drive(host.port), bound(180)))
        record = host.state(vm, "stopped", 30)
        assert record["reason"] == "quit"
    finally:
        host.kill("relay.py")
