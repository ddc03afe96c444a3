# SPDX-License-Identifier: Apache-2.0
"""The one table of commands: name, the module that does it, what it is for.

A module is imported when its command runs, is explained or completed. It has ``SPECS``, by name.
"""

from __future__ import annotations

from hypershell.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hypershell.spec import Spec

COMMANDS = {
    "vm_create": ("vm_create", "make and start a VM from a kernel and an image, or a unikernel"),
    "vm_list": ("vm_list", "list the VMs and how they are"),
    "vm_console": ("vm_console", "use a VM's console"),
    "vm_destroy": ("vm_destroy", "end VMs and forget them"),
    "run": ("run", "run a unikernel on this terminal, like a program"),
    "isle_create": ("isles", "make a VM on CPUs of its own"),
    "isle_list": ("isles", "list the isles"),
    "isle_destroy": ("isles", "end isles and give their CPUs back"),
    "kernel_list": ("file_lists", "list the guest kernels"),
    "image_list": ("file_lists", "list the disk images"),
    "host_info": ("host_info", "show what this host is and what is wrong with it"),
    "host_metrics": ("host_metrics", "print figures of host and VMs for Prometheus"),
    "host_reboot": ("host_power", "end all VMs and reboot the host"),
    "host_shutdown": ("host_power", "end all VMs and power the host off"),
    "help": ("basic", "explain the commands, or one"),
    "exit": ("basic", "leave the shell (as CTRL+d); VMs go on"),
}


def load(name: str) -> Spec:
    """The declaration of the command ``name``. Raises UsageError with the nearest names."""
    if name not in COMMANDS:
        near = [known for known in COMMANDS if name and known.startswith(name)]
        near = near or [known for known in COMMANDS if len(name) > 2 and name in known]
        hint = f"did you mean {' or '.join(near)}?" if near else "help lists the commands"
        raise UsageError(f"unknown command '{name}'; {hint}")
    module = __import__(f"hypershell.commands.{COMMANDS[name][0]}", fromlist=["SPECS"])
    specs: dict[str, Spec] = module.SPECS
    return specs[name]
