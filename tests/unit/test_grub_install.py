# SPDX-License-Identifier: Apache-2.0
"""`hypergen grub install` and `uninstall` in a tree of their own, with a grub-mkconfig of ours."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hypergen import run
from hypergen.boot import grub, grubhost, grubinstall
from hypergen.errors import BuildError, HypergenError, UserError

OLD_CFG = "menuentry 'old' {\n\ttrue\n}\n"


class Tree:
    """A machine's /boot and /etc/grub.d."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.boot, self.grub_d = root / "boot", root / "grub.d"
        self.cfg = self.boot / "grub/grub.cfg"
        self.cfg.parent.mkdir(parents=True)
        self.cfg.write_text(OLD_CFG)
        self.grub_d.mkdir()
        self.bzimage = root / "bzImage"
        self.image("one")

    def image(self, content: str) -> None:
        self.bzimage.write_bytes(b"\0" * 0x202 + b"HdrS" + content.encode())

    @property
    def installed(self) -> Path:
        return self.boot / "hypergen/bzImage"

    @property
    def script(self) -> Path:
        return self.grub_d / "42_hypergen"

    def install(self, *words: str, where: tuple[str, ...] | None = None) -> Result:
        place = ("--grub-d", str(self.grub_d)) if where is None else where
        fixed = ["--boot", str(self.boot), "--bzimage", str(self.bzimage), "--root", "LABEL=x"]
        return self.call("install", *fixed, *place, *words)

    def uninstall(self) -> Result:
        return self.call("uninstall", "--boot", str(self.boot))

    def call(self, *words: str) -> Result:
        return CliRunner().invoke(grub.commands, list(words), catch_exceptions=True)

    def snapshot(self) -> dict[str, bytes]:
        return {
            str(p.relative_to(self.root)): p.read_bytes()
            for p in sorted(self.root.rglob("*"))
            if p.is_file()
        }


def ok(result: Result) -> Result:
    if result.exception is not None:
        raise result.exception
    assert result.exit_code == 0
    return result


def program(path: Path, text: str) -> Path:
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """The tree; grub-mkconfig prints the old entry and then what the scripts in grub.d print."""
    made = Tree(tmp_path / "machine")
    mkconfig = program(
        tmp_path / "grub-mkconfig",
        f"cat <<'EOF'\n{OLD_CFG}EOF\n"
        f'for s in "{made.grub_d}"/*; do [ -x "$s" ] || continue; "$s" || exit 1; done\n',
    )
    real = run.which

    def which(name: str) -> Path | None:
        if name in ("grub-mkconfig", "grub2-mkconfig"):
            return mkconfig if name == "grub-mkconfig" else None
        return real(name)

    monkeypatch.setattr(run, "which", which)
    return made


def test_install_puts_image_script_and_entry(tree: Tree) -> None:
    ok(tree.install("--append", "x=1"))
    assert tree.installed.read_bytes() == tree.bzimage.read_bytes()
    assert os.access(tree.script, os.X_OK)
    printed = subprocess.run([tree.script], capture_output=True, text=True, check=True).stdout
    assert printed.startswith("menuentry hyper-gen ")
    assert printed.rstrip().endswith("}")
    assert " root=LABEL=x " in printed and " x=1" in printed
    assert tree.cfg.read_text() == OLD_CFG + printed


def test_second_install_changes_nothing(tree: Tree) -> None:
    ok(tree.install())
    before = tree.snapshot()
    ok(tree.install())
    assert tree.snapshot() == before


def test_update_keeps_the_previous_image(tree: Tree) -> None:
    ok(tree.install())
    first = tree.bzimage.read_bytes()
    tree.image("two")
    ok(tree.install())
    assert tree.installed.read_bytes() == tree.bzimage.read_bytes()
    assert tree.installed.with_name("bzImage.old").read_bytes() == first


def test_uninstall_restores_every_byte(tree: Tree) -> None:
    before = tree.snapshot()
    ok(tree.install())
    tree.image("two")
    ok(tree.install("--serial"))
    tree.image("one")
    ok(tree.uninstall())
    assert tree.snapshot() == before
    assert not tree.installed.parent.exists()
    assert "not installed" in ok(tree.uninstall()).stderr


