"""What the components of a phase say about their health, for guards and reports. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rewards.types import ScoredGroup


@dataclass(frozen=True)
class ComponentStats:
    """One component over many samples."""

    applied: int
    """Samples it applied to."""
    scored: int
    """… of which it gave a number for."""
    mean: float
    """Over `scored`; NaN if none."""
    std: float
    """Population standard deviation over `scored`; NaN if none."""
    minimum: float
    maximum: float

    @property
    def is_silent(self) -> bool:
        """True if it applied but never gave a number: the signal is dead."""
        return self.applied > 0 and self.scored == 0

    @property
    def is_constant(self) -> bool:
        """True if every number was the same (two or more): no group can learn from it."""
        return self.scored > 1 and self.minimum == self.maximum


def component_stats(groups: Sequence[ScoredGroup]) -> dict[str, ComponentStats]:
    """Statistics by component name, in order of first appearance."""
    values: dict[str, list[float | None]] = {}
    for group in groups:
        for score in group.scores:
            for name, value in score.components.items():
                values.setdefault(name, []).append(value)
    return {name: _stats(column) for name, column in values.items()}


def verdict_shares(groups: Sequence[ScoredGroup]) -> dict[str, float]:
    """Share of samples by verdict; all four are present, zeros if there are no samples."""
    verdicts = [score.verdict for group in groups for score in group.scores]
    return {v: verdicts.count(v) / max(len(verdicts), 1) for v in ("ok", "abstain", "timeout", "error")}


def _stats(column: Sequence[float | None]) -> ComponentStats:
    numbers = [value for value in column if value is not None]
    if not numbers:
        return ComponentStats(len(column), 0, math.nan, math.nan, math.nan, math.nan)
    mean = math.fsum(numbers) / len(numbers)
    variance = math.fsum((x - mean) ** 2 for x in numbers) / len(numbers)
    return ComponentStats(len(column), len(numbers), mean, math.sqrt(variance), min(numbers), max(numbers))
