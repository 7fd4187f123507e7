"""The order of prompts: a pure function of (seed, cursor), so that a checkpoint only stores the cursor.

    stream = PromptStream(prompts, seed=1)
    stream.take(cursor=64, count=32)         prompts 64 … 95 of an endless sequence of shuffled epochs

Each epoch is a new permutation, so every prompt comes once before any comes again.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from data_recipes.errors import DataError
from rollout.types import Prompt


class PromptStream:
    """An endless, shuffled sequence of prompts with random access."""

    def __init__(self, prompts: Sequence[Prompt], seed: int):
        """Create the stream.

        Raises:
            DataError: there are no prompts, or two have the same id.
        """
        if not prompts:
            raise DataError("a prompt stream needs at least one prompt")
        if len({p.id for p in prompts}) != len(prompts):
            raise DataError("a prompt stream needs prompts with different ids")
        self._prompts = tuple(prompts)
        self._seed = seed
        self._epoch_order = lru_cache(maxsize=2)(self._shuffle)

    def __len__(self) -> int:
        """Return the number of prompts in one epoch."""
        return len(self._prompts)

    def take(self, cursor: int, count: int) -> list[Prompt]:
        """Return the prompts at positions cursor … cursor+count-1.

        Raises:
            ValueError: cursor or count is negative.
        """
        if cursor < 0 or count < 0:
            raise ValueError(f"cursor and count must not be negative, got {cursor} and {count}")
        return [self._at(position) for position in range(cursor, cursor + count)]

    def _at(self, position: int) -> Prompt:
        epoch, offset = divmod(position, len(self._prompts))
        return self._prompts[self._epoch_order(epoch)[offset]]

    def _shuffle(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self._seed, epoch]).permutation(len(self._prompts))
