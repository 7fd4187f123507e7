"""Several prompt streams as one, in fixed shares, some from a later step on. A pure function of (seed, cursor, step).

    stream = MixedStream([Source(maths, share=3), Source(general, share=1, start_step=1300)], seed=1)
    prompts, cursor = stream.draw(cursor=0, count=32, step=0)

Positions come in blocks of Σ share, each a shuffle of its own, so that shares hold exactly in every block. A position
of a source that has not started is passed over; the prompts that it names come again in the source's later epochs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from data_recipes.errors import DataError
from data_recipes.prompts.prompt_stream import PromptStream
from rollout.types import Prompt


@dataclass(frozen=True)
class Source:
    """Prompts with their part in the mix."""

    prompts: Sequence[Prompt]
    share: int = 1
    """Positions in a block, ≥ 1."""
    start_step: int = 0
    """First optimizer step that draws from it."""


class MixedStream:
    """An endless sequence over several sources. With one source it is `PromptStream` itself, bit by bit."""

    def __init__(self, sources: Sequence[Source], seed: int) -> None:
        """Keep the sources.

        Raises:
            DataError: a source without prompts, a prompt in two sources, or none that starts at step 0.
        """
        if not any(source.start_step == 0 for source in sources):
            raise DataError("no source starts at step 0; set start_step = 0 for one")
        ids = [p.id for source in sources for p in source.prompts]
        if len(set(ids)) != len(ids):
            raise DataError(f"{len(ids) - len(set(ids))} prompts stand in two sources of the mix")
        self._sources, self._seed = tuple(sources), seed
        # The first stream keeps the run's own seed: a recipe without a mix draws what it always drew.
        self._streams = [PromptStream(s.prompts, seed + i * _SEED_STRIDE) for i, s in enumerate(sources)]
        self._deck = np.repeat(np.arange(len(sources)), [s.share for s in sources])
        self._block = lru_cache(maxsize=2)(self._shuffle)

    def draw(self, cursor: int, count: int, step: int) -> tuple[list[Prompt], int]:
        """The next `count` prompts of sources that have started, and the cursor after them."""
        prompts: list[Prompt] = []
        while len(prompts) < count:
            block, place = divmod(cursor, len(self._deck))
            order = self._block(block)
            source = int(order[place])
            if step >= self._sources[source].start_step:
                at = block * self._sources[source].share + int((order[:place] == source).sum())
                prompts += self._streams[source].take(at, 1)
            cursor += 1
        return prompts, cursor

    def _shuffle(self, block: int) -> np.ndarray:
        return np.random.default_rng([self._seed, block, _MIX]).permutation(self._deck)


_SEED_STRIDE = 1_000_003
"""Apart from any two seeds that a person would give to two runs."""
_MIX = 7
"""Keeps the order of sources apart from the order of prompts inside one, which is seeded by [seed, epoch]."""
