"""Find and remove the processes and files of a program on a host that it shares.

Runs inside the launcher: standard library only.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

_PAGE = resource.getpagesize()
_DEEPEST = 200
_PATIENCE = 8
_GROUPS_TIMEOUT_S = 5.0


class Process(NamedTuple):
    """The fields of /proc/PID/stat that are used here."""

    pid: int
    parent: int
    tasks: int
    resident: int
    """Resident bytes, including shared pages."""


def processes() -> list[Process]:
    """Return every process that /proc shows and that is still running."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and (fields := _stat(f"/proc/{name}")):
            tasks = int(fields[17])
            if fields[0] in b"ZX":
                # Dead, unless only its first thread ended: then the other threads hold the memory and alone show it.
                living = next(_living_threads(name), None) if tasks > 1 else None
                if living is None:
                    continue
                fields[21] = living[21]
            found.append(Process(int(name), int(fields[1]), tasks, int(fields[21]) * _PAGE))
    return found


def counted_tasks(uid: int) -> int:
    """Count a user's tasks as RLIMIT_NPROC does: a dead task counts until it has been waited for."""
    count = 0
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.stat(f"/proc/{name}").st_uid == uid and (fields := _stat(f"/proc/{name}")):
                count += int(fields[17])
    return count


def _living_threads(pid: str) -> Iterator[list[bytes]]:
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            fields = _stat(f"/proc/{pid}/task/{thread}")
            if fields and fields[0] not in b"ZX":
                yield fields


def _stat(folder: str) -> list[bytes]:
    """Return the fields of `stat` after the name, which may contain anything; empty if the process is gone."""
    try:
        return read_file(f"{folder}/stat").rpartition(b")")[2].split()
    except OSError:
        return []


def below(root: int, among: Iterable[Process]) -> list[Process]:
    """Return the descendants of `root`, which must be a subreaper so that orphans are among them."""
    children: dict[int, list[Process]] = {}
    for process in among:
        children.setdefault(process.parent, []).append(process)
    found: list[Process] = []
    queue = [root]
    while queue:
        mine = children.pop(queue.pop(), [])
        found += mine
        queue += [process.pid for process in mine]
    return found


def proportional(pid: int, otherwise: int) -> int:
    """Return the resident bytes, where a page shared by n processes counts 1/n.

    Returns `otherwise` if the kernel does not report them.
    """
    try:
        for line in read_file(f"/proc/{pid}/smaps_rollup").splitlines():
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return otherwise


def kill_below(root: int) -> None:
    """Send SIGKILL to all descendants of `root`. None of them can fork once it has been seen."""
    for process in below(root, processes()):
        with contextlib.suppress(OSError):
            resource.prlimit(process.pid, resource.RLIMIT_NPROC, (0, 0))
        with contextlib.suppress(OSError):
            os.kill(process.pid, signal.SIGKILL)


def kill_user(uid: int) -> None:
    """Send SIGKILL to every process of a user id, in one sweep that no fork can outrun. Needs root.

    Raises:
        OSError: the helper process cannot be created now.
    """
    helper = os.fork()
    if helper == 0:
        with contextlib.suppress(OSError):
            os.setresuid(uid, uid, uid)
            os.kill(-1, signal.SIGKILL)
        os._exit(0)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(helper, 0)


def usage(path: str, most_bytes: int, most_files: int) -> bool:
    """Return whether the files below `path` stay within the limits, judging by the files that have names.

    Stops at the first excess.
    """
    size = files = 0
    queue = [(path, 0)]
    while queue:
        folder, depth = queue.pop()
        try:
            entries = os.scandir(folder)
        except OSError:
            continue
        with entries:
            for entry in entries:
                files += 1
                with contextlib.suppress(OSError):
                    size += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        queue.append((entry.path, depth + 1))
                if files > most_files or size > most_bytes or depth > _DEEPEST:
                    return False
    return True


def remove_tree(path: str) -> None:
    """Delete a directory that a hostile program filled, following no links and whatever its depth.

    Moves subdirectories up instead of descending into them. Gives up, and leaves the rest, where the kernel refuses.
    """
    with contextlib.suppress(OSError):
        _allow_all(path, None)
        top = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            names = (f".{number}" for number in range(1 << 62))
            for _ in range(_PATIENCE):  # one round is enough unless names collide
                while _flatten(top, names):
                    pass
        finally:
            os.close(top)
        os.rmdir(path)


def _flatten(top: int, names: Iterator[str]) -> bool:
    """Remove everything in `top` except directories two levels down, which move up; return whether any moved."""
    moved = False
    for entry in list(os.scandir(top)):
        try:
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.name, dir_fd=top)
                continue
            _allow_all(entry.name, top)
            folder = os.open(
                entry.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top
            )
        except OSError:
            continue
        try:
            for inner in list(os.scandir(folder)):
                with contextlib.suppress(OSError):
                    if inner.is_dir(follow_symlinks=False):
                        _allow_all(inner.name, folder)
                        os.rename(inner.name, next(names), src_dir_fd=folder, dst_dir_fd=top)
                        moved = True
                    else:
                        os.unlink(inner.name, dir_fd=folder)
        finally:
            os.close(folder)
        with contextlib.suppress(OSError):
            os.rmdir(entry.name, dir_fd=top)
    return moved


def _allow_all(name: str, folder: int | None) -> None:
    """Set mode 0700 on a directory, through a descriptor that never follows a link."""
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        if os.fstat(fd).st_mode & 0o700 != 0o700:
            os.chmod(f"/proc/self/fd/{fd}", 0o700)
    finally:
        os.close(fd)


def remove_groups(parent: int, name: str) -> None:
    """Remove a control group and its children. Retries, because ending processes keep a group busy for a moment."""
    give_up = time.monotonic() + _GROUPS_TIMEOUT_S
    while time.monotonic() < give_up:
        try:
            folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=parent)
        except OSError:
            return
        try:
            for entry in os.scandir(folder):
                if entry.is_dir(follow_symlinks=False):
                    with contextlib.suppress(OSError):
                        os.rmdir(entry.name, dir_fd=folder)
        finally:
            os.close(folder)
        with contextlib.suppress(OSError):
            os.rmdir(name, dir_fd=parent)
            return
        time.sleep(0.005)


def read_file(path: str) -> bytes:
    """Return the first 4 KiB of a file in /proc. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 4096)
    finally:
        os.close(fd)
