"""Start a stage in a process of its own, watch it and its memory, and pass an interrupt on to it.

Each stage has a process: Ray, engines and torch end with it, and a kill at any moment leaves nothing but files.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from grpo.graph.parse import Node

ALLOW_CHANGE = "--allow-change"
MEMORY_EVERY_S = 2.0
TICK_S = 0.1
PATIENCE_S = 60.0
"""Time from an interrupt until the stage is killed."""


@dataclass(frozen=True)
class Ended:
    """How a stage's process ended."""

    code: int
    peak_mib: float | None
    """Highest proportional set size (PSS) of its processes together, in MiB: shared pages are counted once."""


def launch(
    node: Node,
    address: str | None,
    log: Path,
    on_tick: Callable[[str], None],
    allow_change: bool = False,
) -> Ended:
    """Run the stage to its end; returns how it ended.

    Args:
        node: the stage; its folder holds node.json, which the process reads.
        address: Ray cluster; None: each stage starts its own.
        log: file to which the output of the stage is appended.
        on_tick: called several times a second with the last line printed.
        allow_change: the stage may go on with other identity keys.

    Raises:
        KeyboardInterrupt: after it was passed on and the stage has ended.
    """
    words = [sys.executable, "-m", "grpo.graph.child", str(node.folder), *([address] if address else [])]
    words += [ALLOW_CHANGE] if allow_change else []
    log.parent.mkdir(parents=True, exist_ok=True)
    env = os.environ | {"COLUMNS": "160", "PYTHONUNBUFFERED": "1"}
    with log.open("ab") as out:
        # A session of its own: a terminal's Ctrl-C reaches the graph alone, which hands it on once.
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=env,
            start_new_session=True,
        )
    peak: float | None = None
    measured = 0.0
    try:
        while process.poll() is None:
            if time.monotonic() - measured > MEMORY_EVERY_S:
                now = memory_mib(process.pid)
                peak = now if peak is None else max(peak, now or 0.0)
                measured = time.monotonic()
            on_tick(last_line(log))
            time.sleep(TICK_S)
    except BaseException:
        _interrupt(process)
        raise
    return Ended(process.returncode, peak)


def memory_mib(pid: int) -> float | None:
    """Return the memory (PSS, MiB) of a process and all its children; None if it has ended."""
    total = 0.0
    try:
        parent = psutil.Process(pid)
        family = [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return None
    for process in family:
        try:
            total += process.memory_full_info().pss / 2**20
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total


def last_line(log: Path, length: int = 2000) -> str:
    """Return the last line of a log that is not empty."""
    with log.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - length))
        lines = file.read().decode(errors="replace").replace("\r", "\n").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def tail(log: Path, since: int = 0, lines: int = 30) -> str:
    """The last lines of a log, of those behind its first `since` bytes."""
    with log.open("rb") as file:
        file.seek(since)
        return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])


def _interrupt(process: subprocess.Popen[bytes]) -> None:
    """End the stage as Ctrl-C would; kill it if it does not come to an end, or at a second interrupt."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(PATIENCE_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.kill()
        process.wait()
