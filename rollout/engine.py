"""The interface of an engine. `rollout.vllm_engine.VllmEngine` implements it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from rollout.publication import Head, SyncReport, Tail, Window
from rollout.types import RolloutChunk, SampleGroup


class Engine(Protocol):
    """Samples completions from one version of the policy."""

    @property
    def version(self) -> int | None:
        """Policy version of the weights; None before the first verified load and after a failed one."""

    def generate(self, chunk: RolloutChunk) -> Iterator[list[SampleGroup]]:
        """Yield, for each engine step, the groups whose last sample ended in it; every group comes once.

        Raises:
            StaleEngine: the chunk asks for another version.
            RolloutError: a prompt does not fit; nothing has been sampled then.
        """

    def prompt_logprobs(self, prompts: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """Return, for each prompt of n tokens, (n-1,) float32 log-probs of every token but the first, at
        temperature 1."""

    def begin_load(self, head: Head, reader: str) -> None:
        """Start to load a stream of weights; the engine has no version until `finish_load`.

        Raises:
            WeightSyncError: the writer cannot be reached.
        """

    def load_window(self, window: Window) -> None:
        """Load a window of the stream; its memory may be written over afterwards."""

    def finish_load(self, tail: Tail) -> SyncReport:
        """End the stream and verify that the engine holds it.

        Raises:
            WeightSyncError: the message names the tensors, or the canary prompt and position. The engine has no
                version afterwards.
        """

    def close(self) -> None:
        """Free all memory; the engine cannot be used afterwards."""
