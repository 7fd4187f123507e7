"""What a tracker is. Each has a file of its own in this folder; a class of another package works the same way.

    class Swan:
        def __init__(self, run: TrackedRun) -> None: …                  opens the run, or goes on with run.state
        def log(self, step: int, values: Mapping[str, float]) -> None: …
        def close(self, status: Status) -> None: …
        state: JsonDict                                                 what the next process needs to go on

It lives in a process of its own (grpo/tracking/trackers/child.py), so that it may block, fail or print.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from policies.json_types import JsonDict

Status = Literal["finished", "failed", "interrupted", "killed"]
"""How a run ended: at its end, with an error, by a signal or Ctrl-C, or without a word (power, SIGKILL)."""
PROJECT = "grpo"
"""The project or experiment, unless the environment names another (`WANDB_PROJECT`, …)."""


@dataclass(frozen=True)
class TrackedRun:
    """The run that a tracker is to show."""

    run_dir: Path
    config: JsonDict
    """The resolved recipe."""
    state: JsonDict
    """What the tracker's `state` was in an earlier process of the same run; {} in the first."""

    @property
    def name(self) -> str:
        """Return the run's name: that of its folder."""
        return self.run_dir.resolve().name


class Tracker(Protocol):
    """One run in an experiment tracker."""

    state: JsonDict
    """What opens the same run again: its id, its project."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add finite values to a step; steps come in ascending order, one of them perhaps twice.

        Raises:
            Exception: whatever the library raises; the same call is made again later.
        """

    def close(self, status: Status) -> None:
        """Send what is left and mark the run as ended."""


def flat(config: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Return the config with one dotted key for each value: {"optimizer.lr": 3e-6, …}."""
    found: dict[str, object] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found
