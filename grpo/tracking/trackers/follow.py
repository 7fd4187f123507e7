"""Reads metrics.jsonl and eval.jsonl while a run appends to them: what is new, in the order of steps.

The files are the truth: whoever follows them misses nothing while it waits, and never makes the run wait.
"""

from __future__ import annotations

import json
from pathlib import Path

from grpo.tracking.jsonl import read_rows
from grpo.tracking.metrics import eval_tags
from policies.json_types import JsonMapping

Rows = list[tuple[int, dict[str, float]]]
"""(step, finite values), steps ascending and each but once."""


class Follower:
    """Reads what has been added since the last question."""

    def __init__(self, run_dir: Path, metrics_step: int = -1, eval_step: int = -1) -> None:
        """Begin after rows that are known.

        Args:
            run_dir: the run's.
            metrics_step: rows of metrics.jsonl up to this step are known.
            eval_step: the same for eval.jsonl.
        """
        self._metrics, self._evals = run_dir / "metrics.jsonl", run_dir / "eval.jsonl"
        self.metrics_step, self.eval_step = metrics_step, eval_step
        """Steps up to which rows have been returned."""
        self._offset = 0
        self._last = metrics_step

    def read(self, everything: bool = False) -> Rows:
        """Return the new rows, those of both files joined by step.

        Args:
            everything: the run has ended. Before that, an evaluation waits until the row of its step has been read:
                the files are read one after the other, and rows may be added in between.
        """
        found: dict[int, dict[str, float]] = {}
        for step, values in self._new_metrics():
            found.setdefault(step, {}).update(values)
            self.metrics_step = max(self.metrics_step, step)
        for row in read_rows(self._evals):
            step = row["step"]
            if step > self.eval_step and (everything or step <= max(self._last, 0)):
                found.setdefault(step, {}).update(_finite(eval_tags(row)))
                self.eval_step = step
        return sorted(found.items())

    def _new_metrics(self) -> Rows:
        rows: Rows = []
        try:
            with self._metrics.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return rows
        end = data.rfind(b"\n") + 1
        self._offset += end
        for line in data[:end].split(b"\n")[:-1]:
            row = json.loads(line)
            step = row.pop("step")
            self._last = max(self._last, step)
            if step > self.metrics_step:
                rows.append((step, _finite(row)))
        return rows


def _finite(row: JsonMapping) -> dict[str, float]:
    """Leave out what is not finite: JSON has null for it, and trackers do without."""
    return {name: float(value) for name, value in row.items() if value is not None}
