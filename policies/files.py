"""Files that appear whole or not at all, also across a crash of the machine. Standard library alone.

    write_atomic(path, text)                      a small text file
    with replacing(path) as temporary: …          anything that a writer puts at a path: Parquet, safetensors
    replace_folder(building, target)              a folder that was written beside its final name
    sync(path)                                    a file or a folder, down to the disk

This module stands in the lowest package so that all packages share one implementation. Weights in shared memory
(rollout/transport/stores.py) do not outlive a crash anyway and need none of this.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LFS_POINTER = b"version https://git-lfs.github.com/"
NOT_FETCHED = "a pointer of Git LFS in place of the file; `git lfs pull` in its repository fetches it"
"""What is wrong with a file that `is_lfs_pointer`, for messages."""
REPLACED = ".old."
"""Part of the name of a folder that `replace_folder` was removing, ".NAME.old.XXXXXXXX"."""


def is_lfs_pointer(path: Path) -> bool:
    """Return True for what a clone without Git LFS leaves in a large file's place."""
    with path.open("rb") as file:
        return file.read(len(LFS_POINTER)) == LFS_POINTER


def write_atomic(path: Path, text: str) -> None:
    """Replace a text file (UTF-8); see `replacing`."""
    data = text.encode("utf-8")
    with replacing(path) as temporary:
        temporary.write_bytes(data)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; what the block writes there replaces `path` when it ends well.

    File and folder are synced, so that after a power failure `path` is the old file or the new one. The new file has
    the old one's permissions, and those of the umask if there was none. Concurrent writers each have a temporary file
    of their own; the last to end wins. If the block raises, `path` stays as it was and nothing is left beside it.

    Raises:
        OSError: the folder is missing, the disk is full, or one of them refuses to be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except OSError as error:  # nobody has heard of the temporary name
        raise OSError(error.errno, error.strerror, str(path)) from None
    try:
        mode = os.fstat(descriptor).st_mode
        os.close(descriptor)
        yield temporary
        if path.exists():
            mode = path.stat().st_mode
        temporary.chmod(stat.S_IMODE(mode))
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def replace_folder(building: Path, target: Path) -> None:
    """Rename a finished folder to `target`, which may exist; both have the same parent.

    A crash in between leaves the old or the new folder whole under some name; what an error interrupts is undone. The
    caller has synced the content (`sync_tree`).

    Raises:
        OSError: one of the folders cannot be renamed; `target` is what it was.
    """
    if not target.exists():
        building.rename(target)
        sync(target.parent)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}{REPLACED}", dir=target.parent))
    kept = old / target.name
    try:
        target.rename(kept)
        building.rename(target)
    except BaseException:
        if kept.exists():
            kept.rename(target)
        old.rmdir()
        raise
    sync(target.parent)
    shutil.rmtree(old)


def sync_tree(folder: Path) -> None:
    """Sync every file below a folder, then the folders, deepest first, itself last."""
    inside = sorted(folder.rglob("*"), reverse=True)
    for path in (*(p for p in inside if p.is_file()), *(p for p in inside if p.is_dir()), folder):
        sync(path)


def sync(path: Path) -> None:
    """Return when a file's content, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
