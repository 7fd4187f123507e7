"""Runs on one machine that share cores: each announces itself, and a later one says so at its launch.

    with announced("runs/a"): …            a locked file in shared memory (or TMPDIR), which goes with the process
    for other in others(): …               Neighbour(run="/home/ada/runs/a", command="grpo rl …", cores={0, 1})

Torch's threads spin while they wait for each other: two runs with as many threads as there are cores are several times
slower than one after the other.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shlex
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")
PREFIX = "grpo-run-"


@dataclass(frozen=True)
class Neighbour:
    """Another run that computes on this machine now."""

    run: str
    """Its run directory."""
    command: str
    cores: frozenset[int]
    """Cores that it may use."""


@contextmanager
def announced(run: Path) -> Iterator[list[Neighbour]]:
    """Announce a run of this process; yields those that share cores with it, which were there before.

    A machine where nothing can be written has no neighbours.
    """
    file = _place() / f".{PREFIX}{secrets.token_hex(6)}"
    before = [other for other in others() if other.cores & _cores()]
    lock = None
    with suppress(OSError):
        lock = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
        said = {"run": str(run.resolve()), "command": command, "cores": sorted(_cores())}
        os.write(lock, json.dumps(said).encode())
        announced_as = file.with_name(file.name.removeprefix("."))
        os.rename(file, announced_as)  # under this name it is always locked and whole
        file = announced_as
    try:
        yield before
    finally:
        with suppress(OSError):
            file.unlink()
        if lock is not None:
            os.close(lock)


def others() -> Iterator[Neighbour]:
    """Yield the runs that are announced and live; removes what dead ones of this user left."""
    for file in sorted(_place().glob(f"{PREFIX}*")):
        with suppress(OSError, ValueError, KeyError, TypeError), file.open("rb") as announcement:
            try:
                fcntl.flock(announcement, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                said = json.loads(announcement.read())
                yield Neighbour(said["run"], said["command"], frozenset(said["cores"]))
            else:
                if os.fstat(announcement.fileno()).st_uid == os.geteuid():
                    file.unlink()


def warning(neighbours: list[Neighbour], threads: str) -> str:
    """Return the line for a launch; "" without neighbours.

    Args:
        neighbours: from `announced`.
        threads: the keys that set this run's threads.
    """
    if not neighbours:
        return ""
    runs = "; ".join(f"{other.run} (`{other.command}`)" for other in neighbours)
    return (
        f"another run computes on the same {len(_cores())} cores: {runs}. Both will be several times slower. Wait for "
        f"it, or give each its part: set {threads} in both, with OMP_WAIT_POLICY=passive, or start each under `taskset`"
    )


def _cores() -> frozenset[int]:
    return frozenset(os.sched_getaffinity(0))


def _place() -> Path:
    is_there = SHARED_MEMORY.is_dir() and os.access(SHARED_MEMORY, os.W_OK | os.X_OK)
    return SHARED_MEMORY if is_there else Path(tempfile.gettempdir())
