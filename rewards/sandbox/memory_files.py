"""Bytes handed to a sandbox as anonymous, sealed files: nothing on the host's disk, no writer that could block."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from dataclasses import dataclass

_F_ADD_SEALS = 1033
_SEAL_ALL = 0x1 | 0x2 | 0x4 | 0x8  # no further seal, no shrinking, no growing, no writing


@dataclass(frozen=True)
class SandboxFile:
    """A file of the work directory."""

    name: str
    content: bytes
    mode: int = 0o644


def sealed(content: bytes | Sequence[bytes]) -> int:
    """A read-only descriptor, at offset 0, of an unchangeable memory file. The caller closes it."""
    fd = os.memfd_create("sandbox", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        for part in [content] if isinstance(content, bytes) else content:
            view = memoryview(part)
            while view:
                view = view[os.write(fd, view) :]
        fcntl.fcntl(fd, _F_ADD_SEALS, _SEAL_ALL)
        # A second open file: the program cannot write through it, and its offset is its own.
        return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(fd)


def collector() -> int:
    """An empty memory file to be filled by the sandbox's process 1, never by the program."""
    return os.memfd_create("sandbox", os.MFD_CLOEXEC)


def read_parts(fd: int, sizes: Sequence[int]) -> list[bytes]:
    """Cut a collector's content into files."""
    parts, offset = [], 0
    for size in sizes:
        parts.append(os.pread(fd, size, offset) if size else b"")
        offset += size
    return parts
