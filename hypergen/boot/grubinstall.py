# SPDX-License-Identifier: Apache-2.0
"""Putting hyper-gen into a machine's GRUB menu, and taking it out again.

The order of an installation makes every moment a good one to be interrupted: the image is whole in
its place before an entry names it, each file is replaced by a rename, and a generated grub.cfg is
checked before it replaces the old one. Removal goes the other way round. ``install.json`` beside
the image is written first of all, so that ``uninstall`` knows of half an installation too.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from hypergen import progress, run
from hypergen.errors import BuildError, UserError
from hypergen.stage import file_digest

FOLDER = "hypergen"
IMAGE = "bzImage"
SCRIPT = "42_hypergen"
BEGIN = "### BEGIN hyper-gen (written by `hypergen grub install`) ###"
END = "### END hyper-gen ###"
BACKUP = ".hypergen-backup"

# The way of 40_custom: the file prints itself from the fourth line on.
SCRIPT_HEAD = f"""#!/bin/sh
exec tail -n +4 "$0"
{BEGIN}
"""


@dataclass
class State:
    """What an installation has put where; kept in ``install.json``.

    Attributes:
        script: the file in grub.d, or None.
        marked: the grub.cfg that has our lines between markers, or None.
        created: whether `marked` did not exist before.
        generated: the grub.cfg that grub-mkconfig makes, or None.
    """

    script: str | None = None
    marked: str | None = None
    created: bool = False
    generated: str | None = None


def write(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace a file as a whole: after a crash it is the old one or the new one.

    An existing file's mode and owner stay; a symbolic link is followed.
    """
    path = path.resolve()
    temporary = path.with_name(f".{path.name}.hypergen-new")
    try:
        with temporary.open("wb") as stream:
            stream.write(data)
            with contextlib.suppress(OSError):  # FAT has neither
                if path.exists():
                    old = path.stat()
                    os.fchown(stream.fileno(), old.st_uid, old.st_gid)
                    mode = old.st_mode & 0o7777
                os.fchmod(stream.fileno(), mode)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)  # noqa: PTH105 - the tests interrupt here
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _writable(folder: Path) -> None:
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"{folder}: not writable", hint="run it as root, with sudo for example")


def _check_image(bzimage: Path) -> None:
    """A bzImage has the boot protocol's magic (Documentation/arch/x86/boot.rst)."""
    try:
        with bzimage.open("rb") as stream:
            head = stream.read(0x206)
    except OSError as error:
        raise UserError(
            f"{bzimage}: {error.strerror}", hint="`make` builds it; --bzimage names another"
        ) from None
    if head[0x202:0x206] != b"HdrS":
        raise UserError(f"{bzimage}: not a bzImage")


def check_script(text: str, what: str) -> None:
    """Let GRUB's own parser read `text`, where it is installed.

    Raises:
        BuildError: it is not valid.
    """
    program = next((p for p in ("grub-script-check", "grub2-script-check") if run.which(p)), None)
    if program is not None:
        run.capture([program], input=text.encode(), hint=f"{what} is not changed")


def split_marked(text: str, path: Path) -> tuple[str, str | None]:
    """Part a grub.cfg into what is not ours and what is (None when nothing is).

    Raises:
        UserError: the markers are damaged.
    """
    if BEGIN not in text and END not in text:
        return text, None
    before, begin, rest = text.partition(BEGIN + "\n")
    block, end, after = rest.partition(END + "\n")
    if not begin or not end or BEGIN in block or BEGIN in after or END in before or END in after:
        raise UserError(
            f"{path}: hyper-gen's marker lines are damaged",
            hint=f"remove what is between them by hand; a back-up may be in {path.name}{BACKUP}",
        )
    return before + after, block


