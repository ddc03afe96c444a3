# SPDX-License-Identifier: Apache-2.0
"""Disks as guests see them: what they keep, what they refuse, and what becomes of faults."""

from __future__ import annotations

import json
import re

import pytest

from tests.nested.nest import Guest, Nest, QmpFailed

IMAGE = "/host/test/disk.img"
OVERLAY = "/host/test/disk.over"
MIB = 1 << 20


def image(nest: Nest) -> None:
    """A raw image of 8 MiB without holes and zeros."""
    part = "/run/nest/part"
    nest.sh(f"yes what-was-there-before | head -c {MIB} >{part}; cat{f' {part}' * 8} >{IMAGE}")


def last_acked(vm: Guest) -> int:
    return int(re.findall(r"acked (\d+)\n", vm.console())[-1])


def kill(nest: Nest, vm: Guest) -> None:
    """As the OOM killer or an admin does it, in the midst of its work."""
    pid = vm.pid
    nest.sh(f"kill -9 {pid}; while [ -e /proc/{pid} ]; do sleep 0.1; done")


def test_a_disk_has_what_was_asked_for(nest: Nest) -> None:
    image(nest)
    text = nest.guest(
        "cd /sys/block/vda; cat serial; echo; echo queues: $(ls mq | wc -l)\n"
        "cat queue/write_cache queue/discard_max_bytes queue/write_zeroes_max_bytes\n"
        "cat queue/physical_block_size queue/logical_block_size\n"
        "cat /sys/block/vdb/ro\n"
        "dd if=/dev/zero of=/dev/vdb bs=512 count=1 2>/dev/null && exit 3\n"
        "echo 'write through' >queue/write_cache && cat queue/write_cache\n"
        "dd if=/dev/vda of=/dev/null bs=1M iflag=direct 2>/dev/null",
        cpus=2,
        options=[
            *("--disk", f"{IMAGE},serial=A-serial-of-20-bytes,queues=2,direct"),
            *("--disk", "/nest/vmlinux,readonly"),
        ],
    ).console()
    assert text.splitlines()[:9] == [
        "A-serial-of-20-bytes",
        "queues: 2",
        "write back",
        str(4 << 30),
        str(4 << 30),
        "4096",
        "512",
        "1",
        "write through",
    ]


@pytest.mark.parametrize("rings", [[], ["--packed-rings"]], ids=["split", "packed"])
def test_what_a_guest_writes_is_in_the_image(nest: Nest, rings: list[str]) -> None:
    image(nest)
    text = nest.guest(
        "echo features: $(cut -c35 /sys/bus/virtio/devices/virtio1/features)\n"
        "dd if=/dev/urandom of=/tmp/data bs=64k count=55 2>/dev/null\n"
        "dd if=/tmp/data of=/dev/vda bs=64k seek=3 conv=fsync 2>/dev/null\n"
        "dd if=/tmp/data of=/dev/vda bs=512 count=3 seek=13333 oflag=direct 2>/dev/null\n"
        "sha256sum /dev/vda",
        options=["--disk", IMAGE, *rings],
    ).console()
    assert ("features: 1" in text) == bool(rings)
    match = re.search(r"^([0-9a-f]{64})  /dev/vda", text, re.MULTILINE)
    assert match is not None
    assert match[1] in nest.sh(f"sha256sum {IMAGE}")


def test_discard_and_write_zeroes(nest: Nest) -> None:
    image(nest)
    nest.guest(
        "blkdiscard -o 1048576 -l 4194304 /dev/vda && numbered zero /dev/vda 6291456 4096\n"
        "dd if=/dev/vda bs=1M skip=1 count=4 2>/dev/null | tr -d '\\0' | wc -c | grep -qx 0\n"
        "dd if=/dev/vda bs=4k skip=1536 count=1 2>/dev/null | tr -d '\\0' | wc -c | grep -qx 0",
        options=["--disk", IMAGE],
        programs=["numbered"],
    )
    assert int(nest.sh(f"du -k {IMAGE}").split()[0]) <= 4 * 1024 + 64


