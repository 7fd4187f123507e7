"""What each tier of isolation guarantees, in words for a reader, and which one this host gives."""

from __future__ import annotations

import os
from dataclasses import dataclass

from rewards.sandbox.settings import TierName


@dataclass(frozen=True)
class Tier:
    """The isolation that programs run under."""

    name: TierName
    guarantees: tuple[str, ...]
    gaps: tuple[str, ...]
    launcher: str
    """Which program starts sandboxes, and as whom."""
    cgroup: bool
    """Memory and tasks are bounded by the kernel as well, not only by watching."""


_NAMESPACES = (
    "host files: absent, but for /usr and the toolchains, read-only",
    "host processes: invisible and out of reach of signals (own pid namespace)",
    "network: none (empty network namespace; socket and connect refused)",
    "system calls: deny list by seccomp; no capabilities; no_new_privs; never the host's root",
    "/tmp and /dev/shm: private, bounded in bytes and in files, gone after the run",
    "resident memory and number of tasks of the whole process tree: watched, the run is ended past the limit",
    "wall time: the whole tree is killed, whatever it ignores, stops or detaches",
    "nothing of a run stays: its process 1 ends, and with it every process and mount",
)
_ALWAYS_GAPS = (
    "the kernel is shared: a kernel bug is a way out",
    "time limits are wall time: a loaded host makes programs slower; side channels are not closed",
)
_NO_CGROUP_GAPS = (
    "memory may pass its limit for the 10 ms between two looks, and socket buffers are not counted (no cgroup)",
    "a task limit passed and left again between two looks is not seen (no cgroup)",
)


def describe(name: TierName, cgroup: bool) -> Tier:
    """The tier as it is on this host."""
    user = "started as root, runs as a user of its own" if os.getuid() == 0 else f"as user {os.getuid()}"
    gaps = _ALWAYS_GAPS if cgroup else _NO_CGROUP_GAPS + _ALWAYS_GAPS
    return Tier(name, _NAMESPACES, gaps, f"built in ({user})", cgroup)
