"""The order of training examples: a pure function of seed and step, so that a resumed run goes on exactly.

plan = BatchPlan(repeats=[1.0] * 1000, batch_size=128, epochs=2, max_steps=None, seed=1)
plan.steps        16: epochs follow each other without a gap, so only the last batch may be smaller
plan.batch(3)     indices of the examples in the update that follows 3 others

A run that goes on after a batch that was smaller takes up the order behind it: `start` says where that is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np


class BatchPlan:
    """The batches of a whole run; each is drawn when it is needed."""

    def __init__(
        self,
        repeats: Sequence[float],
        batch_size: int,
        epochs: int,
        max_steps: int | None,
        seed: int,
        start: tuple[int, int] = (0, 0),
    ) -> None:
        """Count the updates of the run.

        Args:
            repeats: how often each example comes in an epoch; see `epoch_order`.
            batch_size: examples of an update.
            epochs: passes.
            max_steps: most updates of the run; None for no limit.
            seed: ≥ 0.
            start: (updates done, examples that these took in the order of all epochs) of a run that goes on.

        Raises:
            ValueError: an epoch has no example.
        """
        self._repeats = tuple(repeats)
        self._batch_size, self._seed = batch_size, seed
        self.epoch_size = len(epoch_order(self._repeats, seed, 0))
        """Examples of one epoch."""
        if not self.epoch_size:
            raise ValueError("an epoch has no example")
        self._total = self.epoch_size * epochs
        self._step, self._done = start if start[1] <= self._total else (0, 0)  # else nothing is left to do
        steps = self._step + math.ceil((self._total - self._done) / batch_size)
        self.steps = steps if max_steps is None else min(steps, max_steps)
        """Updates of the run."""
        self._order = lru_cache(maxsize=2)(lambda epoch: epoch_order(self._repeats, self._seed, epoch))

    def batch(self, step: int) -> list[int]:
        """Indices of the update that goes from `step`, which is not before the start, to `step + 1`."""
        return self._items(self.examples(step), self.examples(step + 1))

    def trained(self, step: int) -> list[int]:
        """Indices of all examples that the first `step` updates took, those before the start included."""
        return self._items(0, self.examples(step))

    def examples(self, step: int) -> int:
        """Examples that the first `step` updates take, in the order of all epochs."""
        return min(self._done + (step - self._step) * self._batch_size, self._total)

    def epoch(self, step: int) -> float:
        """Epochs done after `step` updates."""
        return self.examples(step) / self.epoch_size

    def _items(self, first: int, end: int) -> list[int]:
        return [int(self._order(p // self.epoch_size)[p % self.epoch_size]) for p in range(first, end)]


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
