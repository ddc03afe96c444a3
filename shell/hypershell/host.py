# SPDX-License-Identifier: Apache-2.0
"""What the host is: processor, memory, network, and the state of what booted."""

from __future__ import annotations

import contextlib
import os

from hypershell import __version__, paths, status


def _cpuinfo() -> tuple[str, str, int]:
    """(model, ``svm``/``vmx``/``none``, number of CPUs) from /proc/cpuinfo."""
    model, kind, count = "unknown", "none", 0
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            for line in file:
                key, _, value = line.partition(":")
                key = key.strip()
                if key == "processor":
                    count += 1
                elif key == "model name":
                    model = value.strip()
                elif key == "flags" and kind == "none":
                    flags = value.split()
                    kind = "svm" if "svm" in flags else "vmx" if "vmx" in flags else "none"
    except OSError:
        pass
    return model, kind, count


def virtualisation() -> str:
    """The processor's virtualisation extension: ``svm`` (AMD), ``vmx`` (Intel) or ``none``."""
    return _cpuinfo()[1]


def kvm_advice() -> str:
    """What to do about a /dev/kvm that cannot be opened; empty when it can."""
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC))
        return ""
    except FileNotFoundError:
        if virtualisation() == "none":
            return (
                "this CPU shows neither svm nor vmx: enable SVM or VT-x in the firmware, or nested "
                "virtualisation in the hypervisor around this host"
            )
        return "the CPU can virtualise but /dev/kvm is missing: this kernel has no KVM for it"
    except PermissionError:
        return "/dev/kvm may not be opened by this user: become root or join the group kvm"
    except OSError as error:
        return f"/dev/kvm: {error.strerror}"


def bridge_exists(name: str = "br0") -> bool:
    """Is there a network interface ``name``?"""
    return os.path.isdir(f"/sys/class/net/{name}")


def addresses(interface: str = "br0") -> list[str]:
    """IPv4 (SIOCGIFADDR, netdevice(7)) and IPv6 (/proc/net/if_inet6) addresses."""
    import fcntl
    import socket
    import struct

    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        request = struct.pack("16s24x", interface.encode())
        with contextlib.suppress(OSError):
            found.append(socket.inet_ntoa(fcntl.ioctl(probe.fileno(), 0x8915, request)[20:24]))
    try:
        with open("/proc/net/if_inet6", encoding="ascii") as file:
            lines = [line.split() for line in file]
    except OSError:
        lines = []
    for fields in lines:
        if len(fields) == 6 and fields[5] == interface:
            found.append(socket.inet_ntop(socket.AF_INET6, bytes.fromhex(fields[0])))
    return found


def _uptime() -> float:
    try:
        with open("/proc/uptime", encoding="ascii") as file:
            return float(file.read().split()[0])
    except (OSError, ValueError, IndexError):
        return 0.0


def record() -> dict[str, object]:
    """Everything host_info knows but the VMs: sizes in bytes, times in seconds."""
    model, kind, count = _cpuinfo()
    total, available = status.memory()
    return {
        "version": __version__,
        "kernel": os.uname().release,
        "hostname": os.uname().nodename,
        "cpu": model,
        "cpus": count,
        "virtualisation": kind,
        "kvm": os.path.exists("/dev/kvm"),
        "memory_total": total,
        "memory_available": available,
        "uptime": round(_uptime()),
        "kernels": paths.folder("kernel"),
        "images": paths.folder("image"),
        "bridge": addresses() if bridge_exists() else None,
        "status": [
            {"topic": topic, "state": state, "message": message}
            for topic, state, message in status.topics()
        ],
    }