def test_an_overlay_is_continued_and_a_snapshot_is_not(nest: Nest) -> None:
    image(nest)
    before = nest.sh(f"sha256sum <{IMAGE}")
    write = "echo from-guest-{0} | dd of=/dev/vda bs=512 seek={1} conv=fsync 2>/dev/null\n"
    read = "dd if=/dev/vda bs=512 skip={0} count=1 2>/dev/null | head -c 14; echo\n"
    options = ["--disk", f"{IMAGE},overlay={OVERLAY}"]
    nest.guest(write.format(1, 77) + write.format(2, 15001), options=options)
    text = nest.guest(
        read.format(77) + read.format(15001) + write.format(3, 78),
        options=[*options, "--disk", f"{IMAGE},snapshot"],
    ).console()
    assert "from-guest-1" in text and "from-guest-2" in text
    snapshot = ["--disk", f"{IMAGE},snapshot"]
    for _ in range(2):
        text = nest.guest(read.format(77) + write.format(4, 77), options=snapshot).console()
        assert "from-guest" not in text
    assert nest.sh(f"sha256sum <{IMAGE}") == before
    # Sparse: what differs, not a copy.
    assert int(nest.sh(f"du -k {OVERLAY}").split()[0]) < 512
    other = f"{IMAGE}2"
    nest.sh(f"cp {IMAGE} {other}; echo different | dd of={other} conv=notrunc 2>/dev/null")
    done = nest.vmm("--kernel", "/nest/vmlinux", "--disk", f"{other},overlay={OVERLAY}")
    assert done.status == 2 and "the overlay of another image" in done.output
    nest.sh(f"echo x | dd of={OVERLAY} bs=1 seek=100 conv=notrunc 2>/dev/null")
    done = nest.vmm("--kernel", "/nest/vmlinux", "--disk", f"{IMAGE},overlay={OVERLAY}")
    assert done.status == 2 and "damaged overlay" in done.output


def test_a_disk_grows_under_a_running_guest(nest: Nest) -> None:
    image(nest)
    vm = nest.guest(
        "echo ready; until [ $(cat /sys/block/vda/size) = 32768 ]; do sleep 0.1; done\n"
        "echo end-of-disk | dd of=/dev/vda bs=512 seek=32767 conv=fsync 2>/dev/null",
        options=["--disk", IMAGE],
        wait=False,
    )
    vm.expect("ready")
    with pytest.raises(QmpFailed, match="does not shrink"):
        vm.qmp("block_resize", device="disk0", size=4 * MIB)
    with pytest.raises(QmpFailed, match="Cannot find device"):
        vm.qmp("block_resize", device="disk9", size=4 * MIB)
    vm.qmp("block_set_io_throttle", device="disk0", bps=64 * MIB, iops=10000)
    with pytest.raises(QmpFailed, match="no limit"):
        vm.qmp("block_set_io_throttle", device="disk0", bps=-1)
    vm.qmp("block_set_io_throttle", device="disk0", bps=0, iops=0)
    vm.qmp("block_resize", device="disk0", size=16 * MIB)
    vm.finish()
    assert "end-of-disk" in nest.sh(f"tail -c 512 {IMAGE} | head -c 11")


def test_limits_slow_a_disk_down(nest: Nest) -> None:
    image(nest)
    # 4 MiB at 2 MiB a second after a burst of 1 MiB; 60 requests at 40 a second after 20.
    text = nest.guest(
        "t() { cut -d' ' -f1 /proc/uptime; }\n"
        "a=$(t); dd if=/dev/vda of=/dev/null bs=64k count=64 iflag=direct 2>/dev/null; b=$(t)\n"
        "dd if=/dev/vdb of=/dev/null bs=4k count=60 iflag=direct 2>/dev/null; c=$(t)\n"
        "echo times $a $b $c",
        options=["--disk", f"{IMAGE},readonly,bps=2M:1M", "--disk", f"{IMAGE},readonly,iops=40:20"],
    ).console()
    match = re.search(r"times (\S+) (\S+) (\S+)", text)
    assert match is not None
    start, middle, end = map(float, match.groups())
    # It can only be slower than that on a busy machine, never faster.
    assert middle - start > 1.2
    assert end - middle > 0.8


