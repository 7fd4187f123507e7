"""Mixes several prompt streams in fixed shares; some may start at a later step. Depends on (seed, cursor, step) only.

    stream = MixedStream([Source(maths, share=3), Source(general, share=1, start_step=1300)], seed=1)
    prompts, cursor = stream.draw(cursor=0, count=32, step=0)

Positions form blocks of Σ share positions. Each block is shuffled on its own, so the shares are exact in every block.
Positions of a source that has not started are skipped; their prompts come again in later epochs of the source.
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
    """The prompts of one source and its share of the mix."""

    prompts: Sequence[Prompt]
    share: int = 1
    """Positions per block, ≥ 1."""
    start_step: int = 0
    """First optimizer step that draws from this source."""


class MixedStream:
    """An endless sequence over several sources. One source gives exactly the sequence of its `PromptStream`."""

    def __init__(self, sources: Sequence[Source], seed: int) -> None:
        """Create the stream.

        Raises:
            DataError: a source has no prompts, a prompt is in two sources, or no source starts at step 0.
        """
        if not any(source.start_step == 0 for source in sources):
            raise DataError("no source starts at step 0; set start_step = 0 for one")
        ids = [p.id for source in sources for p in source.prompts]
        if len(set(ids)) != len(ids):
            raise DataError(f"{len(ids) - len(set(ids))} prompts are in two sources of the mix")
        self._sources, self._seed = tuple(sources), seed
        # The first stream has the run's seed, so a recipe without a mix draws the same prompts as a PromptStream.
        self._streams = [PromptStream(s.prompts, seed + i * _SEED_STRIDE) for i, s in enumerate(sources)]
        self._deck = np.repeat(np.arange(len(sources)), [s.share for s in sources])
        self._block = lru_cache(maxsize=2)(self._shuffle)

    def draw(self, cursor: int, count: int, step: int) -> tuple[list[Prompt], int]:
        """Return the next `count` prompts of sources that have started, and the cursor after them."""
        prompts: list[Prompt] = []
        while len(prompts) < count:
            block, offset = divmod(cursor, len(self._deck))
            order = self._block(block)
            source = int(order[offset])
            if step >= self._sources[source].start_step:
                at = block * self._sources[source].share + int((order[:offset] == source).sum())
                prompts += self._streams[source].take(at, 1)
            cursor += 1
        return prompts, cursor

    def _shuffle(self, block: int) -> np.ndarray:
        return np.random.default_rng([self._seed, block, _MIX]).permutation(self._deck)


_SEED_STRIDE = 1_000_003
"""Distance of the sources' seeds, larger than that of two seeds which users choose for two runs."""
_MIX = 7
"""Makes the seed of the order of sources differ from that of the order of prompts, which is [seed, epoch]."""
