"""Where the learner publishes weights for engines on its node: folders of one run, which go with the run.

    folders = WeightFolders(publication_roots())        /dev/shm first, then TMPDIR (or /tmp)
    path, note = folders.reserve(size)                  a file for the windows of streams (rollout/transport/stores.py)
    folders.close()

The first root with room takes the file. A folder holds a lock file that its process keeps locked (flock), so that a
later run of the same user can tell the folder of a dead run from a living one's, also where process ids mean nothing,
as in containers that share /dev/shm. It removes the dead ones.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from rollout.errors import NoRoomForWeights

SHARED_MEMORY = Path("/dev/shm")
PREFIX = "grpo-weights-"
LOCK = ".lock"
WINDOWS = "windows"
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
MB = 10**6


def publication_roots() -> tuple[Path, ...]:
    """Return the folders that may take weights, best first: shared memory, then the folder of temporary files."""
    places = (SHARED_MEMORY, Path(tempfile.gettempdir()))
    return tuple(
        path for path in dict.fromkeys(places) if path.is_dir() and os.access(path, os.W_OK | os.X_OK)
    )


def free_bytes(folder: Path) -> int:
    """Return the bytes that an unprivileged process can still write there."""
    return shutil.disk_usage(folder).free


def dead_folders(root: Path) -> Iterator[Path]:
    """Yield this user's folders whose run has ended; while the caller holds one, no other process takes it for dead."""
    with suppress(OSError):
        for folder in sorted(root.glob(f"{PREFIX}*")):
            with suppress(OSError):  # another run removes it meanwhile
                if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
                    continue
                with (folder / LOCK).open("r+b") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    yield folder


def remove_dead(root: Path) -> list[Path]:
    """Remove the folders of dead runs; returns those that are gone."""
    removed = []
    for folder in dead_folders(root):
        shutil.rmtree(folder, ignore_errors=True)
        removed.append(folder)
    return removed


class WeightFolders:
    """The folders of one run, one in each root that was needed. Made by the process that publishes."""

    def __init__(self, roots: Sequence[Path]) -> None:
        """Take the roots, best first; nothing is made before `reserve`."""
        self._roots = tuple(roots)
        self._folders: dict[Path, Path] = {}
        self._locks: list[int] = []

    def reserve(self, size: int) -> tuple[Path, str]:
        """Take space for the windows of streams in the first root that has room; an earlier file goes.

        Args:
            size: bytes.

        Returns:
            The file, of so many bytes, and what the user should know about it: that it is not in the first root.

        Raises:
            NoRoomForWeights: no root has room; names each with its free space.
        """
        for folder in self._folders.values():
            (folder / WINDOWS).unlink(missing_ok=True)
        refusals: list[str] = []
        for root in self._roots:
            try:
                folder = self._folder(root)
                _reserve(folder / WINDOWS, size)
            except NoRoomForWeights as error:
                refusals.append(str(error))
                continue
            note = f"{'; '.join(refusals)}: weights go through {root}" if refusals else ""
            return folder / WINDOWS, note
        raise NoRoomForWeights(
            f"windows of weights fit nowhere: {'; '.join(refusals) or 'no folder can be written'}. Make "
            f"{SHARED_MEMORY} larger (docker run --shm-size=…, mount -o remount,size=… {SHARED_MEMORY}), or set TMPDIR "
            "to a folder with room"
        )

    def _folder(self, root: Path) -> Path:
        """Return the run's folder in a root, which is made and locked before it has its name."""
        if root in self._folders:
            return self._folders[root]
        remove_dead(root)
        try:
            building = Path(tempfile.mkdtemp(prefix=".grpo-", dir=root))
            lock = os.open(building / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            folder = building.rename(root / f"{PREFIX}{secrets.token_hex(6)}")
        except OSError as error:
            raise NoRoomForWeights(f"{root} cannot be used ({error.strerror or error})") from error
        self._locks.append(lock)
        self._folders[root] = folder
        return folder

    def close(self) -> None:
        """Remove the folders."""
        for folder in self._folders.values():
            shutil.rmtree(folder, ignore_errors=True)
        for lock in self._locks:
            os.close(lock)
        self._folders, self._locks = {}, []


def _reserve(path: Path, size: int) -> None:
    """Write a file of so many bytes and take its space: a mapped file on a full disk would end the process by SIGBUS.

    Raises:
        NoRoomForWeights: there is less; nothing is left there.
    """
    try:
        with path.open("wb") as file:
            if free_bytes(path.parent) < size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        path.unlink(missing_ok=True)
        if error.errno not in NO_ROOM:
            raise
        raise NoRoomForWeights(
            f"a window's {size / MB:,.1f} MB do not fit into {path.parent}, which has "
            f"{free_bytes(path.parent) / MB:,.1f} MB free ({error.strerror})"
        ) from error
