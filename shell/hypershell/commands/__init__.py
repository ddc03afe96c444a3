# SPDX-License-Identifier: Apache-2.0
"""The one table of commands: name, the module that does it, what it is for.

A module is imported when its command runs, is explained or completed. It has ``SPECS``, by name.
"""

from __future__ import annotations

from hypershell.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hypershell.spec import Spec

GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    "VMs": {
        "vm_create": (
            "vm_create",
            "make and start a VM from a kernel and an image, or a unikernel",
        ),
        "vm_list": ("vm_list", "list the VMs and how they are"),
        "vm_console": ("vm_console", "use a VM's console"),
        "vm_destroy": ("vm_destroy", "end VMs and forget them"),
        "vm_start": ("vm_life", "start VMs that have stopped, or are defined"),
        "vm_stop": ("vm_life", "shut VMs down, and keep them"),
        "vm_kill": ("vm_life", "end VMs at once, and keep them"),
        "vm_restart": ("vm_life", "stop VMs and start them again"),
        "vm_pause": ("vm_life", "stop the CPUs of VMs"),
        "vm_resume": ("vm_life", "let paused VMs go on"),
        "vm_wait": ("vm_life", "wait until VMs have stopped, or run"),
        "vm_info": ("vm_look", "everything about one VM"),
        "vm_log": ("vm_look", "what a VM has printed"),
        "vm_events": ("vm_look", "what happens to VMs, as it happens"),
        "vm_stats": ("vm_top", "what VMs have used since their start"),
        "vm_top": ("vm_top", "what VMs use, live"),
        "vm_set": ("vm_set", "change a VM while it runs"),
        "vm_rename": ("vm_set", "give a VM another name"),
        "vm_debug": ("vm_debug", "let a gdb at a VM"),
        "vm_screenshot": ("vm_debug", "a picture of a VM's screen"),
        "run": ("run", "run a unikernel on this terminal, like a program"),
    },
    "snapshots": {
        "vm_snapshot": ("vm_snapshot", "save a VM as it is this moment"),
        "vm_restore": ("vm_snapshot", "make a VM that goes on from a snapshot"),
        "vm_clone": ("vm_snapshot", "make a second VM go on from where one is"),
        "snapshot_list": ("vm_snapshot", "list the snapshots"),
        "snapshot_rm": ("vm_snapshot", "remove snapshots"),
    },
    "definitions": {
        "vm_define": ("definitions", "write down how a VM is to be, for good"),
        "vm_undefine": ("definitions", "forget a definition"),
        "vm_edit": ("definitions", "change a definition"),
        "vm_autostart": ("definitions", "start a definition with the host, or do not"),
        "definition_list": ("definitions", "list what is defined"),
        "definition_show": ("definitions", "print a definition"),
    },
    "isles": {
        "isle_create": ("isles", "make a VM on CPUs of its own"),
        "isle_list": ("isles", "list the isles"),
        "isle_destroy": ("isles", "end isles and give their CPUs back"),
    },
    "kernels": {
        "kernel_list": ("file_lists", "list the guest kernels"),
        "kernel_info": ("image_tools", "what a kernel is"),
        "kernel_import": ("imports", "copy a kernel into guest_kernel"),
        "kernel_rm": ("image_tools", "remove kernels"),
    },
    "images": {
        "image_list": ("file_lists", "list the disk images"),
        "image_import": ("imports", "copy an image into guest_image"),
        "image_create": ("image_tools", "make an empty image"),
        "image_clone": ("image_tools", "copy an image"),
        "image_resize": ("image_tools", "change an image's size"),
        "image_verify": ("image_tools", "read an image and look for damage"),
        "image_rm": ("image_tools", "remove images"),
    },
    "networks": {
        "net_list": ("nets", "list the network interfaces"),
        "net_info": ("nets", "everything about one interface"),
    },
    "host": {
        "host_info": ("host_info", "show what this host is and what is wrong with it"),
        "host_top": ("vm_top", "what the host's CPUs and memory do, live"),
        "host_log": ("host_log", "the messages of the host"),
        "host_net": ("nets", "addresses, routes, name servers"),
        "host_ssh": ("host_ssh", "who is let in over the network"),
        "host_metrics": ("host_metrics", "print figures of host and VMs for Prometheus"),
        "host_web": ("host_web", "a page for browsers, and an HTTP API"),
        "host_reboot": ("host_power", "end all VMs and reboot the host"),
        "host_shutdown": ("host_power", "end all VMs and power the host off"),
    },
    "shell": {
        "help": ("basic", "explain the commands, or one"),
        "watch": ("basic", "run a command again and again"),
        "script": ("script", "run the commands in a file"),
        "version": ("host_log", "what versions these are"),
        "exit": ("basic", "leave the shell (as CTRL+d); VMs go on"),
    },
    "words": {
        "ps": ("words", "the host's processes"),
        "free": ("words", "the host's memory"),
        "ls": ("words", "a folder of the host"),
        "cat": ("words", "a file of the host"),
        "mkdir": ("words", "make a folder on the host"),
        "kill": ("words", "signal a process of the host; VMs: vm_kill"),
    },
}
"""By what they are about, in the order of ``help``."""

COMMANDS = {name: entry for group in GROUPS.values() for name, entry in group.items()}

ALIASES = {
    "list": "vm_list",
    "console": "vm_console",
    "create": "vm_create",
    "destroy": "vm_destroy",
    "start": "vm_start",
    "stop": "vm_stop",
    "shutdown": "vm_stop",
    "reboot": "vm_restart",
    "suspend": "vm_pause",
    "resume": "vm_resume",
    "dominfo": "vm_info",
    "info": "vm_info",
    "top": "vm_top",
    "dmesg": "host_log",
    "quit": "exit",
    "logout": "exit",
}
"""What virsh, xl and incus call it; ``shutdown`` is of a VM there, too."""


def load(name: str) -> Spec:
    """The declaration of the command ``name``. Raises UsageError with the nearest names."""
    name = ALIASES.get(name, name)
    if name not in COMMANDS:
        near = [known for known in COMMANDS if name and known.startswith(name)]
        near = near or [known for known in COMMANDS if len(name) > 2 and name in known]
        shown = " or ".join(near[:4]) + (f" or another of {len(near)}" if len(near) > 4 else "")
        hint = f"did you mean {shown}?" if near else "help lists the commands"
        raise UsageError(f"unknown command '{name}'; {hint}")
    module = __import__(f"hypershell.commands.{COMMANDS[name][0]}", fromlist=["SPECS"])
    specs: dict[str, Spec] = module.SPECS
    return specs[name]
