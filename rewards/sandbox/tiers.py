"""Describe what each isolation tier guarantees, and which one this host provides."""

from __future__ import annotations

import os
from dataclasses import dataclass

from policies.json_types import JsonMapping
from rewards.sandbox.child.landlock import SCOPES_SIGNALS
from rewards.sandbox.settings import TierName


@dataclass(frozen=True)
class Tier:
    """The isolation that programs run under."""

    name: TierName
    guarantees: tuple[str, ...]
    gaps: tuple[str, ...]
    launcher: str
    """The program that starts sandboxes, and its user."""
    cgroup: bool
    """True if the kernel limits memory and tasks as well, not only polling."""


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
    "memory may pass its limit for the 10 ms between two looks (no cgroup)",
    "a task limit passed and left again between two looks is not seen (no cgroup)",
    "programs are refused shared anonymous mappings, which could hide memory; /dev/zero is a file (no cgroup)",
)
_CGROUP = "memory and tasks: bounded by the kernel as well (cgroup), whose counts decide the verdict"

_SHARED_HOST = (
    "resident memory and number of tasks of the whole process tree: watched, the run is ended past the limit",
    "wall time: the whole tree is killed, whatever it ignores, stops or detaches; orphans are found and ended",
    "no capabilities; no_new_privs; never the host's root",
)
_LANDLOCK = (
    "host files: none can be opened or changed but /usr, the toolchains (both read-only) and the work directory",
    "network: none (socket and connect refused; TCP also by Landlock)",
    "system calls: deny list by seccomp, which covers SysV IPC, ptrace and what changes other processes",
)
_LANDLOCK_GAPS = (
    "names, sizes and owners of host files can be seen (stat), their content cannot",
    "the process table is shared: no /proc, but a program can learn whether a process id exists",
    "what reads /proc fails; so do, without a private /dev/shm, locks of multiprocessing",
)
_UNISOLATED_GAPS = (
    "NOT ISOLATED: programs read and write every file, and signal and trace every process, that their user may",
    "the network is open, and so is every system call",
    "SysV IPC objects, files outside the work directory and scheduled jobs outlive a run",
)


def describe(name: TierName, is_root: bool, cgroup: bool, facts: JsonMapping) -> Tier:
    """Describe the tier as it is on this host.

    Args:
        name: the tier.
        is_root: whether the sandbox was started as root, so that programs run as users of their own.
        cgroup: whether control groups limit memory and tasks.
        facts: what the launcher found: "landlock" (ABI version), "is_private" (whether it could mount).
    """
    user = "started as root, runs as a user of its own" if is_root else f"as user {os.getuid()}"
    gaps: tuple[str, ...] = _ALWAYS_GAPS if cgroup else _NO_CGROUP_GAPS + _ALWAYS_GAPS
    guarantees: tuple[str, ...] = {
        "namespaces": _NAMESPACES,
        "landlock": _LANDLOCK + _SHARED_HOST,
        "unisolated": _SHARED_HOST,
    }[name]
    if name != "namespaces":
        gaps = _weak_gaps(name, is_root, cgroup, facts) + gaps
        if facts.get("is_private"):
            guarantees += ("/tmp and /dev/shm: private, bounded in bytes and in files, gone after the run",)
    if cgroup:
        guarantees += (_CGROUP,)
    return Tier(name, guarantees, gaps, f"built in ({user})", cgroup)


def _weak_gaps(name: TierName, is_root: bool, has_cgroup: bool, facts: JsonMapping) -> tuple[str, ...]:
    gaps: tuple[str, ...] = _LANDLOCK_GAPS if name == "landlock" else _UNISOLATED_GAPS
    if not has_cgroup:
        gaps += ("what lies in socket buffers is not counted as memory (no cgroup)",)
    if not facts.get("is_private"):
        gaps += (
            "the work directory is bounded per file, and by looking every 0.1 s: open files without a name are not "
            "seen",
        )
    if is_root and name == "landlock":
        gaps += ("programs may set the times of host files that all users may write to",)
    if not is_root and name == "landlock":
        if facts.get("landlock", 0) < SCOPES_SIGNALS:
            gaps += ("programs can signal this user's other processes (Landlock older than ABI 6)",)
        gaps += (
            "a compiler, though not a program, may change modes, owners and times of this user's files",
            "tasks are counted with this user's others by the kernel, so that its bound is loose",
        )
    return gaps


def unavailable(name: TierName, found: str) -> str:
    """Return the message for a user whose host refuses a tier: what was found, and hints."""
    if name != "namespaces":
        return f'sandbox tier "{name}" does not work on this host: {found}'
    return (
        f"programs cannot be isolated on this host: {found}. Hint: allow unprivileged user namespaces "
        "(sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone=1, "
        "kernel.apparmor_restrict_unprivileged_userns=0; in a container, a seccomp profile that allows them "
        'and unmasked /proc), or accept less by naming it: sandbox tier = "landlock"'
    )
