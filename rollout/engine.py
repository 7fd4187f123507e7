"""What the rest of the toolkit may ask of an engine. `rollout.vllm_engine.VllmEngine` is the one that the
product has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from rollout.publication import Publication, SyncReport
from rollout.types import RolloutChunk, SampleGroup


class Engine(Protocol):
    """Samples completions from one version of the policy."""

    @property
    def version(self) -> int | None:
        """Policy version of the weights; None before the first proven load and after a failed one."""

    def generate(self, chunk: RolloutChunk) -> Iterator[list[SampleGroup]]:
        """One item per engine step: the groups whose last sample ended in it. Every group comes once.

        Raises:
            StaleEngine: the chunk asks for another version.
            RolloutError: a prompt does not fit; nothing has run then.
        """

    def prompt_logprobs(self, prompts: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """For each prompt of n tokens (n-1,) float32: log-probability of every token but the first, at T =
        1."""

    def load_weights(self, publication: Publication) -> SyncReport:
        """Replace the weights and prove it.

        Raises:
            WeightSyncError: names the tensors, or the canary prompt and position. The engine then has no
                version.
        """

    def close(self) -> None:
        """Free memory; the engine is of no use afterwards."""
