"""Stops a run whose rewards are dead, before anything trains on them (rewards/scoring/dead.py)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from grpo.common.errors import GuardTripped
from rewards.scoring.dead import find_alive, find_death, find_silent
from rewards.types import ScoredGroup

AGAIN = "Fix the reward and run the same command again"


class DeathWatch:
    """Looks at every phase and evaluation of a run."""

    def __init__(
        self,
        weights: Mapping[str, float],
        correct: str,
        write: Callable[[int, Sequence[ScoredGroup]], Path],
    ) -> None:
        """Begin with no component known to be alive.

        Args:
            weights: of the components in the total.
            correct: the component that says what is right in evaluations.
            write: writes the samples of a phase that does not train, and returns the file.
        """
        self._weights, self._correct, self._write = weights, correct, write
        self._alive: set[str] = set()

    def scored(self, step: int, scored: Sequence[ScoredGroup]) -> None:
        """Look at a phase before it trains; `step` counts the updates done after it.

        Raises:
            GuardTripped: every verdict is an error, or a component has never given a value; the samples are written.
        """
        death = find_death(scored, self._weights, self._alive)
        if death is not None:
            raise GuardTripped(f"{death}\nThe samples are in {self._write(step, scored)}. {AGAIN}")
        self._alive |= find_alive(scored)

    def evaluated(self, scored: Sequence[ScoredGroup]) -> None:
        """Look at an evaluation.

        Raises:
            GuardTripped: the reward that says what is right has given no value.
        """
        if (death := find_silent(scored, [self._correct])) is not None:
            raise GuardTripped(f"{death}\n{AGAIN}")
