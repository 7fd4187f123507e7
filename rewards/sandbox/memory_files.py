"""Hand bytes to a sandbox as anonymous, sealed files: nothing is on the host's disk, and no writer can block."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from dataclasses import dataclass

_F_ADD_SEALS = 1033
_SEAL_ALL = 0x1 | 0x2 | 0x4 | 0x8  # no further seals, no shrinking, no growing, no writing


@dataclass(frozen=True)
class SandboxFile:
    """A file in the work directory."""

    name: str
    content: bytes
    mode: int = 0o644


def sealed(content: bytes | Sequence[bytes]) -> int:
    """Return a read-only descriptor, at offset 0, of an immutable memory file. The caller closes it."""
    fd = os.memfd_create("sandbox", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        for part in [content] if isinstance(content, bytes) else content:
            view = memoryview(part)
            while view:
                view = view[os.write(fd, view) :]
        fcntl.fcntl(fd, _F_ADD_SEALS, _SEAL_ALL)
        # Open the file a second time: the program cannot write through this descriptor, which has its own offset.
        return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(fd)


def collector() -> int:
    """Return an empty memory file that the sandbox's process 1 fills, never the program. The caller closes it."""
    return os.memfd_create("sandbox", os.MFD_CLOEXEC)


def read_parts(fd: int, sizes: Sequence[int]) -> list[bytes]:
    """Split a collector's content into files of the given sizes in bytes."""
    parts, offset = [], 0
    for size in sizes:
        parts.append(os.pread(fd, size, offset) if size else b"")
        offset += size
    return parts