class Installation:
    """hyper-gen under one boot folder."""

    def __init__(self, boot: Path) -> None:
        self.boot = boot
        self.folder = boot / FOLDER
        self.image = self.folder / IMAGE
        self._file = self.folder / "install.json"
        self._script_backup = self.folder / f"{SCRIPT}.backup"

    @property
    def state(self) -> State | None:
        """What is installed, or None."""
        try:
            return State(**json.loads(self._file.read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def generated_cfg(self) -> Path | None:
        """The grub.cfg that the distribution generates, if there is one."""
        for name in ("grub", "grub2"):
            if (path := self.boot / name / "grub.cfg").is_file():
                return path
        return None

    def install(
        self,
        *,
        bzimage: Path,
        entry: str,
        grub_d: Path | None,
        grub_cfg: Path | None,
        mkconfig: bool,
    ) -> None:
        """Install, or bring an installation up to date.

        Args:
            entry: the menu entry's text.
            grub_d: put a script there; or else
            grub_cfg: put the entry between marker lines of that file.
            mkconfig: have grub-mkconfig renew the generated grub.cfg.

        Raises:
            UserError: something is missing or not writable; nothing has been changed.
        """
        _check_image(bzimage)
        _writable(self.boot)
        _writable((grub_d / SCRIPT).parent if grub_d else (grub_cfg or self.boot).resolve().parent)
        check_script(entry, "nothing")
        if grub_cfg is not None and grub_cfg.exists():
            split_marked(grub_cfg.read_text("utf-8"), grub_cfg)
        self._check_space(bzimage)
        old = self.state or State()
        new = State(
            script=str(grub_d / SCRIPT) if grub_d else None,
            marked=str(grub_cfg) if grub_cfg else None,
            created=grub_cfg is not None
            and (not grub_cfg.exists() or (old.created and old.marked == str(grub_cfg))),
            generated=str(self.generated_cfg()) if mkconfig and self.generated_cfg() else None,
        )
        # An entry that was put elsewhere before goes first: `install.json` knows of one place.
        if old.script and old.script != new.script:
            self._remove_script(Path(old.script))
        if old.marked and old.marked != new.marked:
            self._remove_marked(Path(old.marked), old.created)
        self.folder.mkdir(exist_ok=True)
        self._save(new)
        self._place_image(bzimage)
        if new.script:
            self._place_script(Path(new.script), entry)
        if new.marked:
            self._place_marked(Path(new.marked), entry)
        if new.generated:
            self._generate(Path(new.generated))

    def _save(self, state: State) -> None:
        write(self._file, (json.dumps(asdict(state), indent=1) + "\n").encode())

    def _check_space(self, bzimage: Path) -> None:
        need, free = bzimage.stat().st_size, shutil.disk_usage(self.boot).free
        if free < need + 1024 * 1024:
            raise UserError(
                f"{self.boot}: {progress.human(free)} free, {progress.human(need)} needed",
                hint="remove an old kernel first",
            )

    def _place_image(self, bzimage: Path) -> None:
        if self.image.exists():
            if file_digest(self.image) == file_digest(bzimage):
                return
            previous = self.folder / f"{IMAGE}.old"
            previous.unlink(missing_ok=True)
            try:
                previous.hardlink_to(self.image)
            except OSError:  # FAT
                shutil.copyfile(self.image, previous)
        write(self.image, bzimage.read_bytes())

    def _place_script(self, script: Path, entry: str) -> None:
        text = f"{SCRIPT_HEAD}{entry}"
        if script.exists():
            present = script.read_text("utf-8", "replace")
            if present == text and os.access(script, os.X_OK):
                return
            if BEGIN not in present:  # a stranger's; not in grub.d, whose files are all run
                write(self._script_backup, script.read_bytes(), mode=script.stat().st_mode & 0o7777)
        write(script, text.encode(), mode=0o755)
        script.chmod(0o755)

    def _place_marked(self, path: Path, entry: str) -> None:
        text = path.read_text("utf-8") if path.exists() else ""
        others, present = split_marked(text, path)
        if present == entry:
            return
        if path.exists() and present is None:
            self._back_up(path)
        gap = "" if not others or others.endswith("\n") else "\n"
        whole = f"{others}{gap}{BEGIN}\n{entry}{END}\n"
        check_script(whole, str(path))
        write(path, whole.encode())

    @staticmethod
    def _back_up(path: Path) -> None:
        write(path.with_name(path.name + BACKUP), path.read_bytes(), mode=0o600)

    def _generate(self, path: Path) -> None:
        """What update-grub does, but checked and by a rename."""
        program = next((p for p in ("grub-mkconfig", "grub2-mkconfig") if run.which(p)), None)
        if program is None:
            progress.warn("grub-mkconfig is not installed: renew grub.cfg yourself")
            return
        with progress.step(f"Renewing {path}"):
            text = run.capture([program], hint=f"{path} is as it was")
            if not text.strip():
                raise BuildError(f"{program} printed nothing", hint=f"{path} is as it was")
            check_script(text, str(path))
            if not path.with_name(path.name + BACKUP).exists():
                self._back_up(path)
            write(path, text.encode(), mode=0o600)

    def uninstall(self) -> bool:
        """Take out everything that was put in; False when there was nothing."""
        state = self.state
        if state is None:
            return False
        _writable(self.boot)
        if state.script:
            self._remove_script(Path(state.script))
        if state.marked:
            self._remove_marked(Path(state.marked), state.created)
        if state.generated and Path(state.generated).exists():
            # The menu names the image until here, so the image goes last.
            path = Path(state.generated)
            self._generate(path)
            path.with_name(path.name + BACKUP).unlink(missing_ok=True)
        for path in (self.image, self.folder / f"{IMAGE}.old", self._file):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # the user may keep something there
            self.folder.rmdir()
        return True

    def _remove_script(self, script: Path) -> None:
        if script.exists() and BEGIN in script.read_text("utf-8", "replace"):
            _writable(script.parent)
            if self._script_backup.exists():
                backup = self._script_backup
                write(script, backup.read_bytes())
                script.chmod(backup.stat().st_mode & 0o7777)
            else:
                script.unlink()
        self._script_backup.unlink(missing_ok=True)

    @staticmethod
    def _remove_marked(path: Path, created: bool) -> None:
        if path.exists():
            others, block = split_marked(path.read_text("utf-8"), path)
            if block is not None:
                _writable(path.resolve().parent)
                backup = path.with_name(path.name + BACKUP)
                if backup.exists() and backup.read_text("utf-8") == others.removesuffix("\n"):
                    others = backup.read_text("utf-8")  # it had no line end; the gap was ours
                if created and not others:
                    path.unlink()
                else:
                    write(path, others.encode())
        path.with_name(path.name + BACKUP).unlink(missing_ok=True)