def test_a_truncated_image_is_an_io_error(nest: Nest) -> None:
    image(nest)
    vm = nest.guest(
        "echo ready; until [ -e /tmp/go ]; do\n"
        "  dd if=/dev/vda of=/dev/null bs=64k skip=100 count=1 iflag=direct 2>/dev/null || break\n"
        "  sleep 0.1; done\n"
        "dd if=/dev/vda of=/dev/null bs=64k count=1 iflag=direct 2>/dev/null && echo it-starts\n"
        "sleep 1000",
        options=["--disk", IMAGE],
        wait=False,
    )
    vm.expect("ready")
    nest.sh(
        f"/nest/bin/qmp {vm.folder}/control.sock --event BLOCK_IO_ERROR >{vm.folder}/events &\n"
        f"p=$!; sleep 0.5; truncate -s 1M {IMAGE}; wait $p"
    )
    vm.expect("it-starts")
    lines = nest.sh(f"cat {vm.folder}/events").splitlines()
    event = json.loads(next(line for line in lines if "BLOCK_IO_ERROR" in line))
    assert event["data"]["device"] == "disk0"
    assert event["data"]["operation"] == "read"
    assert event["data"]["action"] == "report"
    assert vm.qmp("query-status")["running"] is True
    assert vm.qmp("query-blockstats")[0]["stats"]["failed_rd_operations"] > 0
    assert "past the image's end" in vm.log()


def test_a_full_host_is_an_io_error(nest: Nest) -> None:
    folder = "/host/test/small"
    nest.sh(
        f"mkdir -p {folder}; mount -t tmpfs -o size=6m none {folder}; truncate -s 16M {folder}/disk"
    )
    try:
        image(nest)
        vm = nest.guest(
            "dd if=/dev/zero of=/dev/vda bs=64k count=512 oflag=direct 2>/dev/null && exit 3\n"
            "dd if=/dev/zero of=/dev/vdb bs=64k count=512 oflag=direct 2>/dev/null && exit 4\n"
            "dd if=/dev/vda of=/dev/null bs=64k iflag=direct 2>/dev/null || exit 5\n"
            "dd if=/dev/vdb of=/dev/null bs=64k iflag=direct 2>/dev/null || exit 6\n"
            "echo still-here",
            options=[
                *("--disk", f"{folder}/disk"),
                *("--disk", f"{IMAGE},overlay={folder}/over"),
            ],
        )
        assert "still-here" in vm.console()
        assert "No space left on device" in vm.log()
    finally:
        nest.sh(f"umount -l {folder}")


@pytest.mark.parametrize(
    "how", ["", "direct", f"overlay={OVERLAY}"], ids=["buffered", "direct", "overlay"]
)
def test_kill_9_loses_nothing_that_was_flushed(nest: Nest, how: str) -> None:
    image(nest)
    disk = f"{IMAGE},{how}" if how else IMAGE
    vm = nest.guest(
        "numbered write /dev/vda", options=["--disk", disk], programs=["numbered"], wait=False
    )
    vm.expect("acked 88")
    kill(nest, vm)
    last = last_acked(vm)
    assert last >= 87
    if "overlay" in how:
        text = nest.guest(
            f"numbered check /dev/vda {last}", options=["--disk", disk], programs=["numbered"]
        ).console()
    else:
        text = nest.sh(f"/nest/bin/numbered check {IMAGE} {last}")
    assert f"all {last} are there" in text


def test_a_reset_in_the_midst_of_writes(nest: Nest) -> None:
    """Nothing that was in flight may reach the memory of the next kernel."""
    image(nest)
    vm = nest.guest(
        "if [ $(dd if=/dev/vda bs=1 count=1 skip=8388000 2>/dev/null) = r ]; then\n"
        "  numbered clean 48 && echo memory-is-clean; exit\n"
        "fi\n"
        "printf r | dd of=/dev/vda bs=1 seek=8388000 conv=notrunc,fsync 2>/dev/null\n"
        "numbered storm /dev/vda & sleep 1; reboot -f",
        options=["--disk", f"{IMAGE},overlay={OVERLAY}"],
        programs=["numbered"],
    )
    assert "memory-is-clean" in vm.console()
