"""Which prompts come next: a pure function of (seed, cursor). Nothing to save but a number.

    stream = PromptStream(prompts, seed=1)
    stream.take(cursor=64, count=32)         prompts 64 … 95 of an endless sequence of shuffled epochs

Each epoch is a permutation of its own, so every prompt comes once before any comes again.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from data_recipes.errors import DataError
from rollout.types import Prompt


class PromptStream:
    """An endless, shuffled sequence of prompts that can be read from anywhere."""

    def __init__(self, prompts: Sequence[Prompt], seed: int):
        """Keep the prompts.

        Raises:
            DataError: no prompts, or two with the same id.
        """
        if not prompts:
            raise DataError("a prompt stream needs at least one prompt")
        if len({p.id for p in prompts}) != len(prompts):
            raise DataError("a prompt stream needs prompts with different ids")
        self._prompts = tuple(prompts)
        self._seed = seed
        self._epoch_order = lru_cache(maxsize=2)(self._shuffle)

    def __len__(self) -> int:
        """Prompts in one epoch."""
        return len(self._prompts)

    def take(self, cursor: int, count: int) -> list[Prompt]:
        """Prompts at positions cursor … cursor+count-1.

        Raises:
            ValueError: a negative position or count.
        """
        if cursor < 0 or count < 0:
            raise ValueError(f"cursor and count must not be negative, got {cursor} and {count}")
        return [self._at(position) for position in range(cursor, cursor + count)]

    def _at(self, position: int) -> Prompt:
        epoch, place = divmod(position, len(self._prompts))
        return self._prompts[self._epoch_order(epoch)[place]]

    def _shuffle(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self._seed, epoch]).permutation(len(self._prompts))
