"""activity.jsonl: what a run is doing now, and what it did when. Appended by every start of the run.

    {"at": 1796039125.2, "step": 12, "part": "rollout"}      from this moment on (Unix time) the run samples
    {"at": 1796039131.9, "step": 12, "part": ""}             between two parts: the driver itself works

`step` counts the updates done. The file is for people who watch: nothing is resumed from it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

FILE = "activity.jsonl"


class ActivityLog:
    """Appends what begins to the activity of a run."""

    def __init__(self, run_dir: Path, now: Callable[[], float] = time.time) -> None:
        """Append to the run's file; `now` is a clock in Unix seconds."""
        self._path, self._now = run_dir / FILE, now

    def begin(self, part: str, step: int) -> None:
        """Note that `part` begins after `step` updates."""
        line = json.dumps({"at": round(self._now(), 3), "step": step, "part": part})
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
