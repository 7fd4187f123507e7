"""Landlock: which files a program may open where it shares the host's file system.

Kernel documentation, userspace-api/landlock. Runs inside the launcher: standard library only.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Sequence

from rewards.sandbox.child.system import syscall

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE, _IOCTL_DEV = 1 << 14, 1 << 15
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""ABI: number of rights on files that it knows, the lowest bits."""
_TCP = 0x3  # bind, connect
_SCOPES = 0x3  # abstract unix sockets, signals
SCOPES_SIGNALS = 6
"""First ABI under which a program can signal its own kind only."""


def abi() -> int:
    """The kernel's Landlock version; 0: none, or switched off."""
    try:
        return syscall("landlock_create_ruleset", None, ctypes.c_size_t(0), ctypes.c_uint(1))
    except OSError:
        return 0


def restrict(version: int, readable: Sequence[str], writable: Sequence[str], devices: Sequence[str]) -> None:
    """Refuse this process and its children every file but these, TCP, and signals to others. Needs no_new_privs.

    Args:
        version: `abi()`, at least 1.
        readable: may be read and executed, with all below. Missing paths are left out.
        writable: everything may be done below, except making device files.
        devices: may be read and written.
    """
    handled = (1 << _FILE_RIGHTS[min(version, 5)]) - 1
    attributes = [handled]
    if version >= 4:
        attributes.append(_TCP)
    if version >= SCOPES_SIGNALS:
        attributes.append(_SCOPES)
    packed = struct.pack(f"={len(attributes)}Q", *attributes)
    ruleset = syscall(
        "landlock_create_ruleset", ctypes.c_char_p(packed), ctypes.c_size_t(len(packed)), ctypes.c_uint(0)
    )
    make_devices = (1 << 6) | (1 << 11)
    for paths, rights in (
        (readable, _READ),
        (writable, handled & ~make_devices),
        (devices, _READ_FILE | _WRITE_FILE),
    ):
        for path in paths:
            _allow(ruleset, path, rights & handled)
    syscall("landlock_restrict_self", ctypes.c_int(ruleset), ctypes.c_uint(0))
    os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            rights &= _ON_FILES
        rule = struct.pack("=Qi", rights, fd)
        syscall(
            "landlock_add_rule",
            ctypes.c_int(ruleset),
            ctypes.c_int(1),  # LANDLOCK_RULE_PATH_BENEATH
            ctypes.c_char_p(rule),
            ctypes.c_uint(0),
        )
    finally:
        os.close(fd)
