# SPDX-License-Identifier: Apache-2.0
"""Snapshots of VMs: RAM and devices as hg-vmm saves them, the disk as it was, and what they are.

STATE/snapshots/NAME holds ``vm`` (hg-vmm's folder), ``disk.img`` (unless the VM only reads its
image) and ``snapshot.json``, which is written last: without it a snapshot is not there.
"""

from __future__ import annotations

import os
import subprocess
import time

from hypershell import catalog, lifecycle, paths, storage, vm
from hypershell.choose import choose
from hypershell.errors import ShellError, UsageError
from hypershell.progress import Line

_RECORD = "snapshot.json"


class Snapshot:
    """One that is whole; ``asked`` is the record of the VM it is of."""

    def __init__(self, name: str) -> None:
        self.name, self.folder = name, f"{root()}/{name}"
        record = catalog.read_json(f"{self.folder}/{_RECORD}")
        asked = record.get("vm")
        self.asked: dict[str, object] = asked if isinstance(asked, dict) else {}
        created = record.get("created")
        self.created = int(created) if isinstance(created, (int, float)) else 0
        self.whole = bool(self.asked)

    @property
    def disk(self) -> str:
        """The image that a restored VM's overlay lies on."""
        own = f"{self.folder}/disk.img"
        image = self.asked.get("image")
        path = image.get("path") if isinstance(image, dict) else None
        return own if os.path.exists(own) else str(path or "")

    def size(self) -> int:
        """Bytes that it takes on the disk."""
        total = 0
        for folder, _, names in os.walk(self.folder):
            for name in names:
                total += os.lstat(f"{folder}/{name}").st_blocks * 512
        return total


def root() -> str:
    """Where snapshots are kept."""
    return paths.state_dir() + "/snapshots"


def known() -> list[Snapshot]:
    """All whole snapshots, by name."""
    try:
        names = sorted(os.listdir(root()))
    except OSError:
        return []
    found = [Snapshot(name) for name in names if not name.startswith(".")]
    return [one for one in found if one.whole]


def pick(word: str) -> Snapshot:
    """The snapshot that a name or its beginning means. Raises UsageError."""
    return choose(
        "snapshot",
        word,
        known(),
        lambda shown: f"; there are {shown or 'none'}",
        lambda one: one.name,
    )


def take(one: vm.VM, name: str) -> Snapshot:
    """Save a VM that runs or is paused: it stands still as long as that takes, then goes on."""
    folder = f"{root()}/{storage.check_name(name)}"
    if os.path.exists(f"{folder}/{_RECORD}"):
        raise UsageError(f"snapshot {name} exists already; choose another name or remove it")
    vm.refresh([one])
    if one.state not in ("running", "paused"):
        raise UsageError(f"{one.title} is {one.told()}; only a VM that runs can be saved")
    try:
        vm.remove_folder(folder)  # what a power cut has left of another
        os.makedirs(folder)
    except OSError as error:
        raise ShellError(f"{folder}: {error.strerror}") from error
    running = one.state == "running"
    if running:
        lifecycle.tell(one, "stop")
    try:
        _save(one, folder)
        _copy_disk(one, folder)
    except BaseException:
        vm.remove_folder(folder)
        raise
    finally:
        if running:
            lifecycle.tell(one, "cont")
    record = {"vm": one.asked, "created": int(time.time()), "of": one.id}
    catalog.write_json(f"{folder}/{_RECORD}", record)
    storage.sync_folder(folder)
    return Snapshot(name)


def _save(one: vm.VM, folder: str) -> None:
    argv = [paths.vmm(), "--save", f"{folder}/vm", "--run-dir", one.folder]
    line = Line()
    child = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        said, at = None, 0
        while said is None:
            try:
                said = child.communicate(timeout=0.1)[1]
            except subprocess.TimeoutExpired:
                at = max(at, _saved(f"{folder}/vm.part"))  # which is renamed in the end
                line.bar(f"saving {one.name}", at, one.memory)
    except BaseException:
        child.kill()
        child.communicate()
        raise
    finally:
        line.clear()
    if child.returncode:
        lines = said.strip().splitlines()
        raise ShellError(f"{one.title}: {lines[-1] if lines else 'hg-vmm --save failed'}")


def _saved(folder: str) -> int:
    """How far into the VM's memory hg-vmm has come: what is zero is passed over, as a hole."""
    try:
        with os.scandir(folder) as entries:
            return max((entry.stat().st_size for entry in entries), default=0)
    except OSError:
        return 0


def _copy_disk(one: vm.VM, folder: str) -> None:
    path = one.image.get("path")
    if one.read_only or not isinstance(path, str):
        return
    source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    target = os.open(f"{folder}/disk.img", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        storage.copy(source, target, f"copying {os.path.basename(path)}")
        os.fsync(target)
    except OSError as error:
        raise ShellError(f"{one.title}: its disk cannot be copied: {error.strerror}") from error
    finally:
        os.close(source)
        os.close(target)


def restore(snapshot: Snapshot, name: str | None) -> vm.VM:
    """A new VM that goes on from a snapshot, with what it writes in an overlay of its own."""
    from hypershell import create

    asked = dict(snapshot.asked)
    asked |= {"id": 0, "name": name, "created": int(time.time()), "snapshot": snapshot.name}
    if name is not None:
        create.check_name(name, vm.known())
    image = dict(asked["image"]) if isinstance(asked["image"], dict) else {}

    def complete(asked: dict[str, object]) -> None:
        if image:
            image["path"] = snapshot.disk
            if asked["read_only"] is not True:
                image["overlay"] = f"{snapshot.folder}/overlay.{asked['id']}.{int(time.time())}"
        asked["image"] = image

    try:
        create.launch(asked, f"{snapshot.folder}/vm", complete)
    except BaseException:
        remove_overlay(image)
        raise
    return vm.VM(int(str(asked["id"])))


def remove_overlay(image: dict[str, object]) -> None:
    """What a restored VM has written goes with it."""
    path = image.get("overlay")
    if isinstance(path, str):
        for name in (path, path + ".lock"):
            try:
                os.unlink(name)
            except FileNotFoundError:
                continue


def users(snapshot: Snapshot) -> list[vm.VM]:
    """The VMs that were restored from it, and live on its files."""
    return [one for one in vm.known() if one.asked.get("snapshot") == snapshot.name]
