"""Ending a reward process with everything it started, also what left its session or lost its parent.

Three nets: the host adopts orphans (subreaper), so its descendants stay its children; an environment variable with
a random tag marks all of them, even after the host died; the process group takes the rest.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from pathlib import Path

import psutil

TAG_VARIABLE = "GRPO_REWARD_HOST"
_PR_SET_CHILD_SUBREAPER = 36
_PATIENCE_S = 5.0
_kept: set[int] = set()
_HAS_CHILDREN_FILES = Path(f"/proc/self/task/{os.getpid()}/children").exists()  # some kernels lack them


def become_subreaper() -> None:
    """Orphaned descendants of this process become its children (Linux; elsewhere the tag has to do)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def live_children(pid: int) -> list[int]:
    """Children of `pid` that run (zombies are dead)."""
    if not _HAS_CHILDREN_FILES:
        with contextlib.suppress(psutil.Error):
            return [child.pid for child in psutil.Process(pid).children() if is_running(child.pid)]
        return []
    pids: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                pids += map(int, (task / "children").read_text().split())
    return [child for child in pids if is_running(child)]


def is_running(pid: int) -> bool:
    """True if the process exists and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state not in "ZX"


def keep(pid: int) -> None:
    """Say that this child of a reward host is to outlive the call that started it (a warm sandbox launcher)."""
    _kept.add(pid)


def kept() -> list[int]:
    """Children named by `keep` that still run."""
    _kept.intersection_update([pid for pid in _kept if is_running(pid)])
    return sorted(_kept)


def descendants(pid: int) -> set[int]:
    """All running processes below `pid`."""
    found: set[int] = set()
    queue = [pid]
    while queue:
        for child in live_children(queue.pop()):
            if child not in found:
                found.add(child)
                queue.append(child)
    return found


def tagged(tag: str) -> set[int]:
    """Running processes of this user whose environment holds `tag`."""
    needle = f"{TAG_VARIABLE}={tag}".encode()
    found: set[int] = set()
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            environment = Path(entry.path, "environ").read_bytes()
            if needle in environment and is_running(int(entry.name)):
                found.add(int(entry.name))
    return found


def end_tree(pid: int, tag: str) -> None:
    """Kill process `pid`, its session's group, its descendants and whoever bears `tag`. Returns when they are dead."""
    _signal(pid, signal.SIGSTOP)  # it must not start more while we count
    give_up = time.monotonic() + _PATIENCE_S
    while (victims := (descendants(pid) | tagged(tag)) - {pid, os.getpid()}) and time.monotonic() < give_up:
        for victim in victims:
            _signal(victim, signal.SIGKILL)
        time.sleep(0.002)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    _signal(pid, signal.SIGKILL)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
