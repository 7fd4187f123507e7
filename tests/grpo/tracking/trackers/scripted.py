"""Trackers for tests: they run in a tracker's process and write what they are given to run_dir/seen.jsonl."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping

from grpo.tracking.trackers.tracker import Status, TrackedRun


class Seen:
    """Takes everything."""

    def __init__(self, run: TrackedRun) -> None:
        self._path = run.run_dir / "seen.jsonl"
        self.state = {"opened": run.state.get("opened", 0) + 1}
        self._write({"open": self.state["opened"], "seed": run.config["seed"], "name": run.name})

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._write({"step": step, **values})

    def close(self, status: Status) -> None:
        self._write({"close": status})

    def _write(self, row: Mapping[str, object]) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")


class Refuses(Seen):
    """Cannot be opened."""

    def __init__(self, run: TrackedRun) -> None:
        raise ValueError("no API key")


class NeverOpens(Seen):
    """Its server does not answer."""

    def __init__(self, run: TrackedRun) -> None:
        time.sleep(600)


class OpensOnce(Seen):
    """Cannot be opened a second time."""

    def __init__(self, run: TrackedRun) -> None:
        if run.state:
            raise OSError("network is unreachable")
        super().__init__(run)


class Raises(Seen):
    """Takes nothing."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        raise ConnectionError("network is unreachable")


class Stumbles(Seen):
    """Takes each row at the second attempt."""

    refused: set[int] = set()  # noqa: RUF012 - one process, one run

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if step not in self.refused:
            self.refused.add(step)
            raise ConnectionError("busy")
        super().log(step, values)


class Hangs(Seen):
    """Waits for ever with the first row."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        time.sleep(600)


class Dies(Seen):
    """Ends its process with the first row, as the kernel does that runs out of memory."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        os.kill(os.getpid(), 9)
