"""Converts what a reward function returned into `Score`s. Strict: no number is guessed."""

from __future__ import annotations

import itertools
import math
import numbers
from collections.abc import Mapping, Sequence, Set
from decimal import Decimal
from typing import Any  # Any: what a reward returned

from rewards.types import Score, Verdict

_MAX_REASON_CHARS = 500


class WrongLength(ValueError):
    """A list-wise reward returned another number of scores than it was given completions."""


def failed(verdict: Verdict, reason: str, seconds: float = 0.0, trace: str = "") -> Score:
    """Return a score whose verdict is not "ok"."""
    return Score(None, verdict=verdict, reason=shorten(reason), seconds=seconds, trace=trace)


def shorten(reason: str) -> str:
    """Return `reason` on one line, cut to 500 characters."""
    line = " ".join(reason.encode("utf-8", "replace").decode().split())  # a lone surrogate cannot be printed
    return line if len(line) <= _MAX_REASON_CHARS else line[: _MAX_REASON_CHARS - 1] + "…"


def as_score(value: object) -> Score:
    """Convert one returned value: number-like, `Score`, tuple with the number first, dict with `score`, or None."""
    if value is None:
        return failed("abstain", "the reward returned None")
    if isinstance(value, Score):
        return _checked(value)
    if isinstance(value, Mapping):
        if "score" not in value:
            return failed("error", f"returned a dict without 'score' (keys: {sorted(map(str, value))})")
        score = as_score(value["score"])
        reason = value.get("reason")
        return (
            Score(score.total, verdict=score.verdict, reason=shorten(reason))
            if (score.verdict == "ok" and isinstance(reason, str))
            else score
        )
    if isinstance(value, tuple | list):
        return as_score(value[0]) if value else failed("error", f"returned an empty {type(value).__name__}")
    number = _number(value)
    if number is None:
        return failed("error", f"returned {type(value).__name__}, not a number")
    if not math.isfinite(number):
        return failed("error", f"returned {number}")
    return Score(number)


def as_scores(value: object, count: int) -> list[Score]:
    """Convert the `count` scores of a list-wise reward. Raises WrongLength if it is no list, or of another length."""
    if hasattr(value, "tolist") and getattr(value, "ndim", 1) == 1:
        value = value.tolist()
    if isinstance(value, str | bytes | Mapping | Set) or not hasattr(value, "__iter__"):
        raise WrongLength(f"returned {type(value).__name__}, expected a list of {count} scores")
    values: Sequence[object] = list(itertools.islice(value, count + 1))  # a generator may never end
    if len(values) > count:
        raise WrongLength(f"returned {_length(value, count)} scores for {count} completions")
    if len(values) != count:
        raise WrongLength(f"returned {len(values)} scores for {count} completions")
    return [as_score(item) for item in values]


def _length(value: Any, count: int) -> str:
    try:
        return str(len(value))
    except (TypeError, OverflowError):
        return f"more than {count}"


def _number(value: object) -> float | None:
    if not isinstance(value, numbers.Real | Decimal):
        # NumPy's bool, 0-d arrays and one-element tensors are numbers to their users
        size = getattr(value, "size", None)
        elements = size if isinstance(size, int) else getattr(value, "numel", lambda: 0)()
        if elements != 1 or not hasattr(value, "item"):
            return None
        value = value.item()
        if not isinstance(value, numbers.Real):
            return None
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _checked(score: Score) -> Score:
    if score.verdict not in ("ok", "abstain", "timeout", "error"):
        return failed("error", f"returned a Score with the unknown verdict {score.verdict!r}")
    if score.verdict != "ok":
        return failed(score.verdict, str(score.reason) or "no reason given")
    number = None if score.total is None else _number(score.total)
    if number is None or not math.isfinite(number):
        return failed("error", f"returned a Score with verdict ok and total {score.total!r}")
    return Score(number, reason=shorten(str(score.reason)))
