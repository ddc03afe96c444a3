# SPDX-License-Identifier: Apache-2.0
"""Snapshots of real guests: they go on where they were, as often as one likes, or are refused."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from tests.e2e.bounds import bound
from tests.nested.nest import SERVER, Guest, Nest, Result

SNAPSHOT = "/host/test/snapshot"


def server(nest: Nest, **options: object) -> Guest:
    """A guest that answers :func:`ask`."""
    vm = nest.guest(SERVER, wait=False, **options)  # type: ignore[arg-type]
    vm.expect("ready")
    return vm


def save(vm: Guest, where: str = SNAPSHOT, extra: str = "") -> Result:
    """`hg-vmm --save`."""
    return vm.nest.vmm("--save", where + extra, "--run-dir", vm.folder)


def restored(nest: Nest, where: str = SNAPSHOT, options: Sequence[str] = ()) -> Guest:
    """A new VM that goes on from a snapshot."""
    number = len(nest.guests) + 1
    vm = Guest(nest, number, f"/run/nest/{number}")
    words = ["/usr/bin/hg-vmm", "--restore", where, "--run-dir", vm.folder, "--daemonize"]
    nest.guests.append(vm)
    nest.sh(f"mkdir -p {vm.folder}; {shlex.join([*words, *options])}")
    return vm


def refused(nest: Nest, where: str = SNAPSHOT, *options: str) -> str:
    """Why a snapshot is not restored."""
    done = nest.vmm("--restore", where, "--console", "/run/nest/no.sock", *options)
    assert done.status in (1, 2), done.output
    return done.output


def lag(vm: Guest) -> int:
    """Seconds between the host's clock and the guest's."""
    host = int(vm.nest.sh("date +%s"))
    return abs(host - int(vm.ask("date +%s")))


def test_a_guest_goes_on_with_its_clock_right(nest: Nest) -> None:
    vm = server(nest, cpus=2)
    assert vm.ask("x=kept; (sleep 4; echo >/alarm) & cat /proc/uptime >/before; echo ok") == "ok"
    late = lag(vm)
    assert save(vm).status == 0
    vm.qmp("quit")
    vm.ended()
    nest.sh("sleep 5")
    again = restored(nest)
    assert again.ask("echo $x; nproc").split() == ["kept", "2"]
    # The wall clock is right, the monotonic one went on, and the timer fires. On a busy machine
    # any guest of an emulated host lags behind by seconds: what it did before is allowed for.
    assert lag(again) <= late + bound(3)
    before, after = again.ask("cut -d' ' -f1 /before /proc/uptime").split()
    assert float(after) > float(before) + 2
    assert again.ask("until [ -e /alarm ]; do sleep 0.1; done; echo rang") == "rang"
    text = again.console()
    assert "soft lockup" not in text and "rcu" not in text


def test_clones_of_one_snapshot_run_at_once(nest: Nest) -> None:
    nest.sh("head -c 1048576 /dev/urandom >/host/test/disk")
    disk = ["--disk", "/host/test/disk,readonly"]
    vm = server(nest, options=disk)
    want = vm.ask("md5sum /dev/vda")
    vm.ask("echo 3 >/proc/sys/vm/drop_caches")
    assert save(vm).status == 0
    clones = [restored(nest, options=disk) for _ in range(3)]
    for number, one in enumerate([vm, *clones]):
        assert one.ask(f"me={number}; md5sum /dev/vda") == want
    assert [one.ask("echo $me") for one in (vm, *clones)] == ["0", "1", "2", "3"]


def test_disk_requests_in_flight_are_not_lost(nest: Nest) -> None:
    nest.sh("truncate -s 64M /host/test/disk")
    vm = server(nest, options=["--disk", "/host/test/disk"])
    vm.ask(
        "(while :; do dd if=/dev/zero of=/dev/vda bs=64k count=64 conv=fsync; "
        "dd if=/dev/vda of=/dev/null bs=64k count=64 iflag=direct; echo round; done) "
        "2>/dev/null >/rounds & true",
    )
    nest.sh("sleep 1")
    assert save(vm).status == 0

    def goes_on(one: Guest) -> None:
        rounds = int(one.ask("wc -l </rounds"))
        more = f"until [ $(wc -l </rounds) -gt {rounds + 1} ]; do sleep 0.1; done; echo more"
        assert one.ask(more) == "more"

    goes_on(vm)
    vm.qmp("quit")
    vm.ended()
    goes_on(restored(nest, options=["--disk", "/host/test/disk"]))


def test_increments_hold_what_changed(nest: Nest) -> None:
    vm = server(nest)
    vm.ask("dd if=/dev/urandom of=/one bs=1M count=4 2>/dev/null")
    sums = [vm.ask("md5sum /one")]
    assert save(vm, SNAPSHOT, ",track").status == 0
    vm.ask("dd if=/dev/urandom of=/two bs=1M count=1 2>/dev/null")
    sums.append(vm.ask("md5sum /two"))
    assert save(vm, f"{SNAPSHOT}1", f",base={SNAPSHOT}").status == 0
    vm.ask("dd if=/dev/urandom of=/three bs=64k count=4 2>/dev/null")
    sums.append(vm.ask("md5sum /three"))
    assert save(vm, f"{SNAPSHOT}2", f",base={SNAPSHOT}1").status == 0
    sizes = [int(nest.sh(f"du -k {SNAPSHOT}{n}/memory").split()[0]) for n in ("", "1", "2")]
    assert sizes[1] < sizes[0] / 2 and sizes[2] < sizes[1], sizes
    assert "not the last snapshot" in save(vm, f"{SNAPSHOT}3", f",base={SNAPSHOT}").output
    again = restored(nest, f"{SNAPSHOT}2")
    assert again.ask("md5sum /one /two /three").splitlines() == sums
    middle = restored(nest, f"{SNAPSHOT}1")
    assert middle.ask("md5sum /one /two; ls /three 2>/dev/null").splitlines() == sums[:2]
    # A link to another snapshot is not the base that the increment was made on.
    nest.sh(f"ln -sfn {SNAPSHOT} {SNAPSHOT}2/base")
    assert "its base is not the snapshot" in refused(nest, f"{SNAPSHOT}2")


def test_what_is_not_this_snapshot_is_refused_before_the_guest_runs(nest: Nest) -> None:
    vm = server(nest, memory="40M")
    assert save(vm).status == 0
    assert save(vm, "/host/test/other").status == 0
    assert "exists already" in save(vm).output
    # Each line: what is done to a copy, and what is said of it.
    flip = "printf '\\377' | dd of=$f bs=1 seek=$at count=1 conv=notrunc 2>/dev/null"
    cases = {
        "truncate -s 5000 state": "state is truncated",
        "truncate -s 20 state": "state is truncated",
        f"f=state at=300; {flip}": "its checksum is wrong",
        f"f=state at=2; {flip}": "is not the state of a snapshot",
        f"f=state at=8; {flip}": "format version",
        "truncate -s 30M memory": "memory is truncated",
        # 16 MiB: somewhere in the kernel, never all ones.
        f"f=memory at=16785408; {flip}": "memory is damaged: its checksum is wrong",
        "cp ../other/memory .": "belongs to another snapshot",
        "rm memory": "No such file",
    }
    for damage, said in cases.items():
        damaged = "memory" if "memory" in damage else "state"
        nest.sh(
            "cd /host/test; rm -rf bad; mkdir bad; ln snapshot/* bad\n"
            f"cd bad; rm {damaged}; cp -a ../snapshot/{damaged} .; {damage}"
        )
        why = refused(nest, "/host/test/bad")
        assert said in why, (damage, why)
        assert why.count("\n") == 1
    # The file itself, which a restore would not read as long as nobody has written to it.
    nest.sh(f"cd {SNAPSHOT}; f=memory at=16785408; {flip}")
    assert "memory is damaged: its checksum is wrong" in refused(nest)
    nest.sh(f"cd /host/test; mv other/* {SNAPSHOT}")
    assert "--cpus comes from the snapshot" in refused(nest, SNAPSHOT, "--cpus", "2")
    disk = ("--disk", "/host/test/bad/state,readonly")
    assert "give the devices that the VM was started with" in refused(nest, SNAPSHOT, *disk)


def test_a_restored_guest_can_be_saved_reset_and_powered_off(nest: Nest) -> None:
    vm = server(nest)
    vm.ask("y=1")
    assert save(vm).status == 0
    vm.qmp("quit")
    second = restored(nest)
    assert second.ask("echo $y; y=2") == "1"
    assert save(second, f"{SNAPSHOT}2").status == 0
    third = restored(nest, f"{SNAPSHOT}2")
    assert third.ask("echo $y") == "2"
    third.type("poweroff -f\n")
    assert third.ended()["reason"] == "guest-shutdown"
    # A reset boots the kernel given with --restore; without one, it is the VM's end.
    second.type("reboot -f\n")
    assert second.ended()["reason"] == "guest-shutdown"
    boots = ["--kernel", "/nest/vmlinux", "--initrd", f"/run/nest/{vm.number}.cpio"]
    fourth = restored(nest, options=boots)
    assert fourth.ask("echo $y") == "1"
    nest.sh(f": >{fourth.folder}/console.log")
    fourth.type("reboot -f\n")
    fourth.expect("ready")
    assert fourth.qmp("x-hypergen-info")["resets"] == 1


def test_a_clone_knows_that_it_is_one_and_seeds_anew(nest: Nest) -> None:
    vm = server(nest)
    fork = "dmesg | grep -c 'crng reseeded due to virtual machine fork'"
    assert vm.ask(fork) == "0"
    assert save(vm).status == 0
    assert vm.ask(fork) == "0"
    clones = [restored(nest), restored(nest)]
    for one in clones:
        assert one.ask(f"n=0; until [ $({fork}) = 1 ]; do sleep 0.1; done; echo yes") == "yes"
    bytes_of = [one.ask("head -c 16 /dev/urandom | md5sum") for one in (vm, *clones)]
    assert len(set(bytes_of)) == 3


def test_a_clone_takes_the_network_of_its_own(nest: Nest) -> None:
    nest.bridge("hgsnap", "10.9.8.1")
    try:
        vm = server(nest, options=["--net", "tap=hgs1,bridge=hgsnap,vhost=off"])
        vm.ask("ip addr add 10.9.8.2/24 dev eth0; ip link set eth0 up")
        assert "0% packet loss" in vm.ask("ping -c 1 10.9.8.1")
        mac = vm.ask("cat /sys/class/net/eth0/address")
        assert save(vm).status == 0
        assert "0% packet loss" in vm.ask("ping -c 1 10.9.8.1")
        vm.qmp("quit")
        vm.ended()
        again = restored(nest, options=["--net", "tap=hgs2,bridge=hgsnap,vhost=off"])
        assert "0% packet loss" in again.ask("ping -c 1 10.9.8.1")
        assert again.ask("cat /sys/class/net/eth0/address") == mac
    finally:
        nest.run("ip link del hgsnap")
