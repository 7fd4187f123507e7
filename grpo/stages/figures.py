"""What a finished stage leaves to be shown and measured: its figures, and how long its tokens took. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from policies.json_types import JsonMapping

Figures = JsonMapping
"""The JSON tree of a stage's summary; the graph adds the last row of eval.jsonl as "eval"."""


@dataclass(frozen=True)
class Finished:
    """The files of a finished stage, as the planner reads them."""

    config: JsonMapping
    """The resolved config that the stage ran with, a JSON tree."""
    summary: Figures
    """The content of summary.json; empty where the stage has none."""
    rows: Sequence[JsonMapping]
    """The rows of metrics.jsonl, one per update; empty where the stage has none."""


@dataclass(frozen=True)
class TokenTime:
    """How long the tokens of a finished stage took; all zero for a stage without tokens."""

    busy_s: float = 0.0
    """Seconds spent on the tokens; the rest of the stage's time is its start."""
    tokens: float = 0.0
    items: float = 0.0
    """Completions, examples or documents that the tokens belong to."""


def look_up(figures: Figures, path: str) -> object:
    """Return the value at a dotted path; None if it is missing."""
    current: object = figures
    for part in path.split("."):
        if not isinstance(current, Mapping) or part not in current:
            return None
        current = current[part]
    return current


def number(figures: Figures, path: str, digits: int = 3) -> str:
    """Format the number at a dotted path; "–" if it is missing."""
    value = look_up(figures, path)
    return f"{value:.{digits}f}" if isinstance(value, int | float) else "–"


def sampled_tokens(finished: Finished) -> TokenTime:
    """Return the time of the completions of a stage that samples, from its own figures of speed.

    Raises:
        KeyError: the summary lacks one of the figures.
    """
    summary = finished.summary
    if not summary["tokens_per_s"]:  # the last call of the stage sampled nothing: all parts were there
        return TokenTime()
    tokens = float(summary["tokens"])
    return TokenTime(tokens / summary["tokens_per_s"], tokens, float(summary["samples"]))


def trained_tokens(finished: Finished) -> TokenTime:
    """Return the time of the updates of a supervised stage, from its metrics.

    Raises:
        KeyError: the summary lacks the number of updates.
    """
    rows = finished.rows
    if "time/update_s" not in (rows[-1] if rows else {}):
        return TokenTime()
    return TokenTime(
        busy_s=sum(row.get("time/update_s", 0.0) for row in rows),
        tokens=sum(row.get("tokens/learner", 0.0) for row in rows),
        items=float(finished.summary["steps"] * finished.config["batch_size"]),
    )


def loss_figure(figures: Figures) -> str:
    """Return the key figure of a supervised stage: its loss before and after."""
    return f"loss {number(figures, 'first_loss')} → {number(figures, 'final_loss')}"
