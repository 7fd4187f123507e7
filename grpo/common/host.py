"""Reads what the kernel gives this process (cores, memory, namespaces, ports) from Linux files and probes; no torch."""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import subprocess
from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")
_LANDLOCK_CREATE_RULESET = 444
_LANDLOCK_CREATE_RULESET_VERSION = 1
_PR_GET_SECCOMP = 21


def usable_cores() -> int:
    """Return the number of cores in this process's affinity mask."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_quota(cgroup: Path = CGROUP) -> float | None:
    """Return the CPU time, in cores, that the control group (v2 or v1) allows; None if it sets no bound."""
    quota, _, period = (_read(cgroup / "cpu.max") or "").partition(" ")
    if not quota:
        quota = _read(cgroup / "cpu" / "cpu.cfs_quota_us") or "-1"
        period = _read(cgroup / "cpu" / "cpu.cfs_period_us") or "100000"
    return int(quota) / int(period) if quota not in ("max", "-1") else None


def memory_limit(cgroup: Path = CGROUP) -> int:
    """Return, in bytes, the machine's memory or the control group's limit, whichever is less."""
    total = psutil.virtual_memory().total
    for path in (cgroup / "memory.max", cgroup / "memory" / "memory.limit_in_bytes"):
        text = _read(path)
        if text and text != "max":
            return min(total, int(text))
    return total


def memory_available(cgroup: Path = CGROUP) -> int:
    """Return the bytes that this process can still allocate without swapping, under the same limit."""
    available = psutil.virtual_memory().available
    for name in ("memory.current", "memory/memory.usage_in_bytes"):
        used = _read(cgroup / name)
        if used:
            return max(0, min(available, memory_limit(cgroup) - int(used)))
    return available


def port_is_free(number: int) -> bool:
    """Return True if nothing listens on this TCP port of the loopback interface."""
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex(("127.0.0.1", number)) != 0


def has_user_namespaces() -> bool:
    """Return True if an unprivileged process can make a user namespace. It is tried: sysctls alone do not decide it."""
    tool = shutil.which("unshare")
    if tool is None:
        return False
    try:
        return subprocess.run([tool, "-Urnm", "true"], capture_output=True, timeout=10).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


def has_seccomp() -> bool:
    """Return True if the kernel supports seccomp filters."""
    return bool(_libc().prctl(_PR_GET_SECCOMP, 0, 0, 0, 0) >= 0)


def landlock_abi() -> int:
    """Return the version of the landlock interface; 0 or less if there is none."""
    return int(_libc().syscall(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_CREATE_RULESET_VERSION))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
