# SPDX-License-Identifier: Apache-2.0
"""What goes wrong around a VM stays around it: rude clients, a VMM killed, a host without memory.

A disk that is truncated or full is in test_block.py, a tap that is taken away in test_net.py.
"""

from __future__ import annotations

from tests.nested.nest import KERNEL, Guest, Nest

# Kills every VMM, also one that is only being forked, until all of them and their keepers (which
# have another name) are gone; then looks for what they could have left behind.
KILL = r"""
kill_all() {
  n=0
  while :; do
    left=
    for p in /proc/[0-9]*; do
      read -r name <$p/comm || continue
      case $name in
        hg-vmm) kill -9 ${p#/proc/}; left=1 ;;
        hg-vmm-keeper) left=1 ;;
      esac
    done 2>/dev/null
    [ "$left" ] || return 0
    [ $n -lt 200 ] || { echo "processes are left"; return 1; }
    n=$((n + 1)); sleep 0.05
  done
}
left_behind() {
  n=0 # a network namespace takes its time to go, and the tap with it
  while [ -e /sys/class/net/hgk0 ] || [ -e /sys/fs/cgroup/nest/killed ]; do
    [ $n -lt 200 ] || { ls -d /sys/class/net/hgk0 /sys/fs/cgroup/nest/killed; return 1; }
    n=$((n + 1)); sleep 0.05
  done
  [ "$(cat /proc/mounts)" = "$mounts" ] || { echo mounts; return 1; }
}
mounts=$(cat /proc/mounts)
"""


def resident(vm: Guest) -> int:
    """KiB of the VMM that are in memory and no guest RAM."""
    text = vm.nest.sh(f"grep -E '^(Rss(Anon|File)|VmRSS)' /proc/{vm.pid}/status")
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Rss"))


def test_a_console_reader_that_never_reads_stops_nobody(nest: Nest) -> None:
    vm = nest.guest(
        "echo up; sleep 3; dd if=/dev/zero bs=64k count=64 2>/dev/null | tr '\\0' x; echo",
        wait=False,
    )
    nest.sh(
        f"for i in 1 2 3; do /nest/bin/rude deaf {vm.folder}/console.sock >/dev/null 2>&1 & done\n"
        f"sleep 0.3; /nest/bin/rude deaf {vm.folder}/control.sock >/dev/null 2>&1 &"
    )
    vm.expect("up")
    assert vm.qmp("query-status")["running"] is True
    vm.finish(120)
    # Four million bytes, of which the newest are kept, in a log that is bounded.
    size = int(nest.sh(f"cat {vm.folder}/console.log* | wc -c"))
    assert 1 << 20 < size <= (2 << 20) + 65536


def test_a_flood_of_commands_is_cut_off(nest: Nest) -> None:
    vm = nest.guest("echo up; read line; echo got $line", wait=False)
    vm.expect("up")
    before = resident(vm)
    said = nest.sh(f"/nest/bin/rude flood {vm.folder}/control.sock 200000", 120)
    assert "hung up after" in said, said
    assert resident(vm) < before + 2048
    # Others are served meanwhile, and the guest does not notice.
    nest.sh(f"/nest/bin/rude flood {vm.folder}/control.sock 200000 >/dev/null 2>&1 &")
    assert vm.qmp("query-status")["running"] is True
    vm.type("on\n")
    assert "got on" in vm.finish()


def test_a_vmm_killed_at_any_point_leaves_nothing_behind(nest: Nest) -> None:
    """During its start after growing delays, while its guest writes, and in resets."""
    script = "while :; do dd if=/dev/zero of=/dev/vda bs=64k count=64 conv=fsync; done 2>/dev/null"
    append = "console=hvc0 quiet panic=-1"
    output = nest.sh(
        f"{KILL}\n"
        "mkdir -p /run/nest/k /host/test; truncate -s 16M /host/test/k.img; cd /run/nest/k\n"
        f"echo '{script}' | /nest/bin/initrd rd.cpio /nest/guest.cpio\n"
        "start() {\n"
        f"  hg-vmm --kernel {KERNEL} --initrd /run/nest/k/rd.cpio --memory 64M"
        f" --run-dir /run/nest/k --cmdline '{append}' --disk /host/test/k.img"
        " --net tap=hgk0 --daemonize --cgroup nest/killed --limit memory=200M\n"
        "}\n"
        "for delay in 0 0.02 0.04 0.07 0.1 0.2; do\n"
        "  start >/dev/null 2>&1 & sleep $delay; kill_all; left_behind; wait || true\n"
        "done\n"
        "echo start: clean\n"
        "start; sleep 3; kill_all; left_behind\n"
        "echo writing: clean\n"
        "start; for i in 1 2 3; do\n"
        '  /nest/bin/qmp /run/nest/k/control.sock \'{"execute":"system_reset"}\' >/dev/null\n'
        "done; kill_all; left_behind\n"
        "echo reset: clean\n"
        # The image's lock, the tap, the group and the sockets are free: it starts again.
        'start; /nest/bin/qmp /run/nest/k/control.sock \'{"execute":"quit"}\' >/dev/null\n'
        "n=0; until [ -e /run/nest/k/exit.json ]; do\n"
        "  [ $n -lt 300 ]; n=$((n + 1)); sleep 0.1; done; left_behind; cat /run/nest/k/exit.json",
        240,
    )
    for step in ("start", "writing", "reset"):
        assert f"{step}: clean" in output, output
    assert '"quit"' in output


def test_a_vm_out_of_memory_ends_alone(nest: Nest) -> None:
    """Its control group's limit is hit: the VMM is killed, host and other VMs are well."""
    other = nest.guest("echo up; while :; do sleep 1; done", wait=False)
    other.expect("up")
    vm = nest.guest(
        "mount -t tmpfs none /mnt; echo filling; dd if=/dev/zero of=/mnt/x bs=1M count=180",
        wait=False,
        memory="256M",
        options=["--cgroup", "nest/small", "--limit", "memory=96M"],
    )
    nest.sh(
        "n=0; while [ -e /sys/fs/cgroup/nest/small ]; do [ $n -lt 600 ]; n=$((n + 1))\n"
        "sleep 0.1; done",
        90,
    )
    assert "filling" in vm.console()
    assert nest.run(f"ls {vm.folder}/exit.json").status != 0  # it was killed: there is no outcome
    assert other.qmp("query-status")["running"] is True
    assert "hg-vmm" in nest.sh("dmesg | grep -i 'killed process'")
