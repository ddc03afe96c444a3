# SPDX-License-Identifier: Apache-2.0
"""Where things are; read from the environment on every call, so that all can be moved."""

import os


def on_host() -> bool:
    """Is this a booted hyper-gen host? Elsewhere the shell is a guest on somebody's Linux."""
    return os.path.isdir("/etc/hypergen")


def _personal(variable: str, instead: str) -> str:
    """A folder of the XDG base directory specification, ours below it."""
    base = os.environ.get(variable, "")
    return (base if base.startswith("/") else os.path.expanduser(instead)) + "/hypergen"


def run_dir() -> str:
    """Run-time folder of the host: lock, catalog, status and the VM folders.

    HYPERGEN_RUN, else /run/hypergen, for who is not root a folder of their own.
    """
    if told := os.environ.get("HYPERGEN_RUN"):
        return os.path.abspath(told)
    user = os.geteuid()
    if user == 0:
        return "/run/hypergen"
    own = f"/run/user/{user}"  # systemd's; the specification asks for something alike without it
    return _personal("XDG_RUNTIME_DIR", own if os.path.isdir(own) else "~/.cache")


def vm_root() -> str:
    """Folder with one folder per VM, named by its id."""
    return run_dir() + "/vm"


def vm_dir(vm_id: int) -> str:
    """Folder of one VM: vm.json and the files of hg-vmm's --run-dir."""
    return f"{vm_root()}/{vm_id}"


def isle_root() -> str:
    """Folder with one folder per isle, named by its number; hg-vmm makes and removes them."""
    return run_dir() + "/isle"


def folder(kind: str) -> str:
    """Folder of the guest kernels or images: ``kind`` is ``kernel`` or ``image``."""
    if kind == "kernel":
        return os.environ.get("HYPERGEN_KERNELS") or run_dir() + "/guest_kernel"
    return os.environ.get("HYPERGEN_IMAGES") or run_dir() + "/guest_image"


def state_dir() -> str:
    """Folder on the host's root for what outlives a reboot: definitions, snapshots, history.

    HYPERGEN_STATE, else ``hypergen`` beside the folder of images; for who is not root in their
    home, as the images may be everybody's.
    """
    if told := os.environ.get("HYPERGEN_STATE"):
        return os.path.abspath(told)
    if os.geteuid():
        return _personal("XDG_STATE_HOME", "~/.local/state")
    return os.path.dirname(os.path.realpath(folder("image"))) + "/hypergen"


def vmm() -> str:
    """The mini-VMM's program (HYPERGEN_VMM); a bare name is looked up on PATH."""
    return os.environ.get("HYPERGEN_VMM") or "hg-vmm"


def tls() -> str:
    """The TLS server's program (HYPERGEN_TLS); a bare name is looked up on PATH."""
    return os.environ.get("HYPERGEN_TLS") or "hg-tls"


def timeout_scale() -> float:
    """Factor on every bounded wait, for machines that are slow (HYPERGEN_TIMEOUT_SCALE)."""
    try:
        return max(float(os.environ.get("HYPERGEN_TIMEOUT_SCALE", "1")), 0.1)
    except ValueError:
        return 1.0
