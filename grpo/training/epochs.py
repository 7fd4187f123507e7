"""The order of training examples: a pure function of seed and step, so that a resumed run goes on exactly.

plan = BatchPlan(repeats=[1.0] * 1000, batch_size=128, epochs=2, max_steps=None, seed=1)
plan.steps        16: epochs follow each other without a gap, so only the last batch may be smaller
plan.batch(3)     indices of the examples in the update that follows 3 others
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np


class BatchPlan:
    """The batches of a whole run; each is drawn when it is needed."""

    def __init__(
        self, repeats: Sequence[float], batch_size: int, epochs: int, max_steps: int | None, seed: int
    ) -> None:
        """Count the updates of the run.

        Args:
            repeats: how often each example comes in an epoch; see `epoch_order`.
            batch_size: examples of an update.
            epochs: passes.
            max_steps: most updates of the run; None for no limit.
            seed: ≥ 0.

        Raises:
            ValueError: an epoch has no example.
        """
        self._repeats = tuple(repeats)
        self._batch_size, self._seed = batch_size, seed
        self.epoch_size = len(epoch_order(self._repeats, seed, 0))
        """Examples of one epoch."""
        if not self.epoch_size:
            raise ValueError("an epoch has no example")
        steps = math.ceil(self.epoch_size * epochs / batch_size)
        self.steps = steps if max_steps is None else min(steps, max_steps)
        """Updates of the run."""
        self._total = self.epoch_size * epochs
        self._order = lru_cache(maxsize=2)(lambda epoch: epoch_order(self._repeats, self._seed, epoch))

    def batch(self, step: int) -> list[int]:
        """Indices of the update that goes from `step` to `step + 1`."""
        positions = range(step * self._batch_size, min((step + 1) * self._batch_size, self._total))
        return [int(self._order(p // self.epoch_size)[p % self.epoch_size]) for p in positions]

    def epoch(self, step: int) -> float:
        """Epochs done after `step` updates."""
        return min(step * self._batch_size, self._total) / self.epoch_size


def epoch_order(repeats: Sequence[float], seed: int, epoch: int) -> np.ndarray:
    """Indices of one epoch, shuffled.

    An example with repeats r comes ⌊r⌋ times. Of the n examples that share a fractional part f, round(f n) come once
    more, drawn at random for each epoch. So every epoch has the same number of examples.
    """
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, epoch))))
    values = np.asarray(repeats, dtype=np.float64)
    whole = np.floor(values).astype(np.int64)
    chosen = [np.repeat(np.arange(len(values)), whole)]
    fractions = values - whole
    for fraction in np.unique(fractions[fractions > 0]):
        members = np.flatnonzero(fractions == fraction)
        chosen.append(rng.choice(members, size=round(fraction * len(members)), replace=False))
    return rng.permutation(np.concatenate(chosen))
