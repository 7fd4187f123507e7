"""The curves of a run: its metrics by column, kept up to date, and thinned for the page."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, MutableSequence, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import numpy as np

from grpo.tracking.metrics import describe
from grpo.view.tail import JsonTail
from policies.json_types import JsonDict

MAX_POINTS = 600
"""Most points of a curve; a longer run is averaged over equal stretches of steps."""
MAIN = (
    "eval/pass1",
    "reward/total",
    "reward/",
    "heldout/",
    "loss",
    "length/mean",
    "policy/kl",
    "policy/entropy",
    "logprob_mismatch/max",
    "logprob_mismatch/mean",
    "group/zero_variance_share",
    "length/truncated_share",
    "reward/abstained_share",
    "policy/clip_frac",
    "grad_norm",
    "lr",
    "tokens_per_s",
    "time/rollout_s",
    "time/learn_s",
)
"""Curves that the page shows unasked, in this order; a name that ends with "/" stands for its family."""
EVAL_KEYS = ("pass1", "passk", "consk", "format", "length", "truncated", "ci_low", "ci_high")
EVAL_TITLES = {
    "eval/pass1": "held-out accuracy, pass@1",
    "eval/passk": "held-out pass@k",
    "eval/consk": "held-out cons@k",
    "eval/format": "held-out format",
    "eval/length": "held-out length",
    "eval/truncated": "held-out truncated",
}


@dataclass
class Columns:
    """Rows with a step, by column; NaN where a row lacks the value."""

    steps: MutableSequence[int] = field(default_factory=lambda: array("q"))
    values: dict[str, MutableSequence[float]] = field(default_factory=dict)

    def add(self, rows: Iterable[JsonDict]) -> None:
        """Append rows; a row of an earlier step drops those from that step on, which the run has done again."""
        for row in rows:
            step = row["step"]
            while self.steps and self.steps[-1] >= step:
                self.steps.pop()
                for column in self.values.values():
                    column.pop()
            for name, value in row.items():
                if name != "step" and isinstance(value, int | float):
                    if name not in self.values:
                        self.values[name] = array("d", [math.nan]) * len(self.steps)
                    self.values[name].append(float(value))
            self.steps.append(step)
            for column in self.values.values():
                if len(column) < len(self.steps):
                    column.append(math.nan)

    def clear(self) -> None:
        """Forget every row."""
        self.steps = array("q")
        self.values = {}


class RunCurves:
    """The curves of one run. Safe for several threads."""

    def __init__(self, run_dir: Path) -> None:
        """Read nothing yet."""
        self._metrics, self._evals = JsonTail(run_dir / "metrics.jsonl"), JsonTail(run_dir / "eval.jsonl")
        self._rows, self._eval_rows = Columns(), Columns()
        self._lock = Lock()

    def curves(self, points: int = MAX_POINTS) -> dict[str, JsonDict]:
        """Return {metric: {"x": steps, "y": values}} of all rows so far; held-out ones are called eval/…"""
        with self._lock:
            self._update()
            found = {
                name: thinned(self._rows.steps, column, points) for name, column in self._rows.values.items()
            }
            for name, column in self._eval_rows.values.items():
                if name not in ("ci_low", "ci_high"):
                    found[f"eval/{name}"] = thinned(self._eval_rows.steps, column, points)
            if "eval/pass1" in found:
                for side in ("ci_low", "ci_high"):
                    if side in self._eval_rows.values:
                        bound = thinned(self._eval_rows.steps, self._eval_rows.values[side], points)
                        found["eval/pass1"][side] = bound["y"]
            return {name: curve for name, curve in found.items() if curve["x"]}

    def problems(self) -> list[str]:
        """Return what is damaged in the files, in words."""
        return [tail.problem for tail in (self._metrics, self._evals) if tail.problem]

    def _update(self) -> None:
        for tail, columns, keys in (
            (self._metrics, self._rows, None),
            (self._evals, self._eval_rows, EVAL_KEYS),
        ):
            again, rows = tail.read()
            if again:
                columns.clear()
            if keys is not None:
                rows = [{k: row.get(k) for k in ("step", *keys) if k in row} for row in rows]
            columns.add(rows)


def thinned(steps: Sequence[int], values: Sequence[float], points: int) -> JsonDict:
    """Return {"x", "y"} without the missing values; more than `points` are averaged over equal stretches."""
    x, y = np.array(steps, dtype=np.int64), np.array(values, dtype=np.float64)
    known = np.isfinite(y)
    x, y = x[known], y[known]
    if len(x) > points:
        bounds = np.round(np.arange(points + 1) * len(x) / points).astype(np.int64)
        y = np.add.reduceat(y, bounds[:-1]) / np.diff(bounds)
        x = x[bounds[1:] - 1]
    return {"x": x.tolist(), "y": y.tolist()}


def charts(runs: Sequence[tuple[str, dict[str, JsonDict]]]) -> list[JsonDict]:
    """Return one chart per metric with a curve for each run that has it; the main ones first."""
    names = sorted({name for _, curves in runs for name in curves}, key=_order)
    return [
        {
            "key": name,
            "main": _order(name)[0] < len(MAIN),
            "title": EVAL_TITLES.get(name, name),
            "unit": _unit(name),
            "meaning": _meaning(name),
            "log": name.startswith("logprob_mismatch/"),
            "series": [{"run": run, **curves[name]} for run, curves in runs if name in curves],
        }
        for name in names
    ]


def _order(name: str) -> tuple[int, str]:
    """Return where a metric stands: by MAIN, a family's members where the family stands, the rest at the end."""
    exact = next((i for i, entry in enumerate(MAIN) if entry == name), None)
    family = next((i for i, entry in enumerate(MAIN) if entry.endswith("/") and name.startswith(entry)), None)
    place = exact if exact is not None else family
    return (place if place is not None else len(MAIN), name)


def _unit(name: str) -> str:
    metric = describe(name)
    return (
        metric.unit
        if metric
        else ("tokens" if name == "eval/length" else "share" if name in EVAL_TITLES else "")
    )


def _meaning(name: str) -> str:
    metric = describe(name)
    return metric.meaning if metric else ""