def test_a_strangers_script_comes_back(tree: Tree) -> None:
    program(tree.script, "echo '# mine'\n")
    before = tree.snapshot()
    ok(tree.install())
    ok(tree.install("--append", "again"))
    # A back-up in grub.d would be run by grub-mkconfig.
    assert [p.name for p in tree.grub_d.iterdir()] == ["42_hypergen"]
    assert "# mine" not in tree.cfg.read_text()
    ok(tree.uninstall())
    assert os.access(tree.script, os.X_OK)
    assert tree.snapshot()["grub.d/42_hypergen"] == before["grub.d/42_hypergen"]


def test_grub_cfg_is_edited_between_markers_and_restored(tree: Tree) -> None:
    where = ("--grub-cfg", str(tree.cfg))
    before = tree.snapshot()
    ok(tree.install(where=where))
    text = tree.cfg.read_text()
    assert text.startswith(OLD_CFG)
    assert text.count("menuentry hyper-gen") == 1
    assert tree.cfg.with_name("grub.cfg.hypergen-backup").read_text() == OLD_CFG
    ok(tree.install("--append", "y=2", where=where))
    assert tree.cfg.read_text().count("menuentry hyper-gen") == 1
    assert "y=2" in tree.cfg.read_text()
    assert not tree.script.exists()
    ok(tree.uninstall())
    assert tree.snapshot() == before


def test_what_the_user_edited_meanwhile_stays(tree: Tree) -> None:
    where = ("--grub-cfg", str(tree.cfg))
    ok(tree.install(where=where))
    tree.cfg.write_text("# before\n" + tree.cfg.read_text() + "# after\n")
    ok(tree.uninstall())
    assert tree.cfg.read_text() == f"# before\n{OLD_CFG}# after\n"


def test_custom_cfg_that_did_not_exist_is_removed_again(tree: Tree) -> None:
    custom = tree.boot / "grub/custom.cfg"
    ok(tree.install(where=("--grub-cfg", str(custom))))
    assert "menuentry hyper-gen" in custom.read_text()
    ok(tree.uninstall())
    assert not custom.exists()


def test_config_without_final_line_end_is_restored(tree: Tree) -> None:
    tree.cfg.write_text("set timeout=5")
    ok(tree.install(where=("--grub-cfg", str(tree.cfg))))
    ok(tree.uninstall())
    assert tree.cfg.read_text() == "set timeout=5"


def test_moving_the_entry_leaves_one(tree: Tree) -> None:
    ok(tree.install())
    custom = tree.boot / "grub/custom.cfg"
    ok(tree.install(where=("--grub-cfg", str(custom))))
    assert not tree.script.exists()
    assert "menuentry hyper-gen" in custom.read_text()


def test_damaged_markers_stop_before_anything_changes(tree: Tree) -> None:
    tree.cfg.write_text(f"{OLD_CFG}{grubinstall.BEGIN}\nno end\n")
    before = tree.snapshot()
    result = tree.install(where=("--grub-cfg", str(tree.cfg)))
    assert isinstance(result.exception, UserError)
    assert "marker" in str(result.exception)
    assert tree.snapshot() == before


def test_mkconfig_that_prints_rubbish_leaves_grub_cfg(tree: Tree, tmp_path: Path) -> None:
    for text in ('echo "menuentry \'open {"\n', "exit 3\n", "true\n"):
        program(tmp_path / "grub-mkconfig", text)
        result = tree.install()
        assert isinstance(result.exception, BuildError), text
        assert tree.cfg.read_text() == OLD_CFG


def test_no_mkconfig_leaves_grub_cfg(tree: Tree) -> None:
    ok(tree.install("--no-mkconfig"))
    assert tree.cfg.read_text() == OLD_CFG
    assert tree.script.exists()


@pytest.mark.parametrize("grub_cfg", [False, True])
def test_an_interruption_anywhere_leaves_a_menu_that_works(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, grub_cfg: bool
) -> None:
    where = ("--grub-cfg", str(tree.cfg)) if grub_cfg else None
    before = tree.snapshot()
    real, steps = os.replace, 0
    for last in range(20):
        left = last

        def replace(source: Path, target: Path) -> None:
            nonlocal left
            if left == 0:
                raise KeyboardInterrupt
            left -= 1
            real(source, target)

        monkeypatch.setattr(os, "replace", replace)
        result = tree.install(where=where)
        monkeypatch.setattr(os, "replace", real)
        grubinstall.check_script(tree.cfg.read_text(), "the menu")
        if "menuentry hyper-gen" in tree.cfg.read_text():
            assert tree.installed.read_bytes() == tree.bzimage.read_bytes()
        finished = result.exception is None
        if not finished:
            steps += 1
        ok(tree.uninstall())
        assert tree.snapshot() == before, f"interrupted at rename {last}"
        if finished:
            break
    else:
        pytest.fail("never finished")
    assert steps >= 4


