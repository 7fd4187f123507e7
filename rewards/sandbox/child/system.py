"""Wrap system calls that Python has no function for. Runs inside the launcher: standard library only."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
from collections.abc import Mapping

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
ALL_NAMESPACES = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET

MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
MNT_DETACH = 2
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV = 1, 2, 4
AT_FDCWD, AT_RECURSIVE = -100, 0x8000

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_CHILD_SUBREAPER = 1, 4, 24, 36
PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4
_SECCOMP_SET_MODE_FILTER = 1

# Calls added since Linux 5.0 have the same number on every architecture.
_NUMBERS = {
    "x86_64": {"clone": 56, "capset": 126, "pivot_root": 155, "seccomp": 317},
    "aarch64": {"clone": 220, "capset": 91, "pivot_root": 41, "seccomp": 277},
}
_SAME_EVERYWHERE = {
    "clone3": 435,
    "mount_setattr": 442,
    "landlock_create_ruleset": 444,
    "landlock_add_rule": 445,
    "landlock_restrict_self": 446,
}
_CALL = _NUMBERS.get(os.uname().machine, {}) | _SAME_EVERYWHERE
_CLONE_INTO_CGROUP = 0x200000000

# PyDLL keeps the interpreter lock (GIL), so that a raw clone returns in the child with the lock held, as it must.
_libc = ctypes.PyDLL(None, use_errno=True)


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def syscall(name: str, *arguments: object) -> int:
    """Make the system call `name` and return its result. Raises OSError."""
    return _check(_libc.syscall(ctypes.c_long(_CALL[name]), *arguments), name)


def clone(flags: int, cgroup: int | None = None) -> int:
    """Fork into new namespaces; return the child's pid, and 0 in the child. For single-threaded callers only.

    Args:
        flags: CLONE_NEW*.
        cgroup: descriptor of the cgroup v2 directory in which the child starts. Moving it there later would wait for
            all cores, about 10 ms.

    Raises:
        OSError: the kernel refuses the call.
    """
    if cgroup is not None:
        arguments = struct.pack(
            "=11Q", flags | _CLONE_INTO_CGROUP, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, cgroup
        )
        return syscall("clone3", ctypes.c_char_p(arguments), ctypes.c_size_t(len(arguments)))
    zero = ctypes.c_long(0)
    return syscall("clone", ctypes.c_long(flags | signal.SIGCHLD), zero, zero, zero, zero)


def unshare(flags: int) -> None:
    """Move this process into new namespaces. Raises OSError."""
    _check(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Call mount(2). Raises OSError."""
    result = _libc.mount(
        source.encode(),
        target.encode(),
        kind.encode() if kind else None,
        ctypes.c_ulong(flags),
        options.encode() if options else None,
    )
    _check(result, f"mount {target}")


def set_mount_flags(path: str, attributes: int, recursive: bool) -> None:
    """Add MOUNT_ATTR_* to a mount, and to all mounts below it if `recursive` (Linux 5.12)."""
    packed = struct.pack("=QQQQ", attributes, 0, 0, 0)
    syscall(
        "mount_setattr",
        ctypes.c_int(AT_FDCWD),
        ctypes.c_char_p(path.encode()),
        ctypes.c_uint(AT_RECURSIVE if recursive else 0),
        ctypes.c_char_p(packed),
        ctypes.c_size_t(len(packed)),
    )


def unmount(path: str) -> None:
    """Detach a mount and all mounts below it."""
    _check(_libc.umount2(path.encode(), MNT_DETACH), f"umount {path}")


def pivot_root(new: str, old: str) -> None:
    """Make `new` the root and move the former root to `old` (a path below `new`)."""
    syscall("pivot_root", ctypes.c_char_p(new.encode()), ctypes.c_char_p(old.encode()))


def prctl(option: int, value: int = 0) -> None:
    """Call prctl(2) with one argument. Raises OSError."""
    zero = ctypes.c_ulong(0)
    _check(_libc.prctl(option, ctypes.c_ulong(value), zero, zero, zero), f"prctl {option}")


def map_own_ids(inside: int, uid: int, gid: int) -> None:
    """Map this user and group, and no others, to `inside` in a new user namespace."""
    for name, line in (
        ("setgroups", "deny"),
        ("gid_map", f"{inside} {gid} 1"),
        ("uid_map", f"{inside} {uid} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(line)


def become(uid: int, gid: int) -> None:
    """Give up root irrevocably. The process stays "dumpable", so that it owns its /proc/self."""
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    prctl(PR_SET_DUMPABLE, 1)


def drop_capabilities() -> None:
    """Empty every capability set and set no_new_privs, which makes that irreversible."""
    for capability in range(64):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError:
            break  # past the last capability, or there was none to drop
    header = struct.pack("=Ii", 0x20080522, 0)
    syscall("capset", ctypes.c_char_p(header), ctypes.c_char_p(bytes(24)))
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def install_filter(program: bytes) -> None:
    """Install a seccomp filter (array of struct sock_filter). Needs no_new_privs."""
    array = ctypes.create_string_buffer(program, len(program))
    packed = struct.pack("@HP", len(program) // 8, ctypes.addressof(array))
    syscall("seccomp", ctypes.c_uint(_SECCOMP_SET_MODE_FILTER), ctypes.c_uint(0), ctypes.c_char_p(packed))


def raise_soft_limits() -> None:
    """Raise the soft limits that the owner set for itself to the hard ones.

    A reward process limits its own address space, but Java needs more.
    """
    for name in ("AS", "DATA", "CPU", "FSIZE", "NPROC", "NOFILE"):
        number = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(number)[1]
        resource.setrlimit(number, (hard, hard))


def set_limits(limits: Mapping[str, int]) -> None:
    """Set each RLIMIT_<name>, soft and hard alike, never above the hard limit that this process already has."""
    for name, value in limits.items():
        number = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(number)[1]
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(number, (bound, bound))
