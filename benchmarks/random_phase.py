"""A phase of random tokens for measurements of the learner. NumPy alone: scripts/gpu_check.py uses it too."""

from __future__ import annotations

import math

import numpy as np

from grpo.algorithm.types import TrainGroup, TrainSample


def random_groups(
    vocab: int, *, prompts: int, prompt: int, samples: int, tokens: int, seed: int = 0
) -> list[TrainGroup]:
    """Return groups of random tokens and advantages, with the log-probs of a uniform policy.

    Args:
        vocab: tokens are 2 … vocab - 1.
        prompts: number of groups.
        prompt: tokens of each prompt.
        samples: completions of each prompt.
        tokens: of each completion.
        seed: of the random numbers.
    """
    rng = np.random.default_rng(seed)
    logprobs = np.full(tokens, -math.log(vocab), np.float32)

    def ids(count: int) -> np.ndarray:
        return rng.integers(2, vocab, count).astype(np.int32)

    return [
        TrainGroup(
            ids(prompt),
            tuple(
                TrainSample(ids(tokens), logprobs, float(rng.standard_normal()), f"p{group}", index)
                for index in range(samples)
            ),
        )
        for group in range(prompts)
    ]
