"""A tiny policy on disk and a phase of random groups for it, shared by the learner's tests."""

import numpy as np

from grpo.algorithm.types import TrainGroup, TrainSample
from policies.export import save_policy
from policies.presets import new_policy, tiny_config

VOCAB = 40


def make_policy(folder, preset="tiny-v3", seed=0, weight_std=0.08, **fields):
    """Weights large enough that the distributions are far from uniform."""
    model = new_policy(tiny_config(preset, vocab_size=VOCAB, eos_token_id=1, **fields), seed, weight_std)
    return save_policy(model, folder, tokenizer_from=None)


def make_groups(seed=0, groups=3, samples=4, zero_variance=False):
    rng = np.random.default_rng(seed)
    result = []
    for g in range(groups):
        advantages = np.zeros(samples) if zero_variance else rng.standard_normal(samples)
        made = []
        for i in range(samples):
            ids = rng.integers(0, VOCAB, rng.integers(1, 13)).astype(np.int32)
            made.append(
                TrainSample(
                    ids, -3 * rng.random(len(ids), dtype=np.float32), float(advantages[i]), f"{seed}-{g}", i
                )
            )
        result.append(TrainGroup(rng.integers(0, VOCAB, 4 + 2 * g).astype(np.int32), tuple(made)))
    return result
