"""The process of one tracker: `python -m grpo.tracking.trackers.child MODULE:CLASS`, started by process.py.

stdin     {"run_dir": …, "config": …, "memory": …}, then how the run ended: "finished", …; without that word: "killed"
stdout    {"opened": state}, {"error": text} whenever something goes wrong, {"closed": rows that could not be sent}

It follows the run's files, so that the run never waits for it. What cannot be sent is sent again later. Which rows are
sent is written down before they are: a tracker that is killed in between may miss the rows of a second, and never gets
one twice.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO, get_args

from grpo.tracking.trackers.follow import Follower
from grpo.tracking.trackers.registry import load
from grpo.tracking.trackers.tracker import Status, TrackedRun, Tracker
from policies.files import write_atomic
from policies.json_types import JsonDict

STATUSES: tuple[Status, ...] = get_args(Status)
POLL_S = 0.5
RETRY_S = (2.0, 60.0)
"""Wait after a call that failed: the first, and the longest of those that follow, each twice as long."""
CLOSE_S = 60
"""Longest time for what is left when the run has ended; then the kernel ends this process."""


class Memory:
    """What the next process of the same run must know: the tracker's state, and which rows it has been sent."""

    def __init__(self, path: Path) -> None:
        """Read it, if there is one."""
        self._path = path
        known: JsonDict = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        self.state: JsonDict = known.get("state", {})
        self.metrics_step: int = known.get("metrics_step", -1)
        self.eval_step: int = known.get("eval_step", -1)

    def write(self, state: JsonDict, follower: Follower) -> None:
        """Store the tracker's state and how far the follower has read; atomic."""
        row = {"state": state, "metrics_step": follower.metrics_step, "eval_step": follower.eval_step}
        write_atomic(self._path, json.dumps(row) + "\n")


class Sender:
    """Hands the rows of a run to its tracker, and those that it did not take once more later."""

    def __init__(
        self, tracker: Tracker, follower: Follower, memory: Memory, report: Callable[[str], None]
    ) -> None:
        """Begin.

        Args:
            tracker: takes the rows.
            follower: gives them.
            memory: is written before rows are sent.
            report: takes each error.
        """
        self._tracker, self._follower, self._memory, self._report = tracker, follower, memory, report
        self.waiting: list[tuple[int, dict[str, float]]] = []
        """Rows that have not been taken."""
        self._retry_at, self._wait = 0.0, RETRY_S[0]

    def send(self, last: bool = False) -> None:
        """Send what is new.

        Args:
            last: the run has ended: everything, and now.
        """
        if not last and time.monotonic() < self._retry_at:
            return
        new = self._follower.read(everything=last)
        if new:
            self._memory.write(self._tracker.state, self._follower)
        self.waiting += new
        while self.waiting:
            try:
                self._tracker.log(*self.waiting[0])
            except Exception as error:
                self._report(f"{type(error).__name__}: {error}")
                self._retry_at = time.monotonic() + self._wait
                self._wait = min(2 * self._wait, RETRY_S[1])
                return
            self._wait = RETRY_S[0]
            self.waiting.pop(0)


def main(where: str) -> int:
    """Open the tracker, follow the run to its end, close the tracker; returns the exit code."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # Libraries print, and stderr is the log file.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # The run says when to end.
    order = json.loads(read_line())
    run_dir, memory = Path(order["run_dir"]), Memory(Path(order["memory"]))

    def error(text: str) -> None:
        reply(replies, {"error": text})

    try:
        tracker = load(where)(TrackedRun(run_dir, order["config"], memory.state))
    except (Exception, SystemExit) as problem:
        error(f"{type(problem).__name__}: {problem}")
        return 1
    follower = Follower(run_dir, memory.metrics_step, memory.eval_step)
    memory.write(tracker.state, follower)
    reply(replies, {"opened": tracker.state})
    sender = Sender(tracker, follower, memory, error)
    while (status := run_status(POLL_S)) is None:
        sender.send()
    signal.alarm(CLOSE_S)
    sender.send(last=True)
    try:
        tracker.close(status)
    except Exception as problem:
        error(f"{type(problem).__name__}: {problem}")
    reply(replies, {"closed": len(sender.waiting)})
    return 0


def run_status(wait_s: float) -> Status | None:
    """Wait a moment for the run's end; returns how it ended, None while it goes on."""
    readable, _, _ = select.select([sys.stdin.fileno()], [], [], wait_s)
    if not readable:
        return None
    word = read_line().decode().strip()
    return next((status for status in STATUSES if status == word), "killed")


def read_line() -> bytes:
    """Read one line of stdin past Python's buffer, in which `select` would not see what is left."""
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(sys.stdin.fileno(), 1)):
        line += byte
    return line


def reply(replies: TextIO, message: JsonDict) -> None:
    """Write one line to the run, which may be gone."""
    try:
        replies.write(json.dumps(message, default=str) + "\n")
        replies.flush()
    except OSError:
        pass


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
