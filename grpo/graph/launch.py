"""Starts a stage in a process of its own, watches it and its memory, and hands an interrupt on to it.

A process for each stage: Ray, engines and torch end with it, and a kill at any moment leaves nothing but files.
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

MEMORY_EVERY_S = 2.0
TICK_S = 0.1
PATIENCE_S = 60.0
"""After an interrupt, before the stage is killed."""


@dataclass(frozen=True)
class Ended:
    """How a stage's process ended."""

    code: int
    peak_mib: float | None
    """Highest sum over its processes of what each has for itself and its part of what they share (PSS)."""


def launch(node: Node, address: str | None, log: Path, on_tick: Callable[[str], None]) -> Ended:
    """Run the stage to its end.

    Args:
        node: what node.json in its folder says is run.
        address: Ray cluster; None: each stage its own.
        log: what the stage prints is added to it.
        on_tick: called some times a second with the last line printed.

    Raises:
        KeyboardInterrupt: handed on; the stage has ended.
    """
    words = [sys.executable, "-m", "grpo.graph.child", str(node.folder), *([address] if address else [])]
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
    """Memory of a process and all its children now; None if it has ended."""
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
    """The last line of a log that is not empty."""
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
