"""Landlock: restrict the files that a program may open where it shares the host's file system.

See userspace-api/landlock in the kernel documentation. Runs inside the launcher: standard library only.
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
"""For each ABI version, the number of file rights that it knows; these are the lowest bits."""
_TCP = 0x3  # bind, connect
_SCOPES = 0x3  # abstract unix sockets, signals
SCOPES_SIGNALS = 6
"""The first ABI version that can stop a program from signalling processes outside its Landlock domain."""


def abi() -> int:
    """Return the kernel's Landlock ABI version; 0 if it has no Landlock or Landlock is switched off."""
    try:
        return syscall("landlock_create_ruleset", None, ctypes.c_size_t(0), ctypes.c_uint(1))
    except OSError:
        return 0


def restrict(version: int, readable: Sequence[str], writable: Sequence[str], devices: Sequence[str]) -> None:
    """Deny this process and its children all files except these and, if the version can, TCP and signals to others.

    The process must have set no_new_privs.

    Args:
        version: the result of `abi()`, at least 1.
        readable: paths that may be read and executed, with everything below them. Missing paths are skipped.
        writable: directories below which everything is allowed except making device files.
        devices: device files that may be read and written.

    Raises:
        OSError: the kernel refuses the rules.
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