def error(result: Result) -> HypergenError:
    assert isinstance(result.exception, HypergenError), result.exception
    assert "\n" not in result.exception.message
    return result.exception


def test_mistakes_get_one_line_and_status_2(tree: Tree, tmp_path: Path) -> None:
    tree.bzimage.write_bytes(b"x" * 4096)
    assert "not a bzImage" in error(tree.install()).message
    tree.bzimage.unlink()
    assert "No such file" in error(tree.install()).message
    tree.image("one")
    assert "no such folder" in error(tree.install(where=("--grub-d", str(tmp_path / "no")))).message
    both = ("--grub-d", str(tree.grub_d), "--grub-cfg", str(tree.cfg))
    assert "exclude" in error(tree.install(where=both)).message
    assert error(tree.install("--guest-kernel", '/a"b')).exit_code == 2
    assert "whole path" in error(tree.install("--guest-kernel", "a")).message
    assert not tree.installed.parent.exists()


def test_unwritable_boot_says_what_to_do(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        os, "access", lambda path, mode: not (Path(path) == tree.boot and mode & os.W_OK)
    )
    caught = error(tree.install())
    assert caught.message == f"{tree.boot}: not writable"
    assert "root" in (caught.hint or "")


def test_no_room_in_boot_is_said_before_anything_is_written(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000 * 1000})()
    )
    assert "free" in error(tree.install()).message
    assert not tree.installed.parent.exists()


def mount(**changes: str) -> grubhost.Mount:
    values = {"source": "/dev/sda2", "fstype": "ext4", "uuid": "u-1", "kind": "part"}
    return grubhost.Mount(target=Path(changes.pop("target", "/")), **(values | changes))


def test_root_is_named_so_that_the_host_finds_it() -> None:
    assert grubhost.root_of(mount()) == "UUID=u-1"
    assert grubhost.root_of(mount(uuid="")) == "/dev/sda2"
    lvm = mount(source="/dev/mapper/vg-root", kind="lvm")
    assert grubhost.root_of(lvm) == "/dev/mapper/vg-root"
    for wrong in (mount(fstype="btrfs"), mount(kind="crypt")):
        with pytest.raises(UserError):
            grubhost.root_of(wrong)


def test_boot_on_its_own_partition_gives_a_path_relative_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = mount(target="/boot", source="/dev/sda1", uuid="boot-1")
    monkeypatch.setattr(grubhost, "mount_of", lambda path: own)
    entry = grubhost.entry_for(Path("/boot/hypergen/bzImage"), ("rw",))
    assert (entry.image, entry.fs_uuid) == ("/hypergen/bzImage", "boot-1")
    subvolume = mount(target="/boot", fsroot="/@boot", fstype="btrfs", uuid="b", kind="lvm")
    monkeypatch.setattr(grubhost, "mount_of", lambda path: subvolume)
    entry = grubhost.entry_for(Path("/boot/hypergen/bzImage"), ("rw",))
    assert entry.image == "/@boot/hypergen/bzImage"
    assert {"btrfs", "lvm"} <= set(entry.modules)


def test_guest_folders_settle_root_and_their_names_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    data = mount(target="/srv", source="/dev/sdb1", uuid="data")
    mounts = {"/srv": data, "/home": mount(source="/dev/sdc1")}
    monkeypatch.setattr(grubhost, "mount_of", lambda path: mounts[f"/{path.parts[1]}"])
    both: dict[str, Path | None] = {"a": Path("/srv/k"), "b": Path("/srv/vm/i")}
    assert grubhost.locate(None, both) == ("UUID=data", {"a": "/k", "b": "/vm/i"})
    with pytest.raises(UserError, match="/dev/sdb1 and /dev/sdc1"):
        grubhost.locate(None, {"a": Path("/srv/k"), "b": Path("/home/i")})


def test_mount_of_asks_the_real_machine(tmp_path: Path) -> None:
    found = grubhost.mount_of(tmp_path / "not" / "yet")
    assert tmp_path.is_relative_to(found.target)
    assert found.fstype
