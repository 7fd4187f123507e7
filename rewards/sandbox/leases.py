"""Directories that live as long as their owner: a lock on each shows whether the owner is still alive."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import tempfile
from pathlib import Path

from rewards.sandbox.child.process_tree import remove_tree
from rewards.sandbox.errors import SandboxUnavailable

PREFIX = "grpo-sandbox-"


def take(parent: Path) -> tuple[Path, int]:
    """Return a new directory and the descriptor whose lock keeps others from removing it. Raises OSError."""
    while True:
        path = parent / f"{PREFIX}{secrets.token_hex(6)}"
        path.mkdir(mode=0o711)
        with contextlib.suppress(FileNotFoundError):  # removed as abandoned before it was locked
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            with contextlib.suppress(OSError):
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if path.exists():
                    return path, fd
            os.close(fd)


def abandoned(parent: Path) -> list[Path]:
    """Return the leased directories of this user in `parent` whose owner was killed."""
    found = []
    for path in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if os.fstat(fd).st_uid == os.getuid():
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    found.append(path)
            except BlockingIOError:
                pass
            finally:
                os.close(fd)
    return found


def work_base() -> tuple[Path, int]:
    """Return a directory for work directories, and its lease; in memory if this user can write to /dev/shm.

    Raises:
        SandboxUnavailable: neither /dev/shm nor the temporary directory can be written to.
    """
    for parent in (Path("/dev/shm"), Path(tempfile.gettempdir())):
        if parent.is_dir() and os.access(parent, os.W_OK | os.X_OK):
            for path in abandoned(parent):
                remove_tree(str(path))
            return take(parent)
    raise SandboxUnavailable("neither /dev/shm nor the temporary directory can be written to")
