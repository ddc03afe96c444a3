# SPDX-License-Identifier: Apache-2.0
"""vm_debug and vm_screenshot."""

from __future__ import annotations

import contextlib
import os
import select
import socket

from hypershell import figures, lifecycle, qmp, terminal, vm
from hypershell.errors import ShellError, UsageError
from hypershell.spec import Arg, Context, Spec
from hypershell.table import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace


def _hand_over(one: vm.VM) -> socket.socket:
    """A connection to the VM's debugger stub: a control connection that becomes one."""
    connection = qmp.Connection(one.folder)
    connection.send("qmp_capabilities")
    connection.send("x-hypergen-gdb-start")
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    while poll.poll(5000):
        for message in connection.receive():
            if message.get("id") != "x-hypergen-gdb-start":
                continue
            if "error" in message:
                error = figures.as_object(message["error"])
                raise ShellError(f"{one.title}: {error.get('desc')}")
            return connection.detach()
        if connection.ended:
            break
    raise ShellError(f"{one.title} does not answer; vm_list shows how it is")


def _relay(source: int, sink: int, stub: socket.socket) -> None:
    """Carry bytes from ``source`` to the stub and from there to ``sink`` until a side hangs up."""
    poll = select.poll()
    stub.setblocking(True)
    ways = {source: stub.fileno(), stub.fileno(): sink}
    for fd in ways:
        os.set_blocking(fd, True)
        poll.register(fd, select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            data = os.read(fd, 65536)
            if not data:
                return
            terminal.write_all(ways[fd], data)


def _attach(one: vm.VM, source: int, sink: int) -> None:
    """Serve the debugger at two descriptors. Raises ShellError when the VM does not."""
    try:
        stub = _hand_over(one)
    except OSError as error:
        raise ShellError(f"{one.title}: {error.strerror}") from error
    with stub, contextlib.suppress(OSError):  # a reset by either side is an end as well
        _relay(source, sink, stub)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise UsageError(f"--port {text}: a TCP port, 1 to 65535; 0 takes a free one")
    return int(text)


def _debug(args: Namespace, _: Context) -> int:
    one = lifecycle.pick_with_state(args.vm)
    if lifecycle.ended(one):
        raise UsageError(f"{one.title} {one.told()}; vm_start {one.id} starts it")
    if args.stdio:
        _attach(one, 0, 1)
        return 0
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", _port(args.port)))
        except OSError as error:
            raise ShellError(f"port {args.port}: {error.strerror}") from error
        listener.listen(1)
        port = listener.getsockname()[1]
        kernel = os.path.basename(str(one.kernel.get("path", "vmlinux")))
        say(f"{one.title} waits for a debugger; CTRL+c ends this. With the kernel's symbols:")
        say(f"  gdb {kernel} -ex 'target remote 127.0.0.1:{port}'")
        debugger, _peer = listener.accept()
    say("A debugger is there; the guest stands still until it says otherwise.")
    with debugger:
        _attach(one, debugger.fileno(), debugger.fileno())
    say(f"The debugger has gone; {one.title} goes on.")
    return 0


def _screenshot(args: Namespace, _: Context) -> int:
    one = vm.pick(args.vm)
    raise UsageError(
        f"{one.title} has no screen, only a console; vm_log {one.id} shows what is on it"
    )


_VM = Arg("vm", "id, name or beginning of a name", values="vm")

SPECS = {
    "vm_debug": Spec(
        _debug,
        [
            _VM,
            Arg("--port", "TCP port of 127.0.0.1; 0: a free one", default="0"),
            Arg("--stdio", "the debugger is on the standard input and output", flag=True),
        ],
        """Lets one gdb at the VM: breakpoints, steps, registers and memory of the guest's kernel,
vCPUs as threads. Listens on this host's loopback only. From elsewhere, gdb starts ssh itself:
  (gdb) target remote | ssh root@host vm_debug web --stdio
When gdb goes, the guest goes on.""",
        [
            ("vm_debug web --port 6677", "then, on this host, gdb's target remote :6677"),
            ("vm_debug web --stdio", "for gdb's target remote | ssh root@host …"),
        ],
    ),
    "vm_screenshot": Spec(
        _screenshot,
        [_VM, Arg("file", "where the picture goes", many="?")],
        "Takes a picture of a VM's screen. VMs of this host have none so far: it says so.",
        [("vm_log web", "what is on its console")],
    ),
}
