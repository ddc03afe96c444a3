# SPDX-License-Identifier: Apache-2.0
"""The host's boot scripts, run by real shells on a made-up /proc, /sys and set of commands."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "initramfs/overlay/etc/hypergen"
SHELLS = [
    command for command in (["busybox", "ash"], ["dash"]) if shutil.which(command[0]) is not None
]

BLKID = """/dev/sda1: LABEL="data" UUID="1111" TYPE="ext4"
/dev/sda2: LABEL="my root" UUID="aaaa-BBBB" TYPE="xfs"
/dev/sdb: UUID="3333" TYPE="vfat"
"""


# What the scripts do to a machine. busybox's ash prefers its own applets to PATH, so each of these
# is a shell function here that calls the fake: no test may reach this machine's network or disks.
FAKES = (
    "blkid",
    "lvm",
    "mount",
    "dmesg",
    "ip",
    "udhcpc",
    "dropbear",
    "dropbearkey",
    "sync",
    "hypershell",
)
HURRY = "sleep() { command sleep 0.02; }"
"""Where the scripts look every 0.1 s they look more often."""
GUARD = "".join(f'{name}() {{ "$HG_ROOT/bin/{name}" "$@"; }}; ' for name in FAKES)


class Host:
    """A root folder for the scripts, and fake commands."""

    def __init__(self, root: Path, shell: list[str]) -> None:
        self.root, self.shell = root, shell
        for folder in ("proc", "sys/class/block", "dev/mapper", "run/hypergen", "host", "bin"):
            (root / folder).mkdir(parents=True)
        (root / "dev/kmsg").touch()
        (root / "etc").mkdir()
        (root / "etc/hypergen").symlink_to(SCRIPTS)
        self.cmdline("")
        self.blocks("")
        for name in FAKES:
            self.command(name, "exit 1")
        self.command("sync", "exit 0")

    def cmdline(self, text: str) -> None:
        (self.root / "proc/cmdline").write_text(text + "\n")

    def blocks(self, names: str) -> None:
        lines = ["major minor  #blocks  name", ""]
        lines += [f" 8 {i} 1024 {name}" for i, name in enumerate(names.split())]
        (self.root / "proc/partitions").write_text("\n".join(lines) + "\n")

    def command(self, name: str, body: str) -> None:
        path = self.root / "bin" / name
        assert name in FAKES
        path.write_text(f'#!/bin/sh\necho "${{0##*/}} $*" >>{self.root}/calls\n{body}\n')
        path.chmod(0o755)

    def disks(self) -> None:
        """blkid, for all devices or for one."""
        self.command("blkid", f"grep \"^${{1:-/dev}}\" <<'E'\n{BLKID}E")

    def run(self, script: str) -> str:
        done = subprocess.run(
            [*self.shell, "-c", f"{GUARD} . {SCRIPTS}/rc; {script}"],
            env={"HG_ROOT": str(self.root), "PATH": f"{self.root}/bin:/usr/sbin:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.stderr == ""
        return done.stdout

    def status(self) -> dict[str, list[str]]:
        lines = (self.root / "run/hypergen/host.status").read_text().splitlines()
        table = [line.split("\t") for line in lines]
        assert all(len(fields) == 3 for fields in table)
        return {fields[0]: fields[1:] for fields in table}

    @property
    def log(self) -> str:
        return (self.root / "dev/kmsg").read_text()


@pytest.fixture(params=SHELLS, ids=lambda command: str(command[0]))
def host(tmp_path: Path, request: pytest.FixtureRequest) -> Host:
    return Host(tmp_path, request.param)


def test_there_is_a_shell_to_test_with() -> None:
    assert SHELLS, "install busybox or dash"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a b=c", ["a", "b=c"]),
        ("  a \t b  ", ["a", "b"]),
        ('guest_kernel="/a b" x', ["guest_kernel=/a b", "x"]),
        ('"guest_kernel=/a b" x', ["guest_kernel=/a b", "x"]),  # as GRUB writes it
        (r"dir=/it\'s/\"q\"/b\\c", ['dir=/it\'s/"q"/b\\c']),
        (r'"dir=/a \"b\" c"', ['dir=/a "b" c']),
        (r"dos=C:\x", [r"dos=C:\x"]),
        ("star=/*/? $HOME `x`", ["star=/*/?", "$HOME", "`x`"]),
        ('open="a b', ["open=a b"]),
        ("", []),
    ],
)
def test_words_of_the_command_line(host: Host, text: str, words: list[str]) -> None:
    host.cmdline(text)
    out = host.run(
        "IFS= read -r REST <$HG_ROOT/proc/cmdline; "
        "while next_word; do printf '%s\\n' \"$WORD\"; done"
    )
    assert out.splitlines() == words


def test_settings_of_the_command_line(host: Host) -> None:
    host.cmdline(
        "quiet root=LABEL=a root=UUID=b=c ro rootflags=x,y rootdelay=25 rootfstype=xfs "
        'hypergen.net=bridge:eth1 hypergen.hugepages=7 guest_kernel="/k k" guest_image=/i'
    )
    out = host.run(
        'read_cmdline; printf \'%s|\' "$CMD_ROOT" "$CMD_MODE" "$CMD_FLAGS" "$CMD_WAIT" '
        '"$CMD_TYPE" "$CMD_NET" "$CMD_HUGEPAGES" "$CMD_KERNELS" "$CMD_IMAGES"'
    )
    assert out == "UUID=b=c|ro|x,y|25|xfs|bridge:eth1|7|/k k|/i|"


def test_defaults_and_a_wrong_number(host: Host) -> None:
    host.cmdline("rootdelay=soon")
    out = host.run('read_cmdline; echo "$CMD_ROOT,$CMD_MODE,$CMD_WAIT,$CMD_NET"')
    assert out == ",rw,10,bridge\n"
    assert "rootdelay=soon: not a number of seconds" in host.log


def test_status_replaces_a_topic_and_keeps_the_others(host: Host) -> None:
    host.run("status net waiting a; status root ok 'b  c\\n'; status net ok d")
    assert host.status() == {"root": ["ok", "b  c\\n"], "net": ["ok", "d"]}
    assert host.log == ""
    host.run("status kvm failed why")
    assert host.log == "<13>hyper-gen: kvm: why\n"


def test_status_from_many_writers_at_once(host: Host) -> None:
    host.run("for t in a b c d e f; do (for i in 1 2 3 4 5; do status $t ok $i; done) & done; wait")
    assert host.status() == {topic: ["ok", "5"] for topic in "abcdef"}


def test_a_killed_writer_does_not_block_the_next(host: Host) -> None:
    (host.root / "run/hypergen/host.status.new").touch()
    host.run("sleep() { naps=$((${naps-0} + 1)); }; status net ok x; echo $naps >$HG_ROOT/naps")
    assert host.status() == {"net": ["ok", "x"]}
    assert (host.root / "naps").read_text() == "200\n"  # of 10 ms


@pytest.mark.parametrize(
    ("spec", "device"),
    [
        ("LABEL=data", "/dev/sda1"),
        ("LABEL=my root", "/dev/sda2"),
        ("UUID=aaaa-BBBB", "/dev/sda2"),
        ("UUID=3333", "/dev/sdb"),
        ("LABEL=dat", None),
        ("LABEL=*", None),
        ("PARTUUID=p-2", "/dev/sda2"),
        ("PARTLABEL=My Part", "/dev/sda2"),
        ("PARTUUID=p", None),
        ("/dev/nothing", None),
    ],
)
def test_forms_of_root(host: Host, spec: str, device: str | None) -> None:
    host.disks()
    for index, name in enumerate(("sda1", "sda2"), start=1):
        folder = host.root / "sys/class/block" / name
        folder.mkdir()
        (folder / "uevent").write_text(
            f"DEVNAME={name}\nPARTUUID=p-{index}\nPARTNAME={'My Part' if index == 2 else 'x'}\n"
        )
    out = host.run(f"CMD_ROOT='{spec}'; if find_root 1; then echo $DEVICE; else echo no; fi")
    assert out.strip() == (device or "no")


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        ("/dev/mapper/vg-root", "vg|root"),
        ("/dev/mapper/my--vg-my--lv--1", "my-vg|my-lv-1"),
        ("/dev/mapper/vg-a--b", "vg|a-b"),
        ("/dev/mapper/a--b--c-d", "a-b-c|d"),
        ("/dev/vg0/root", "vg0|root"),
        ("/dev/mapper/control", "no"),
        ("/dev/sda1", "no"),
        ("/dev/disk/by-id/x", "no"),
    ],
)
def test_names_of_logical_volumes(host: Host, spec: str, names: str) -> None:
    out = host.run(f'if volume_names {spec}; then echo "$VG|$LV"; else echo no; fi')
    assert out.strip() == names


def test_missing_root_says_what_is_there(host: Host) -> None:
    host.disks()
    host.blocks("sda sda1 sda2 sdb loop0 ram0")
    host.cmdline("root=LABEL=foo rootdelay=0 guest_kernel=/k")
    host.run("read_cmdline; root_up")
    state, message = host.status()["root"]
    assert state == "failed"
    assert message == (
        "no device with LABEL=foo after 0 s; seen: sda, sda1 (ext4 LABEL=data UUID=1111), "
        "sda2 (xfs LABEL=my root UUID=aaaa-BBBB), sdb (vfat UUID=3333)"
    )
    assert "root: no device with LABEL=foo" in host.log
    assert host.status()["guest_kernel"][0] == "failed"
    assert host.status()["guest_image"] == ["none", "no guest_image= on the kernel command line"]


def test_root_that_appears_late_is_waited_for(host: Host) -> None:
    host.command("blkid", f"[ -e {host.root}/late ] && cat <<'E'\n{BLKID}E\ntrue")
    host.command("mount", "exit 0")
    host.cmdline("root=LABEL=data rootdelay=30")
    host.run(
        f"{HURRY}; (until grep -q waiting $HG_ROOT/dev/kmsg; do sleep 0.1; done; : >$HG_ROOT/late; "
        "echo ' 8 1 1 sda1' >>$HG_ROOT/proc/partitions) & "
        f"{HURRY}; read_cmdline; root_up; wait"
    )
    assert host.status()["root"] == ["ok", "/dev/sda1 (ext4) at /host, rw"]
    assert "root: waiting for LABEL=data (at most 30 s)" in host.log


def test_mount_that_fails_says_why(host: Host) -> None:
    host.disks()
    host.command("mount", "echo mount: mounting a on b failed: Structure needs cleaning; exit 1")
    (host.root / "proc/filesystems").write_text("nodev\tproc\n\text4\n")
    host.cmdline("root=LABEL=data")
    host.run("read_cmdline; root_up")
    assert host.status()["root"] == [
        "failed",
        "/dev/sda1 (ext4) cannot be mounted: Structure needs cleaning",
    ]
    host.cmdline("root=UUID=aaaa-BBBB")
    host.run("read_cmdline; root_up")
    assert host.status()["root"][1].endswith("this kernel has no support for xfs")


def test_mount_options(host: Host) -> None:
    host.disks()
    host.command("mount", "exit 0")
    host.cmdline("root=LABEL=data ro rootflags=noatime rootfstype=ext2")
    host.run("read_cmdline; root_up")
    calls = (host.root / "calls").read_text()
    assert f"mount -t ext2 -o ro,noatime /dev/sda1 {host.root}/host" in calls


def _mounted(host: Host, line: str) -> dict[str, list[str]]:
    host.disks()
    host.command("mount", "exit 0")
    host.cmdline(f"root=LABEL=data {line}")
    host.run("read_cmdline; root_up")
    return host.status()


def test_folders_of_guests_are_linked(host: Host) -> None:
    (host.root / "host/my kernels").mkdir()
    status = _mounted(host, '"guest_kernel=/my kernels/" guest_image=/var/images')
    assert status["guest_kernel"] == ["ok", "/my kernels/"]
    assert (host.root / "run/hypergen/guest_kernel").readlink() == Path("/host/my kernels")
    assert status["guest_image"] == [
        "failed",
        "no folder /var/images on /dev/sda1; what exists of it is /",
    ]


def test_links_on_the_root_stay_on_the_root(host: Host) -> None:
    (host.root / "host/srv/kernels").mkdir(parents=True)
    (host.root / "host/var").mkdir()
    (host.root / "host/var/k").symlink_to("/srv/x/../kernels")
    (host.root / "host/srv/x").mkdir()
    (host.root / "host/var/loop").symlink_to("loop")
    status = _mounted(host, "guest_kernel=var/k guest_image=/var/loop/../../../..")
    assert status["guest_kernel"][0] == "ok"
    assert (host.root / "run/hypergen/guest_kernel").readlink() == Path("/host/srv/kernels")
    assert (host.root / "run/hypergen/guest_image").readlink() == Path("/host")


def test_folder_that_is_a_file(host: Host) -> None:
    (host.root / "host/k").touch()
    assert _mounted(host, "guest_kernel=/k")["guest_kernel"] == [
        "failed",
        "/k on /dev/sda1 is a file, not a folder",
    ]


def test_logical_volume_is_activated(host: Host) -> None:
    host.command("lvm", 'echo "  Volume group \\"vg\\" not found" >&2; exit 5')
    host.cmdline("root=/dev/mapper/vg-my--root rootdelay=0")
    host.blocks("sda")
    host.run("read_cmdline; root_up")
    assert "lvm lvchange -ay --sysinit vg/my-root" in (host.root / "calls").read_text()
    assert host.status()["root"][1] == (
        'no device /dev/mapper/vg-my--root after 0 s; seen: sda; lvm: Volume group "vg" not found'
    )


@pytest.mark.parametrize(
    ("cpuinfo", "log", "message"),
    [
        ("flags : fpu svm", "", "KVM did not start"),
        ("flags : fpu svmx", "", "neither VT-x"),
        ("flags : fpu", "x86/cpu: VMX (outside TXT) disabled by BIOS", "disabled by the firmware"),
    ],
)
def test_why_there_is_no_kvm(host: Host, cpuinfo: str, log: str, message: str) -> None:
    (host.root / "proc/cpuinfo").write_text(cpuinfo + "\n")
    host.command("dmesg", f"echo '{log}'")
    host.run("kvm_up")
    state, said = host.status()["kvm"]
    assert state == "failed" and message in said


def test_hugepages(host: Host) -> None:
    (host.root / "proc/sys/vm").mkdir(parents=True)
    for setting, state in (("", "none"), ("16", "ok"), ("many", "failed")):
        host.run(f"CMD_HUGEPAGES={setting}; hugepages_up")
        assert host.status()["hugepages"][0] == state


def _card(host: Host, name: str, carrier: str) -> None:
    folder = host.root / "sys/class/net" / name
    (folder / "device").mkdir(parents=True)
    (folder / "carrier").write_text(carrier + "\n")
    (folder / "address").write_text("52:54:00:00:00:01\n")


def test_bridge_takes_the_first_card_with_a_link(host: Host) -> None:
    _card(host, "eth0", "0")
    _card(host, "eth1", "1")
    (host.root / "sys/class/net/br0/bridge").mkdir(parents=True)
    host.command("ip", "exit 0")
    host.command("udhcpc", "exit 0")
    host.run("CMD_NET=bridge; net_up")
    calls = (host.root / "calls").read_text()
    assert "ip link set eth1 master br0" in calls
    assert "ip link set br0 address 52:54:00:00:00:01" in calls
    assert "udhcpc -f -i br0" in calls
    assert host.status()["net"] == ["waiting", "br0 over eth1, asking for an address (DHCP)"]


def test_card_without_a_link_is_used_all_the_same(host: Host) -> None:
    _card(host, "eth0", "0")
    (host.root / "sys/class/net/br0/bridge").mkdir(parents=True)
    host.command("ip", "exit 0")
    host.run("CMD_NET=bridge LINK_WAIT=2; net_up")
    assert "ip link set eth0 master br0" in (host.root / "calls").read_text()
    assert host.status()["net"] == ["waiting", "br0 over eth0, which has no link (cable?)"]


def test_network_settings_that_need_no_card(host: Host) -> None:
    (host.root / "sys/class/net/br0/bridge").mkdir(parents=True)
    host.command("ip", "exit 0")
    host.run("CMD_NET=none; net_up")
    assert host.status()["net"] == ["none", "hypergen.net=none"]
    host.run("CMD_NET=wifi; net_up")
    assert host.status()["net"][0] == "failed"
    host.run("CMD_NET=bridge:eth7 LINK_WAIT=1; net_up")
    assert host.status()["net"] == ["failed", "no network card eth7; seen: none"]
    host.run("CMD_NET=bridge LINK_WAIT=1; net_up")
    assert host.status()["net"][0] == "none"


ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA"
RSA = "ssh-rsa AAAAB3NzaC1yc2EAAAA"
DENIED = "no-port-forwarding,no-agent-forwarding,no-X11-forwarding"


def _ssh(host: Host, line: str, server: str = "") -> list[str]:
    """Start SSH with a server that listens at once, or what ``server`` makes of it.

    Returns the topic as it was first said. The server is ended then, and the loop that keeps one
    running where it would pause.
    """
    top = host.root / "run/hypergen"
    host.command("mount", "exit 0")
    host.command(
        "dropbearkey", '[ "$1" = -y ] && echo Fingerprint: SHA256:abc || echo key >"${4:?}"'
    )
    host.command("dropbear", server or f"echo $$ >{top}/ssh.pid; exec sleep 60")
    host.cmdline(line)
    (host.root / "host/srv/images").mkdir(parents=True, exist_ok=True)
    host.run(
        'exec >/dev/null 2>&1; sleep() { [ "$1" != 5 ] || exit; command sleep 0.02; }; '
        "read_cmdline; root_up; rm -f $RUN/host.status; ssh_up; "
        'until grep -q "^ssh" $RUN/host.status; do sleep 0.1; done; cp $RUN/host.status $RUN/seen; '
        "if [ -e $RUN/ssh.pid ]; then kill $(cat $RUN/ssh.pid); "
        "until grep -q failed $RUN/host.status; do sleep 0.1; done; rm -f $RUN/ssh.pid; fi"
    )
    return (top / "seen").read_text().splitlines()[-1].split("\t")[1:]


ROOT = "root=LABEL=data guest_image=/srv/images"


def _authorized(host: Host) -> list[str]:
    return (host.root / "root/.ssh/authorized_keys").read_text().splitlines()


def test_ssh_is_off_until_a_key_is_given(host: Host) -> None:
    host.disks()
    state, message = _ssh(host, ROOT)
    assert state == "none" and "/host/srv/hypergen/authorized_keys" in message
    assert "dropbear " not in (host.root / "calls").read_text()
    assert not (host.root / "root/.ssh").exists()


def test_ssh_keys_of_the_command_line_and_of_the_root(host: Host) -> None:
    host.disks()
    (host.root / "host/srv/hypergen").mkdir(parents=True)
    (host.root / "host/srv/hypergen/authorized_keys").write_text(
        f'# mine\n\n  {RSA} a b\r\ncommand="vm_list" {ED25519} robot\nnonsense\n{ED25519} last'
    )
    state, message = _ssh(host, f'{ROOT} hypergen.ssh="{ED25519} me" "hypergen.ssh={ED25519} you"')
    assert (state, message) == ("ok", "port 22, SHA256:abc, 5 keys; lines that are no keys: 1")
    assert _authorized(host) == [
        f"{DENIED} {ED25519} me",
        f"{DENIED} {ED25519} you",
        f"{DENIED} {RSA} a b",
        f'{DENIED},command="vm_list" {ED25519} robot',
        f"{DENIED} {ED25519} last",
    ]
    assert (host.root / "root/.ssh").stat().st_mode & 0o777 == 0o700
    assert (host.root / "root/.ssh/authorized_keys").stat().st_mode & 0o777 == 0o600
    call = next(
        line for line in (host.root / "calls").read_text().splitlines() if line[:9] == "dropbear "
    )
    for option in ("-F", "-s", "-j", "-k", "-p 22", "-r "):
        assert option in call


def test_ssh_keeps_its_host_key_on_the_root(host: Host) -> None:
    host.disks()
    key = host.root / "host/srv/hypergen/ssh/host_ed25519"
    line = f'{ROOT} hypergen.ssh="{ED25519} me"'
    assert _ssh(host, line)[0] == "ok"
    assert key.read_text() == "key\n" and key.parent.stat().st_mode & 0o777 == 0o700
    key.write_text("kept\n")
    assert _ssh(host, line) == ["ok", "port 22, SHA256:abc, 1 key"]
    assert key.read_text() == "kept\n"


def test_ssh_without_a_root_has_a_key_for_this_boot(host: Host) -> None:
    state, message = _ssh(host, f'hypergen.ssh="{ED25519} me"')
    assert state == "ok" and "for this boot only" in message
    assert (host.root / "run/hypergen/ssh/host_ed25519").exists()


def test_ssh_goes_on_with_the_keys_that_are_there_now(host: Host) -> None:
    """What `rc ssh` does, for host_ssh."""
    host.disks()
    state = host.root / "host/srv/hypergen"
    state.mkdir(parents=True)
    given, run = state / "authorized_keys", host.root / "run/hypergen"
    _ssh(host, ROOT)
    host.command("dropbear", f"echo $$ >{run}/ssh.pid; exec sleep 60")

    def again(then: str = "") -> list[str]:
        host.run(
            f"exec >/dev/null 2>&1; {HURRY}; ssh_again; "
            f"while grep -q '^ssh{chr(9)}waiting' $RUN/host.status; do sleep 0.1; done; {then}"
        )
        return host.status()["ssh"]

    given.write_text(f"{ED25519} me\n")
    assert again() == ["ok", "port 22, SHA256:abc, 1 key"]
    first = (run / "ssh.pid").read_text()
    given.write_text(f"{ED25519} me\n{ED25519} you\n")
    assert again() == ["ok", "port 22, SHA256:abc, 2 keys"]
    assert len(_authorized(host)) == 2
    assert first != (run / "ssh.pid").read_text() and not Path(f"/proc/{first.strip()}").exists()
    loop, server = ((run / name).read_text().strip() for name in ("ssh.loop", "ssh.pid"))
    given.write_text("# nobody\n")
    assert again() == ["none", "no key among what is given; host_ssh add KEY adds one"]
    assert not (host.root / "root/.ssh/authorized_keys").read_text()
    for pid in (loop, server):
        deadline = time.monotonic() + 10
        while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not Path(f"/proc/{pid}").exists()


def test_ssh_says_what_is_wrong(host: Host) -> None:
    host.disks()
    key = f'hypergen.ssh="{ED25519} me"'
    state, message = _ssh(host, f"{ROOT} hypergen.ssh=me")
    assert (state, message.partition(";")[0]) == ("failed", "no public key among what is given")
    state, message = _ssh(host, f"{ROOT} {key}", "exit 3")
    assert state == "failed" and "the server has ended (status 3)" in message
    assert _ssh(host, f"{ROOT} {key} hypergen.net=none") == ["none", "hypergen.net=none"]
    host.command("dropbearkey", "exit 1")
    host.cmdline(f"{ROOT} {key}")
    host.run("read_cmdline; root_up; ssh_up")
    assert "is not a host key; remove it" in host.status()["ssh"][1]


def test_marked_definitions_start_while_dhcp_still_asks(host: Host) -> None:
    (host.root / "host/srv/images").mkdir(parents=True)
    (host.root / "run/hypergen/guest_image").symlink_to(host.root / "host/srv/images")
    host.run("autostart_up")
    assert host.status()["autostart"][0] == "none"
    definitions = host.root / "host/srv/hypergen/vm"
    definitions.mkdir(parents=True)
    (definitions / "web.toml").write_text('kernel = "k"\nautostart = true\n')
    host.command("hypershell", "echo VM 1 runs; echo VM 2 runs")
    asks = "status net waiting 'asking for an address'"
    # The job that asks for an address goes on for ever: nothing may wait for it.
    host.run(f"sleep 60 >/dev/null 2>&1 & {asks}; autostart_up; kill $!")
    assert host.status()["autostart"] == ["ok", "VM 1 runs;VM 2 runs"]
    late = "status net waiting 'not looked at yet'; (command sleep 0.2; status net none x) &"
    host.run(f"{HURRY}; {late} autostart_up; status seen ok; wait")
    assert list(host.status()) == ["net", "autostart", "seen"]
    host.command("hypershell", "echo no kernel k >&2; exit 2")
    host.run("autostart_up")
    assert host.status()["autostart"] == ["failed", "no kernel k"]


def _web(host: Host, line: str, shell: str) -> list[str]:
    """Start the page with a shell that does ``shell`` for host_web; the topic."""
    host.command("mount", "exit 0")
    host.command("hypershell", f'echo "$2" >>{host.root}/asked; {shell}')
    host.cmdline(line)
    host.run("read_cmdline; web_up")
    return list(host.status()["web"])


def test_the_page_is_off_until_it_is_asked_for(host: Host) -> None:
    for line in ("", "hypergen.web=off", "hypergen.web=on hypergen.web=off"):
        state, message = _web(host, line, "exit 0")
        assert state == "none" and "hypergen.web=on" in message
    assert _web(host, "hypergen.web=on hypergen.net=none", "") == ["none", "hypergen.net=none"]
    assert not (host.root / "asked").exists()


def test_the_page_starts_as_asked_and_its_token_is_not_told(host: Host) -> None:
    shell = "printf 'page     https://a/\\ntoken    secret\\nSHA-256  AB:CD\\n'"
    told = ["ok", "port 8443, SHA-256 AB:CD; host_web shows the token"]
    assert _web(host, "hypergen.web=on", shell) == told
    told[1] = told[1].replace("8443", "443")
    assert _web(host, "hypergen.web=443,box.example.org,box", shell) == told
    assert (host.root / "asked").read_text().splitlines() == [
        "host_web on --port 8443",
        "host_web on --port 443 --name box.example.org,box",
    ]


def test_the_page_says_why_it_is_not_there(host: Host) -> None:
    state, message = _web(host, "hypergen.web=on", "echo 'host_web: no port' >&2; exit 1")
    assert (state, message) == ("failed", "host_web: no port")
    for word in ("a;reboot", "$(reboot)", "'"):
        state, message = _web(host, f'hypergen.web="{word}"', "exit 0")
        assert state == "failed" and "must be on, a port, names" in message
